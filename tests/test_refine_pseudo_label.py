"""The script that refines labels: what it makes of a folder, says, resumes and refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import refine_pseudo_label as script
from tests.conftest import (
    array,
    head_image,
    rows_of,
    with_tumour,
    write,
    write_probabilities,
    write_validation,
)

SMALL = (96.0, 114.0, 90.0)  # a brain of 260 ml


def write_pair(folder: Path, name: str, label: np.ndarray | None = None, **how: object) -> np.ndarray:
    """`images/<name>_0000.nii.gz` and a label inside its tumour: the tumour (bool, z, y, x)."""
    look = {"size_mm": SMALL, "spacing": (2.0, 2.0, 2.0), **how}
    tumour = {key: look.pop(key) for key in ("offset_ras_mm", "factor") if key in look}
    orientation = str(look.pop("orientation", "LPS"))
    plain, _ = head_image(**look)  # type: ignore[arg-type]
    image, truth = with_tumour(plain, radius_mm=14.0, **{"factor": 3.0, **tumour})  # type: ignore[arg-type]
    _, inner = with_tumour(plain, radius_mm=10.0, **tumour)  # type: ignore[arg-type]
    if label is not None:
        inner = sitk.GetImageFromArray(label)
        inner.CopyInformation(plain)
    write(image, folder / f"images/{name}_0000.nii.gz", orientation)
    write(inner, folder / f"labels/{name}.nii.gz", orientation)
    return sitk.GetArrayFromImage(sitk.DICOMOrient(truth, orientation)) > 0


def refine(folder: Path, *options: object) -> int:
    places = ["--images", folder / "images", "--labels", folder / "labels", "--output", folder / "out"]
    return script.main([*map(str, places), "--workers", "1", *map(str, options)])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Scans and labels of all kinds, and the whole tumours; to be copied and not to be changed."""
    folder = tmp_path_factory.mktemp("refine")
    plain, brain = head_image(SMALL, (2.0, 2.0, 2.0))
    nothing = np.zeros(plain.GetSize()[::-1], np.uint8)
    inside = sitk.GetArrayFromImage(brain)
    truths = {
        "plain": write_pair(folder, "plain", orientation="PIR"),
        "dark": write_pair(folder, "dark", factor=0.4),
        "border": write_pair(folder, "border", offset_ras_mm=(32.0, 0.0, 0.0)),
        "thick": write_pair(folder, "thick", spacing=(0.9, 0.9, 4.0), oblique_deg=14.0),
        "fine": write_pair(folder, "fine", spacing=(0.5, 0.5, 0.5)),
        "empty": write_pair(folder, "empty", nothing),
        "full": write_pair(folder, "full", inside),
    }
    for name in ("dataset", "plans", "predict_from_raw_data_args"):
        (folder / f"labels/{name}.json").write_text("{}")
    assert refine(folder, "--workers", 2, "--preview") == 0
    return folder, truths


@pytest.fixture
def folder(written: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> Path:
    """Two of the scans with their labels."""
    for name in ("plain", "dark"):
        for file in (f"images/{name}_0000.nii.gz", f"labels/{name}.nii.gz"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            shutil.copy(written[0] / file, tmp_path / file)
    return tmp_path


def test_a_label_of_the_inner_half_becomes_the_tumour(written: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, truths = written
    for name in ("plain", "border", "thick", "fine"):
        before, after = (array(folder / f"{place}/{name}.nii.gz") > 0 for place in ("labels", "out"))
        truth = truths[name] & (array(folder / f"images/{name}_0000.nii.gz") > 0)
        assert overlap(before, truth) < 0.7 and overlap(after, truth) > 0.9, name
        assert not (after & (array(folder / f"images/{name}_0000.nii.gz") == 0)).any(), name
    rows = {row["case"]: row for row in rows_of(folder / "out/manifest.csv")}
    assert list(rows) == sorted(truths)
    for name, row in rows.items():
        before, after = (array(folder / f"{place}/{name}.nii.gz") > 0 for place in ("labels", "out"))
        image = sitk.ReadImage(str(folder / f"labels/{name}.nii.gz"))
        ml = float(np.prod(image.GetSpacing())) / 1000
        found = [float(row[c]) for c in ("volume_before_ml", "volume_ml", "added_ml", "removed_ml")]
        counts = [before.sum(), after.sum(), (after & ~before).sum(), (before & ~after).sum()]
        assert found == pytest.approx([n * ml for n in counts], abs=1e-3)
        made = sitk.ReadImage(str(folder / f"out/{name}.nii.gz"))
        assert made.GetPixelID() == image.GetPixelID() and made.GetSize() == image.GetSize()
        for what in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(made, what)() == pytest.approx(getattr(image, what)(), abs=1e-6)


def test_labels_that_contrast_says_nothing_of_stay(written: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = written
    rows = {row["case"]: row for row in rows_of(folder / "out/manifest.csv")}
    why = {
        "dark": "no brighter than tissue",
        "empty": "empty label",
        "full": "no tissue to compare with",
        "plain": "",
    }
    assert {name: rows[name]["left_as_it_was"] for name in why} == why
    for name in ("dark", "empty", "full"):
        assert np.array_equal(*(array(folder / f"{place}/{name}.nii.gz") for place in ("labels", "out")))
    assert not array(folder / "out/empty.nii.gz").any() and rows["empty"]["parts"] == "0"
    assert float(rows["plain"]["tissue_level"]) == pytest.approx(300, rel=0.1)
    assert float(rows["plain"]["tumour_level"]) == pytest.approx(900, rel=0.2)
    assert rows["full"]["tissue_level"] == ""
    assert "Infinity" not in (folder / "out/journal.jsonl").read_text()
    assert all((folder / f"out/pictures/{name}.png").is_file() for name in rows)
    assert (folder / "out/contact_sheet.png").is_file()
    assert "Refined" in (folder / "out/report.html").read_text(encoding="utf-8")


def test_the_same_bytes_by_one_worker_and_by_three(folder: Path) -> None:
    def made(workers: int) -> tuple[dict[str, bytes], list[dict[str, str]]]:
        out = folder / f"by{workers}"
        assert refine(folder, "--output", out, "--workers", workers, "--preview") == 0
        rows = [{**row, "seconds": ""} for row in rows_of(out / "manifest.csv")]
        return {f.name: f.read_bytes() for f in (*out.glob("*.nii.gz"), *out.glob("pictures/*"))}, rows

    shutil.copy(folder / "images/plain_0000.nii.gz", folder / "images/again_0000.nii.gz")
    shutil.copy(folder / "labels/plain.nii.gz", folder / "labels/again.nii.gz")
    assert made(1) == made(3)


def test_a_run_is_carried_on_and_a_changed_label_is_refined_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(folder) == 0
    first = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.nii.gz")}
    assert refine(folder) == 0
    assert "all 2 labels are there already" in capsys.readouterr().out
    label = sitk.ReadImage(str(folder / "labels/dark.nii.gz"))
    sitk.WriteImage(label * 0, str(folder / "labels/dark.nii.gz"))
    assert refine(folder) == 0
    assert (folder / "out/plain.nii.gz").stat().st_mtime_ns == first["plain.nii.gz"]
    assert not array(folder / "out/dark.nii.gz").any()
    assert refine(folder, "--preview") == 0
    assert "pictures drawn of 2 of those kept" in capsys.readouterr().out
    assert refine(folder, "--refine-level", "0.5") == 2
    assert "refinement.level was 0.35, now 0.5" in capsys.readouterr().err


def test_what_has_no_other_half_is_named_and_the_others_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels/dark.nii.gz").rename(folder / "labels/stranger.nii.gz")
    assert refine(folder, "--quiet") == 1
    out = capsys.readouterr().out
    assert "dark: no dark.nii.gz in" in out and "stranger: no scan for" in out
    assert {path.name for path in (folder / "out").glob("*.nii.gz")} == {"plain.nii.gz"}
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert "stranger" in page


def test_scans_and_labels_as_brats_has_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("plain", "dark"):
        place = folder / f"brats/BraTS-{name}"
        place.mkdir(parents=True)
        shutil.copy(folder / f"images/{name}_0000.nii.gz", place / f"BraTS-{name}_fl.nii.gz")
        shutil.copy(folder / f"labels/{name}.nii.gz", place / f"BraTS-{name}_seg.nii.gz")
    there = ("--images", folder / "brats", "--labels", folder / "brats", "--image-name", "*_fl.nii*")
    assert refine(folder, *there) == 2
    assert "--label-name '*_seg.nii.gz'" in capsys.readouterr().err
    assert refine(folder, *there, "--label-name", "*_seg.nii.gz") == 0
    made = {path.name for path in (folder / "out").glob("*.nii.gz")}
    assert made == {"BraTS-plain.nii.gz", "BraTS-dark.nii.gz"}


def test_a_label_that_does_not_fit_fails_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = sitk.ReadImage(str(folder / "labels/dark.nii.gz"))
    label.SetSpacing((2.0, 2.0, 2.5))
    sitk.WriteImage(label, str(folder / "labels/dark.nii.gz"))
    shutil.copy(folder / "images/plain_0000.nii.gz", folder / "images/soft_0000.nii.gz")
    soft = sitk.Cast(sitk.ReadImage(str(folder / "labels/plain.nii.gz")), sitk.sitkFloat32) * 0.7
    sitk.WriteImage(soft, str(folder / "labels/soft.nii.gz"))
    assert refine(folder) == 1
    reasons = {row["case"]: row["reason"] for row in rows_of(folder / "out/manifest.csv")}
    assert "dark.nii.gz: on another grid than the scan" in reasons["dark"]
    assert "soft.nii.gz: holds values that are no whole numbers" in reasons["soft"]
    assert reasons["plain"] == "" and (folder / "out/plain.nii.gz").is_file()


def test_classes_stay_and_what_is_added_is_oedema(folder: Path) -> None:
    image = sitk.ReadImage(str(folder / "labels/plain.nii.gz"))
    classes = sitk.GetArrayFromImage(image).astype(np.float32) * 2
    _, y, _ = np.indices(classes.shape)
    middle = int(y[classes > 0].mean())
    classes[(classes > 0) & (y < middle)] = 1
    classes[(classes > 0) & (y == middle)] = 4
    label = sitk.GetImageFromArray(classes)
    label.CopyInformation(image)
    sitk.WriteImage(label, str(folder / "labels/plain.nii.gz"))
    shutil.copy(folder / "images/plain_0000.nii.gz", folder / "images/dark_0000.nii.gz")
    one = sitk.Cast(image, sitk.sitkInt16) * 255  # another program's only value
    sitk.WriteImage(one, str(folder / "labels/dark.nii.gz"))
    assert refine(folder) == 0
    made = array(folder / "out/plain.nii.gz")
    assert made.dtype == np.float32
    kept, added = (made > 0) & (classes > 0), (made > 0) & (classes == 0)
    assert kept.sum() > 0.9 * (classes > 0).sum() and np.array_equal(made[kept], classes[kept])
    assert added.any() and set(np.unique(made[added])) == {2}
    assert set(np.unique(array(folder / "out/dark.nii.gz"))) == {0, 255}


def test_softmax_takes_the_largest_part_at_its_threshold(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sitk.ReadImage(str(folder / "labels/plain.nii.gz"))
    sitk.WriteImage(image * 0, str(folder / "labels/plain.nii.gz"))  # the network is never sure enough
    inner = sitk.GetArrayFromImage(image) > 0
    probability = np.where(inner, np.float16(0.375), np.float16(0.125))
    probability[1:4, 1:4, 1:4] = 0.375  # a smaller part, elsewhere
    np.savez_compressed(folder / "labels/plain.npz", probabilities=np.stack([1 - probability, probability]))
    assert refine(folder, "--softmax", "0.3") == 1
    assert "dark.nii.gz: no .npz beside it" in capsys.readouterr().out
    row = next(row for row in rows_of(folder / "out/manifest.csv") if row["case"] == "plain")
    assert float(row["volume_before_ml"]) == pytest.approx(inner.sum() * 0.008, abs=1e-3)
    made = array(folder / "out/plain.nii.gz")
    assert made.sum() > 1.5 * inner.sum() and not made[1:4, 1:4, 1:4].any() and set(np.unique(made)) == {0, 1}
    assert refine(folder, "--softmax", "0.4", "--output", folder / "none") == 1
    assert not array(folder / "none/plain.nii.gz").any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--output", "labels"), "is read, and would be written to; give --output a folder of its own"),
        (("--output", "images"), "is read, and would be written to"),
        (("--labels", "nowhere"), "no such folder; give the pseudo-labels with --labels"),
        (("--images", "nowhere"), "no such folder; give the real tumour scans with --images"),
        (("--labels", "images"), "holds no label of a scan"),
        (("--brain-masks", "nowhere"), "no such folder; give the folder of the brain masks"),
        (("--softmax", "1"), "--softmax 1: needs a probability, more than 0 and less than 1"),
        (("--softmax", "nan"), "--softmax nan: needs a probability"),
        (("--refine-mm", "0"), "--refine-mm 0: needs more than 0"),
        (("--refine-level", "1"), "--refine-level 1: needs more than 0 and less than 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    options: tuple[str, str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option, value = options
    given = folder / value if option in ("--output", "--labels", "--images", "--brain-masks") else value
    before = sorted(folder.rglob("*"))
    assert refine(folder, option, given) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err and "Traceback" not in err
    assert sorted(folder.rglob("*")) == before


def test_shards_are_put_together(folder: Path) -> None:
    for number in (1, 2):
        assert refine(folder, "--shard", f"{number}/2") == 0
    assert refine(folder, "--finalise") == 0
    assert refine(folder, "--output", folder / "whole") == 0
    for name in ("plain", "dark"):
        assert (folder / f"out/{name}.nii.gz").read_bytes() == (folder / f"whole/{name}.nii.gz").read_bytes()
    with (folder / "out/run.json").open() as file:
        assert json.load(file)["program"] == "refine_pseudo_label.py"
    with (folder / "out/manifest.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["made", "made"]


def write_sureness(folder: Path, name: str, tumour: float, false: float) -> np.ndarray:
    """Give a label a second part, and both parts probabilities: the tumour's part (bool, z, y, x)."""
    path = folder / f"labels/{name}.nii.gz"
    image = sitk.ReadImage(str(path))
    label = sitk.GetArrayFromImage(image)
    inner = label > 0
    brain = array(folder / f"images/{name}_0000.nii.gz") > 0
    corner = np.argwhere(brain & ~np.roll(inner, 12, 0) & ~inner)[500]
    second = np.zeros_like(inner)
    second[tuple(slice(at, at + 5) for at in corner)] = True
    second &= brain & ~inner
    made = sitk.GetImageFromArray((inner | second).astype(np.uint8))
    made.CopyInformation(image)
    sitk.WriteImage(made, str(path))
    write_probabilities(path.with_name(f"{name}.npz"), np.where(inner, tumour, np.where(second, false, 0.0)))
    assert second.sum() > 40
    return inner


def test_the_gate_drops_marks_as_unsure_as_false_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_validation(folder)
    inner = {
        name: write_sureness(folder, name, tumour, 0.55) for name, tumour in (("plain", 0.99), ("dark", 0.6))
    }
    gate = ("--gate-from", folder / "validation", folder / "labelsTr")
    assert refine(folder, "--refine", "off", *gate) == 0
    said = capsys.readouterr().out
    assert "confidence gate, chosen by 10 tumours: it keeps 0% of the 10 false marks" in said
    assert np.array_equal(array(folder / "out/plain.nii.gz") > 0, inner["plain"])
    assert not array(folder / "out/dark.nii.gz").any()
    rows = {row["case"]: row for row in rows_of(folder / "out/manifest.csv")}
    assert [rows[name]["dropped"] for name in ("plain", "dark")] == ["1", "2"]
    assert rows["dark"]["left_as_it_was"] == "dropped by the confidence gate"
    assert float(rows["plain"]["mean_logit"]) == pytest.approx(np.log(0.99 / 0.01), abs=0.01)
    dropped = sum(float(row["dropped_ml"]) for row in rows.values())
    assert f"confidence gate: {dropped:.1f} ml dropped from 2 labels" in said

    assert refine(folder, *gate) == 2  # another run than the one that is there
    assert "--overwrite" in capsys.readouterr().err
    assert refine(folder, "--overwrite", *gate) == 0
    refined = array(folder / "out/plain.nii.gz") > 0
    assert (
        refined.sum() > 1.5 * inner["plain"].sum()
        and (refined & inner["plain"]).sum() > 0.9 * inner["plain"].sum()
    )


def test_without_what_a_gate_needs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refine(folder, "--refine", "off") == 2
    assert "leaves nothing to do" in capsys.readouterr().err
    write_validation(folder, cases=3)
    gate = ("--gate-from", folder / "validation", folder / "labelsTr")
    assert refine(folder, *gate, "--output", folder / "labelsTr") == 2
    assert "--output" in capsys.readouterr().err
    assert refine(folder, *gate) == 0  # nothing can be told apart, so nothing is dropped, and it is said
    assert "no confidence gate: only 3 tumours were marked" in capsys.readouterr().out
    write_validation(folder)
    assert refine(folder, *gate, "--overwrite") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no .npz beside it; predict with --save_probabilities, or leave out --gate-from" in said


def test_what_another_network_does_not_mark_is_dropped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = {name: write_sureness(folder, name, 0.99, 0.99) for name in ("plain", "dark")}
    (folder / "junior").mkdir()
    for name in inner:
        image = sitk.ReadImage(str(folder / f"labels/{name}.nii.gz"))
        other = sitk.GetImageFromArray((inner[name] & (name == "plain")).astype(np.uint8))
        other.CopyInformation(image)
        sitk.WriteImage(other, str(folder / f"junior/{name}.nii.gz"))
    options = ("--refine", "off", "--confirmed-by", folder / "junior")
    assert refine(folder, *options) == 0
    assert "confidence gate: " in capsys.readouterr().out
    assert np.array_equal(array(folder / "out/plain.nii.gz") > 0, inner["plain"])
    assert not array(folder / "out/dark.nii.gz").any()
    rows = {row["case"]: row for row in rows_of(folder / "out/manifest.csv")}
    assert [rows[name]["dropped"] for name in ("plain", "dark")] == ["1", "2"]

    write(sitk.Image(5, 5, 5, sitk.sitkUInt8), folder / "junior/plain.nii.gz", "LPS")  # is made again
    (folder / "junior/dark.nii.gz").unlink()
    assert refine(folder, *options) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "on another grid than the label" in said and "junior/dark.nii.gz: no such file" in said
    assert refine(folder, "--confirmed-by", folder / "nowhere") == 2
    assert "--confirmed-by takes the labels of another network" in capsys.readouterr().err
