"""A folder of scans segmented as a user does it: files, tables, resuming, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.stage2.pseudo_labels import tumour_probability
from synthtumour.volume.reading import read_volume
from tests.conftest import array, head_image, rows_of, with_tumour, write
from tests.pilot.conftest import SMALL, brightness, run

pytestmark = pytest.mark.peer
COLUMNS = ["volume_ml", "volume_before_ml", "parts", "mean_logit", "thickness_mm", "dropped", "dropped_ml"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stripped scans with a tumour, in different orders on disk; not to be changed."""
    folder = tmp_path_factory.mktemp("scans")
    for number, order in enumerate(("LPS", "PIR")):
        scan, truth = with_tumour(head_image(seed=number, **SMALL)[0], factor=3.0)
        write(scan, folder / f"images/c{number}_0000.nii.gz", order)
        write(truth, folder / f"truth/c{number}.nii.gz", order)
    return folder


@pytest.fixture
def images(scans: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scans / "images", tmp_path / "images"))


def predict(weights: Path, images: Path, output: Path, *options: object) -> int:
    alone = () if "--workers" in options else ("--workers", 1)
    return run("predict", weights, "--images", images, "--output", output, *alone, *options)


def made(folder: Path) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    files = (*folder.glob("*.nii.gz"), *folder.glob("*.npz"), *folder.glob("pictures/*"))
    rows = [{**row, "seconds": ""} for row in rows_of(folder / "manifest.csv")]
    return {file.name: file.read_bytes() for file in files}, rows


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return brightness(tmp_path_factory.mktemp("weights") / "bright.pt")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_labels_tables_probabilities_and_pictures(
    weights: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(weights, scans / "images", out, "--save_probabilities", "--preview") == 0
    said = capsys.readouterr()
    assert "with tumour: 2 of 2; nothing marked: 0" in said.out and "labels: " in said.out
    assert "bright.pt: has no confidence gate" in said.err and said.err.count("\n") == 1
    rows = {row["case"]: row for row in rows_of(out / "manifest.csv")}
    assert list(rows) == ["c0", "c1"]
    for name, row in rows.items():
        assert set(COLUMNS) <= set(row) and row["status"] == "made" and row["source"] == f"{name}_0000.nii.gz"
        label, scan = (
            sitk.ReadImage(str(f)) for f in (out / f"{name}.nii.gz", scans / f"images/{name}_0000.nii.gz")
        )
        for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(label, what)() == pytest.approx(getattr(scan, what)(), abs=1e-6)
        assert label.GetPixelID() == sitk.sitkUInt8
        truth, found = array(scans / f"truth/{name}.nii.gz") > 0, sitk.GetArrayFromImage(label) > 0
        assert dice(found, truth) > 0.8
        assert float(row["volume_ml"]) == pytest.approx(found.sum() * 0.027, abs=1e-3)
        assert row["parts"] == "1" and row["dropped"] == "0" and row["refinement"] == "refined"
        probability = tumour_probability(out / f"{name}.npz", read_volume(out / f"{name}.nii.gz"))
        inside = read_volume(scans / f"truth/{name}.nii.gz").array > 0
        assert probability.min() >= 0 and probability.max() <= 1
        assert dice(probability > 0.5, inside) > 0.75 and not (probability[~inside] > 0.99).sum() > 200
        assert (out / f"pictures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "contact_sheet.png").is_file()
    assert "c1" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "run.json").is_file() and (out / "journal.jsonl").is_file()


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_a_run_is_carried_on(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(weights, images, out) == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}
    capsys.readouterr()
    assert predict(weights, images, out) == 0
    assert "nothing to do: all 2 scans are there already" in capsys.readouterr().out
    (out / "c0.nii.gz").unlink()
    assert predict(weights, images, out) == 0
    assert "scans: 1 made, 1 kept from before, 0 failed" in capsys.readouterr().out
    assert (out / "c1.nii.gz").stat().st_mtime_ns == before["c1.nii.gz"]
    assert predict(weights, images, out, "--preview") == 0
    assert "pictures drawn of 2 of those kept" in capsys.readouterr().out
    other = brightness(tmp_path / "other.pt", level=3.5)
    assert predict(other, images, out) == 2
    assert "weights" in capsys.readouterr().err
    moved = Path(shutil.copy(weights, tmp_path / "elsewhere.pt"))  # the same weights by another name
    assert predict(moved, images, out) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_the_same_bytes_by_one_worker_and_by_two(weights: Path, images: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        options = ("--workers", workers, "--save_probabilities", "--preview")
        assert predict(weights, images, tmp_path / f"by{workers}", *options) == 0
    one, two = made(tmp_path / "by1"), made(tmp_path / "by2")
    assert len(one[0]) == 6 and one == two


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_the_order_on_disk_changes_no_voxel(weights: Path, images: Path, tmp_path: Path) -> None:
    scan = sitk.ReadImage(str(images / "c0_0000.nii.gz"))
    for order in ("RAS", "SAR"):
        write(scan, images / f"{order}_0000.nii.gz", order)
    assert predict(weights, images, tmp_path / "out", "--save_probabilities") == 0
    labels = [read_volume(tmp_path / f"out/{name}.nii.gz") for name in ("c0", "RAS", "SAR")]
    chances = [
        tumour_probability(tmp_path / f"out/{name}.npz", label)
        for name, label in zip(("c0", "RAS", "SAR"), labels, strict=True)
    ]
    for n in (1, 2):
        assert labels[0].array.any() and np.array_equal(labels[0].array, labels[n].array)
        assert np.allclose(chances[0], chances[n], atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_one_scan_and_its_label(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(weights, images, tmp_path / "out", "--save_probabilities") == 0
    capsys.readouterr()
    out, scan = tmp_path / "one.nii.gz", images / "c0_0000.nii.gz"
    assert predict(weights, scan, out, "--save_probabilities", "--preview") == 0
    assert f"of tumour: {out}" in capsys.readouterr().out
    assert np.array_equal(array(out), array(tmp_path / "out/c0.nii.gz"))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "out/c0.npz").read_bytes()
    assert (tmp_path / "one.png").is_file()
    assert predict(weights, scan, out, "--min-logit", 99, "--refine", "off") == 0
    assert f"no tumour found: {out}" in capsys.readouterr().out and not array(out).any()
    for options, said in (
        ((scan, scan), "output would overwrite the input"),
        ((scan, tmp_path / "one.txt"), "unknown image extension"),
        ((scan, tmp_path / "no/one.nii.gz"), "does not exist; create it first"),
        ((scan, out, "--shard", "1/2"), "are for folders of scans; leave them out for one scan"),
        ((weights, out), "neither a folder nor an image"),
    ):
        assert predict(weights, *options) == 2  # type: ignore[arg-type]
        assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_several_weights_and_a_limit_on_the_logit(weights: Path, images: Path, tmp_path: Path) -> None:
    against = brightness(tmp_path / "against.pt", factor=-3.0)
    options = ("--refine", "off", "--output")
    assert predict(weights, images, tmp_path / "one", "--refine", "off") == 0
    assert (
        run("predict", weights, weights, "--images", images, *options, tmp_path / "two", "--workers", 1) == 0
    )
    assert (
        run("predict", weights, against, "--images", images, *options, tmp_path / "none", "--workers", 1) == 0
    )
    assert predict(weights, images, tmp_path / "high", "--min-logit", 99) == 0
    one, two, none, high = (
        [array(tmp_path / f"{place}/c{n}.nii.gz") for n in (0, 1)] for place in ("one", "two", "none", "high")
    )
    assert all(label.any() for label in one) and all(map(np.array_equal, one, two))
    assert not any((a & b).any() for a, b in zip(one, none, strict=True))
    assert not any(label.any() for label in high)
    rows = rows_of(tmp_path / "high/manifest.csv")
    assert (
        all(int(row["dropped"]) >= 1 and row["parts"] == "0" for row in rows)
        and float(rows[0]["dropped_ml"]) > 5
    )
    assert {row["refinement"] for row in rows_of(tmp_path / "one/manifest.csv")} == {"off"}


@pytest.mark.filterwarnings("ignore:.*no confidence gate")
def test_a_scan_that_cannot_be_used_fails_alone(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "c0_0000.nii.gz").write_bytes(b"no image")
    write(head_image(skull=True, **SMALL)[0], images / "skull_0000.nii.gz")
    assert predict(weights, images, tmp_path / "out") == 1
    assert "FAILED c0: " in (out := capsys.readouterr().out) and "no brain mask beside it" in out
    status = {row["case"]: row["status"] for row in rows_of(tmp_path / "out/manifest.csv")}
    assert status == {"c0": "failed", "c1": "made", "skull": "failed"}


def test_weights_that_are_none_are_one_line(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.pt"
    for content, said in (
        (None, "no such file; give what pilot_network.py train wrote"),
        (b"x", "holds no weights"),
    ):
        if content:
            wrong.write_bytes(content)
        assert predict(wrong, images, tmp_path / "out") == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and said in err and not (tmp_path / "out").exists()


def test_a_trained_network_predicts_and_a_brain_without_tumour_may_be_empty(
    junior: Path, healthy: Path, tmp_path: Path
) -> None:
    assert predict(junior, healthy, tmp_path / "out", "--min-logit", 50) == 0
    assert [row["volume_ml"] for row in rows_of(tmp_path / "out/manifest.csv")] == ["0.0"] * 3
    assert not any(array(file).any() for file in (tmp_path / "out").glob("*.nii.gz"))
