"""The Stage 2 script over folders: the published command, the gate, resuming, the senior's dataset."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ROOT, MakeHead, head_image
from scipy import ndimage
from stage2_heads import write, write_donor

import prompt_multi_tumor
import stage2_mixed_with_pseudo_label as script
from synthtumour.files.lock import hold

SCRIPT = ROOT / "stage2_mixed_with_pseudo_label.py"


@pytest.fixture
def data(make_head: MakeHead, tmp_path: Path) -> Path:
    """Three donors under D, two healthy subjects under H, in several orientations and spacings."""
    for n, orientation in enumerate(["LPS", "RAS", "PIR"]):
        offset = (18.0 - 30 * (n == 1), 8.0, 10.0 * (n - 1))
        write_donor(tmp_path / "D", f"patient{n}", orientation, seed=n, offset_ras_mm=offset)
    make_head("H/h0", "RAS", seed=10, spacing=(1.5, 1.8, 1.5), skull=True)
    make_head("H/h1", "LAS", seed=11, spacing=(2.0, 2.0, 3.5), oblique_deg=10.0)
    return tmp_path


def command(data: Path, *options: str) -> list[str]:
    """The published README's command, and more."""
    d, h = data / "D", data / "H"
    where = ["--mask_check_path", data / "CHECK", "--imagesTr_path", d / "imagesTr"]
    where += ["--labelsTr_path", d / "labelsTr", "--healthyimgTr", h]
    return [*map(str, where), *options]


def run(data: Path, *options: str) -> int:
    return script.main(command(data, "--workers", "1", *options))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.glob("*Mix/*"))}


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


# ---------------------------------------------------------------- what it makes


def test_what_a_user_should_know_is_said_and_in_the_report(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "-num", "20") == 0
    said = capsys.readouterr().out
    page = (data / "CHECK/report.html").read_text(encoding="utf-8")
    looks = [(r["id1"], r["id2"], r["mirrored"]) for r in rows_of(data / "CHECK/CarveMixID.csv")]
    repeats = f"{20 - len(set(looks))} of 20 cases repeat another one exactly"
    skulls = "are whole heads, the others are skull-stripped: --skull-strip makes them alike"
    for words in (repeats, skulls):
        assert words in said and words in page
    assert run(data, "-num", "20", "--skull-strip", "--jitter", "3", "--overwrite") == 0
    assert "  note " not in capsys.readouterr().out


def test_two_runs_do_not_mix_into_one_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = data / "D/imagesTrMix"
    images.mkdir()
    with hold(images):  # as a run with another CHECK does
        assert run(data, "-num", "2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{images}: another run is writing here (process {os.getpid()}" in line
    assert run(data, "-num", "2") == 0
    assert sorted(path.suffix for path in images.iterdir()) == [".gz", ".gz"]


@pytest.mark.parametrize("taken", ["H", "D/imagesTr", "D/labelsTr", "nnUNet_raw/Dataset102_Senior"])
def test_tables_get_a_folder_of_their_own(data: Path, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    before = sorted(data.rglob("*"))
    combined = ["--combine", str(data / "nnUNet_raw/Dataset102_Senior")]
    assert run(data, "--mask_check_path", str(data / taken), *combined) == 2
    assert "--mask_check_path a folder of its own" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_the_published_command(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *command(data, "-num", "9", "--preview")],
        cwd=data,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "9 made" in done.stdout and "3 used, 0 rejected" in done.stdout
    following = done.stdout.split("next:\n")[1]  # type it, and the senior's dataset is there
    typed = [sys.executable, *shlex.split(following)[1:]]
    table = rows_of(data / "CHECK/CarveMixID.csv")
    assert list(table[0])[:3] == ["id", "id1", "id2"]
    names = [f"D_CarveMix_{n}" for n in range(9)]
    assert [row["id"] for row in table] == names
    assert {p.name for p in (data / "D/imagesTrMix").iterdir()} == {f"{name}_0000.nii.gz" for name in names}
    assert {p.name for p in (data / "D/labelsTrMix").iterdir()} == {f"{name}.nii.gz" for name in names}
    assert len({(row["id1"], row["id2"]) for row in table[:6]}) == 6
    assert set(Counter(row["id1"] for row in table).values()) == {3}
    assert sorted(Counter(row["id2"] for row in table).values()) == [4, 5]
    for row in table:
        scan = data / "H" / row["id2"]
        before, brain = array(scan / "flair.nii.gz"), array(scan / "flair_brainmask.nii.gz") > 0
        image = sitk.ReadImage(str(data / f"D/imagesTrMix/{row['id']}_0000.nii.gz"))
        assert image.GetPixelID() == sitk.sitkInt16
        original = sitk.ReadImage(str(scan / "flair.nii.gz"))
        for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(image, of)() == getattr(original, of)()
        after, label = sitk.GetArrayFromImage(image), array(data / f"D/labelsTrMix/{row['id']}.nii.gz")
        assert label.dtype == np.uint8 and set(np.unique(label)) == {0, 1}
        assert not (label > 0)[~brain].any() and np.array_equal(after[~brain], before[~brain])
        assert after[label > 0].mean() > 1.2 * before[label > 0].mean()
        voxel_ml = float(np.prod(image.GetSpacing())) / 1000
        assert float(row["volume_ml"]) == pytest.approx(label.sum() * voxel_ml, rel=1e-3)
        assert float(row["contrast_mixed"]) == pytest.approx(float(row["contrast_donor"]), rel=0.01)
        assert json.loads(row["record"])["placement"]["align"] == "brain"
        assert sitk.ReadImage(str(data / f"CHECK/pictures/{row['id']}.png")).GetSize()[0] > 200
    manifest = rows_of(data / "CHECK/manifest.csv")
    assert {row["status"] for row in manifest} == {"made"} and len(manifest) == 9
    assert json.loads((data / "CHECK/run.json").read_text())["options"]["generate_number"] == 9
    assert rows_of(data / "CHECK/rejected.csv") == []
    assert subprocess.run([*typed, "--workers", "2"], cwd=data, capture_output=True).returncode == 0
    assert (data / "nnUNet_raw/Dataset102_Senior/splits_final.json").is_file()


def test_same_bytes_for_any_workers_and_any_order_of_files(data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for folder in ("D/labelsTr", "D/imagesTr", "H"):
        for source in sorted((data / folder).iterdir(), reverse=True):
            target = again / folder / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    options = ["-num", "7", "--carve", "distance", "--seed", "3"]
    assert run(data, *options) == 0
    assert script.main(command(again, *options, "--workers", "2")) == 0
    assert files_of(data / "D") == files_of(again / "D") and len(files_of(data / "D")) == 14
    tables = [(place / "CHECK/CarveMixID.csv").read_text().splitlines() for place in (data, again)]
    assert [line.rpartition(",")[0] for line in tables[0]] == [line.rpartition(",")[0] for line in tables[1]]


def test_healthy_scans_in_nnunet_form_and_channels_mixed_alike(data: Path) -> None:
    shutil.rmtree(data / "D")
    for n in range(2):
        write_donor(data / "D", f"p{n}", "LPS", seed=n, channels=2)
    plain, _ = head_image(seed=20, spacing=(2.0, 2.0, 2.5))
    write(plain, data / "N/case_0000.nii.gz", "RAS")
    write(plain * 3, data / "N/case_0001.nii.gz", "RAS")
    options = command(data, "-num", "3", "-mnum", "2", "--workers", "1", "--prefix", "Two")
    options[options.index("--healthyimgTr") + 1] = str(data / "N")
    assert script.main(options) == 0
    before = [array(data / f"N/case_000{c}.nii.gz") for c in (0, 1)]
    for n in range(3):
        after = [array(data / f"D/imagesTrMix/Two_CarveMix_{n}_000{c}.nii.gz") for c in (0, 1)]
        changed = [a != b for a, b in zip(after, before, strict=True)]
        # Where the buffer layer ends, a change may be too small for one channel's whole numbers.
        label = array(data / f"D/labelsTrMix/Two_CarveMix_{n}.nii.gz") > 0
        assert label.sum() > 300 and all(c[label].mean() > 0.97 for c in changed)
        reached = ndimage.distance_transform_edt(~label, sampling=(2.5, 2.0, 2.0)) <= 4 + 2.5
        assert not any(c[~reached].any() for c in changed)
    row = rows_of(data / "CHECK/CarveMixID.csv")[0]
    for suffix in ("", "_0001"):
        assert float(row[f"contrast_mixed{suffix}"]) == pytest.approx(
            float(row[f"contrast_donor{suffix}"]), 0.01
        )
    second = data / "D/imagesTr/p1_0001.nii.gz"
    second.unlink()
    options[options.index("Two")] = "Other"
    options[options.index("--mask_check_path") + 1] = str(data / "CHECK2")
    assert script.main(options) == 1
    assert [(row["case"], row["rejected"]) for row in rows_of(data / "CHECK2/rejected.csv")] == [
        ("p1", "unusable file")
    ]
    write(head_image(seed=1, spacing=(3.0, 3.0, 3.0))[0], second, "LPS")
    for number, strip in enumerate(([], ["--skull-strip"]), start=3):
        check = data / f"CHECK{number}"
        options[options.index("--mask_check_path") + 1] = str(check)
        options[options.index("--prefix") + 1] = f"Other{number}"
        assert script.main([*options, *strip]) == 1
        (row,) = rows_of(check / "rejected.csv")
        assert row["rejected"] == "unusable file" and "p1_0001.nii.gz: on another grid" in row["reason"]


@pytest.mark.parametrize(
    "options",
    [
        ["--align", "affine"],
        ["--align", "none"],
        ["--scale-per-axis"],
        ["--mirror_probability", "1"],
        ["--jitter", "4"],
        ["--carve", "distance"],
        ["--blend", "hard"],
        ["--buffer-sigma", "2.5"],
        ["--seed", "1"],
        ["--skull-strip"],
    ],
)
def test_every_option_changes_the_images(options: list[str], data: Path) -> None:
    write(head_image(seed=30, size_mm=(130.0, 140.0, 112.0))[0], data / "near/case_0000.nii.gz")
    write(head_image(seed=31, size_mm=(130.0, 140.0, 112.0), skull=True)[0], data / "near/skull_0000.nii.gz")
    brain = head_image(seed=31, size_mm=(130.0, 140.0, 112.0))[1]
    write(brain, data / "masks/skull.nii.gz")
    write(brain, data / "masks/case.nii.gz")
    made = []
    for prefix, extra in (("plain", ["--mirror-probability", "0"]), ("other", options)):
        line = command(data, "-num", "2", "--workers", "1", "--prefix", prefix, *extra)
        line += ["--healthy-masks", str(data / "masks")]
        line[line.index("--healthyimgTr") + 1] = str(data / "near")
        line[line.index("--mask_check_path") + 1] = str(data / prefix)
        assert script.main(line) == 0
        made.append([array(data / f"D/imagesTrMix/{prefix}_CarveMix_{n}_0000.nii.gz") for n in range(2)])
    assert any(not np.array_equal(a, b) for a, b in zip(*made, strict=True))


# ---------------------------------------------------------------- the gate over a folder


def test_rejections_are_listed_with_their_reasons(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = sitk.GetArrayFromImage(head_image()[0]).shape
    empty, tiny, giant, off = (np.zeros(shape, np.uint8) for _ in range(4))
    tiny[27:29, 36:38, 30:32] = 1
    giant[:] = 1
    off[:10, :10, :10] = 1
    for name, label in {"empty": empty, "tiny": tiny, "giant": giant, "off": off}.items():
        write_donor(data / "D", name, "PIR", seed=9, label=label)
    shutil.copyfile(data / "D/imagesTr/tiny_0000.nii.gz", data / "D/imagesTr/missing_0000.nii.gz")
    shutil.copyfile(data / "D/labelsTr/tiny.nii.gz", data / "D/labelsTr/orphan.nii.gz")
    cut = data / "D/imagesTr/cut_0000.nii.gz"
    cut.write_bytes((data / "D/imagesTr/tiny_0000.nii.gz").read_bytes()[:5000])
    shutil.copyfile(data / "D/labelsTr/patient0.nii.gz", data / "D/labelsTr/cut.nii.gz")
    assert run(data, "-num", "4") == 1
    rejected = {row["case"]: row for row in rows_of(data / "CHECK/rejected.csv")}
    assert {case: row["rejected"] for case, row in rejected.items()} == {
        "empty": "empty label",
        "tiny": "too small",
        "giant": "off the brain",
        "off": "off the brain",
        "missing": "missing label",
        "orphan": "label without a scan",
        "cut": "unusable file",
    }
    assert all(row["reason"] and row["role"] == "donor" for row in rejected.values())
    said = capsys.readouterr().out
    assert "3 used, 7 rejected: 2 off the brain" in said and "1 empty label" in said
    assert {row["id1"] for row in rows_of(data / "CHECK/CarveMixID.csv")} <= {
        "patient0",
        "patient1",
        "patient2",
    }


def test_a_name_that_is_no_file_is_the_error_of_its_head(data: Path) -> None:
    images, labels = data / "D/imagesTr", data / "D/labelsTr"
    for name in ("label", "mask", "softmax"):
        shutil.copyfile(images / "patient0_0000.nii.gz", images / f"{name}_0000.nii.gz")
        shutil.copyfile(labels / "patient0.nii.gz", labels / f"{name}.nii.gz")
    (labels / "label.nii.gz").unlink()
    for path in (labels / "label.nii.gz", images / "mask_brainmask.nii.gz", labels / "softmax.npz"):
        os.mkfifo(path)
    assert run(data, "-num", "3") == 1
    rejected = {row["case"]: row for row in rows_of(data / "CHECK/rejected.csv")}
    assert set(rejected) == {"label", "mask", "softmax"}
    for name, row in rejected.items():
        assert row["rejected"] == "unusable file" and name in row["reason"].split(": ")[0]
        assert "not a file but a folder, pipe" in row["reason"], row["reason"]


def test_all_rejected_is_an_error_and_limits_can_then_be_moved(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "-num", "2", "--min-volume-ml", "500") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no tumour scan with a usable pseudo-label" in error and "3 too small" in error
    assert len(rows_of(data / "CHECK/rejected.csv")) == 3
    assert not (data / "D/imagesTrMix").exists()
    assert run(data, "-num", "2") == 0
    assert rows_of(data / "CHECK/rejected.csv") == []


def test_healthy_scans_that_cannot_be_used_are_named_and_the_others_mixed(
    data: Path, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("H/with_skull", "RAS", mask=False, skull=True, size_mm=(96.0, 112.0, 80.0))
    path = data / "H/with_skull/flair.nii.gz"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image + 5, str(path))  # no voxel is exactly background any more, except none
    noisy = sitk.GetArrayFromImage(image) + np.random.default_rng(0).integers(1, 9, image.GetSize()[::-1])
    again = sitk.GetImageFromArray(noisy.astype(np.int16))
    again.CopyInformation(image)
    sitk.WriteImage(again, str(path))
    assert run(data, "-num", "4") == 1
    said = capsys.readouterr().out
    assert "4 made" in said and "with_skull" in said and "HD-BET" in said
    assert {row["id2"] for row in rows_of(data / "CHECK/CarveMixID.csv")} == {"h0", "h1"}


# ---------------------------------------------------------------- runs


def test_a_finished_run_is_left_alone_and_an_incomplete_one_completed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "-num", "5") == 0
    made = files_of(data / "D")
    times = {p: p.stat().st_mtime_ns for p in (data / "D").glob("*Mix/*")}
    assert run(data, "-num", "5") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (data / "D").glob("*Mix/*")} == times
    (data / "D/imagesTrMix/D_CarveMix_2_0000.nii.gz").unlink()
    (data / "D/labelsTrMix/D_CarveMix_4.nii.gz").write_bytes(b"half")
    assert run(data, "-num", "5") == 0
    assert "2 made, 3 kept" in capsys.readouterr().out
    assert files_of(data / "D") == made
    assert run(data, "-num", "5", "--blend", "hard") == 2
    assert "blend" in capsys.readouterr().err
    assert files_of(data / "D") == made
    assert run(data, "-num", "5", "--blend", "hard", "--overwrite") == 0
    assert files_of(data / "D") != made


def test_files_of_others_are_never_replaced(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = data / "D/imagesTrMix/D_CarveMix_0_0000.nii.gz"
    own.parent.mkdir()
    own.write_text("mine")
    assert run(data, "-num", "2", "--overwrite") == 2
    assert str(own) in capsys.readouterr().err and own.read_text() == "mine"
    own.unlink()
    table = data / "ids.csv"
    table.write_text("mine")
    assert run(data, "-num", "2", "--mixid_csv_path", str(table)) == 2
    assert table.read_text() == "mine"
    table.unlink()
    assert run(data, "-num", "2", "--mixid_csv_path", str(table)) == 0
    assert [row["id"] for row in rows_of(table)] == ["D_CarveMix_0", "D_CarveMix_1"]


def test_ctrl_c_leaves_whole_files_and_the_same_command_carries_on(data: Path) -> None:
    options = command(data, "-num", "60", "--workers", "1")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list((data / "D").glob("labelsTrMix/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "carries on" in out
    there = files_of(data / "D")
    assert 0 < len(there) < 120 and not [name for name in there if "/." in f"/{name}"]
    assert run(data, "-num", "60") == 0
    finished = files_of(data / "D")
    assert len(finished) == 120 and there.items() <= finished.items()


def test_a_case_that_fits_nowhere_is_reported_and_the_others_made(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_donor(data / "D", "edge", "LPS", seed=5, offset_ras_mm=(41.0, 0.0, 0.0), radius_mm=14.0)
    assert (
        run(data, "-num", "8", "--jitter", "60", "--min-remaining", "0.95", "--max-outside-fraction", "1")
        == 1
    )
    said = capsys.readouterr().out
    assert "FAILED" in said and "no pair fits after" in said
    manifest = rows_of(data / "CHECK/manifest.csv")
    states = Counter(row["status"] for row in manifest)
    assert states["failed"] and states["made"] and sum(states.values()) == 8
    assert len(rows_of(data / "CHECK/CarveMixID.csv")) == states["made"]


# ---------------------------------------------------------------- the senior's dataset


def test_combine_keeps_subjects_apart(data: Path, make_head: MakeHead) -> None:
    for n in range(2, 5):
        make_head(f"H/h{n}", "LPS", seed=12 + n)
    write_donor(
        data / "D", "patient0_v01val", "RAS", seed=0
    )  # a second scan of patient0, as Stage 1 names it
    output = data / "raw/Dataset102_Senior"
    options = ["-num", "12", "--combine", str(output), "--val-fraction", "0.4"]
    assert run(data, *options) == 0
    dataset = json.loads((output / "dataset.json").read_text())
    assert dataset["numTraining"] == 16 and dataset["labels"] == {"background": 0, "tumour": 1}
    (fold,) = json.loads((output / "splits_final.json").read_text())
    cases = {p.name.removesuffix(".nii.gz") for p in (output / "labelsTr").iterdir()}
    assert set(fold["train"]) | set(fold["val"]) == cases and len(cases) == 16
    subjects = {
        "patient0": {"patient0"},
        "patient0_v01val": {"patient0"},
        "patient1": {"patient1"},
        "patient2": {"patient2"},
    }
    for row in rows_of(data / "CHECK/CarveMixID.csv"):
        subjects[row["id"]] = {row["id1"].removesuffix("_v01val"), row["id2"]}
        for kind, name in (("images", f"{row['id']}_0000.nii.gz"), ("labels", f"{row['id']}.nii.gz")):
            copied, made = output / f"{kind}Tr/{name}", data / f"D/{kind}TrMix/{name}"
            assert copied.read_bytes() == made.read_bytes()
    sides = [set().union(*(subjects[case] for case in fold[side])) for side in ("train", "val")]
    assert not sides[0] & sides[1] and all(sides)
    assert any("CarveMix" in case for case in fold["val"])
    original = array(data / "D/imagesTr/patient1_0000.nii.gz")
    assert np.array_equal(array(output / "imagesTr/patient1_0000.nii.gz"), original)
    assert np.array_equal(
        array(output / "labelsTr/patient1.nii.gz"), array(data / "D/labelsTr/patient1.nii.gz")
    )
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.nii.gz")}
    assert run(data, *options) == 0
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*.nii.gz")} == before


def test_stage_1_cases_stay_on_their_side(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never a validation task's case for training, nor a subject on both sides."""
    junior, output = data / "raw/Dataset101_Junior", data / "raw/Dataset102_Senior"
    options = ["--variants", "2", "--add-untouched", "1", "--max-volume", "30000", "--workers", "1"]
    assert prompt_multi_tumor.main(["-i", str(data / "H"), "-o", str(junior), *options]) == 0
    options = ["-num", "9", "--val-fraction", "0.4", "--combine", str(output), "--stage1", str(junior)]
    assert run(data, *options) == 0
    (fold,) = json.loads((output / "splits_final.json").read_text())
    (earlier,) = json.loads((junior / "splits_final.json").read_text())
    subject = {row["case"]: row["subject"] for row in rows_of(junior / "manifest.csv")}
    sides = {side: {subject[case] for case in fold[side] if case in subject} for side in ("train", "val")}
    assert sides["train"] and sides["val"]
    for row in rows_of(data / "CHECK/CarveMixID.csv"):
        sides[row["split"]].add(row["id2"])
    assert not sides["train"] & sides["val"]
    for side in ("train", "val"):
        kept = set(earlier[side]) & set(fold[side])
        assert kept == {case for case in earlier[side] if subject[case] in sides[side]}
        for case in kept:
            for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
                assert (output / file).read_bytes() == (junior / file).read_bytes()
    assert not set(earlier["val"]) & set(fold["train"]) and not set(earlier["train"]) & set(fold["val"])
    assert any(case.endswith("_free") for case in fold["train"])

    capsys.readouterr()
    (junior / "labelsTr" / f"{earlier['train'][0]}.nii.gz").unlink()
    assert run(data, *options) == 2 and "run Stage 1 again" in capsys.readouterr().err
    assert run(data, *options[:-1], str(data / "H")) == 2 and "DatasetNNN_Name" in capsys.readouterr().err
    assert run(data, "-num", "9", "--stage1", str(junior)) == 2 and "--combine" in capsys.readouterr().err


def test_tumour_free_scans_come_with_an_empty_label(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = data / "raw/Dataset102_Senior"
    options = ["-num", "4", "--skull-strip", "--add-untouched", "1"]
    assert run(data, *options) == 2 and "--combine" in capsys.readouterr().err
    assert run(data, *options, "--combine", str(output), "--val-fraction", "0.4") == 0
    (fold,) = json.loads((output / "splits_final.json").read_text())
    sides = {row["id2"]: row["split"] for row in rows_of(data / "CHECK/CarveMixID.csv")}
    assert set(sides) == {"h0", "h1"}
    for name, side in sides.items():
        assert f"{name}_free" in fold[side]
        scan, brain = (array(data / f"H/{name}/{file}.nii.gz") for file in ("flair", "flair_brainmask"))
        assert np.array_equal(array(output / f"imagesTr/{name}_free_0000.nii.gz"), np.where(brain, scan, 0))
        assert not array(output / f"labelsTr/{name}_free.nii.gz").any()


def test_combine_refuses_what_it_cannot_split_or_does_not_own(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = data / "raw/Dataset103_Other"
    foreign.mkdir(parents=True)
    (foreign / "dataset.json").write_text("{}")
    assert run(data, "-num", "2", "--combine", str(foreign)) == 2
    assert "holds another dataset" in capsys.readouterr().err
    assert run(data, "-num", "2", "--combine", str(data / "senior")) == 2
    assert "DatasetNNN_Name" in capsys.readouterr().err
    everyone = ["--subject-pattern", "patient|h", "--combine", str(data / "raw/Dataset104_One")]
    assert run(data, "-num", "2", *everyone) == 2
    assert "two subjects or more" in capsys.readouterr().err
    assert not (data / "D/imagesTrMix").exists()


def test_subjects_of_stage_1_are_taken_from_its_manifest(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["case,subject", "patient0,h0", "patient1,h0", "patient2,h1"]
    (data / "D/manifest.csv").write_text("\n".join(lines) + "\n")
    assert run(data, "-num", "3") == 0
    pairs = {(row["id1"], row["id2"]) for row in rows_of(data / "CHECK/CarveMixID.csv")}
    assert pairs == {("patient0", "h1"), ("patient1", "h1"), ("patient2", "h0")}


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--imagesTr_path", "nowhere"], "nowhere: no such folder"),
        (["--labelsTr_path", "nowhere"], "nowhere: no such folder"),
        (["--healthyimgTr", "nowhere"], "nowhere: no such folder"),
        (["--healthyimgTr", "void"], "holds no scan"),
        (["--imagesTr_path", "void"], "holds no scan"),
        (["-num", "0"], "needs 1 or more"),
        (["-mnum", "2"], "needs the scans in nnU-Net form"),
        (["--min-remaining", "1.5"], "needs 0 to 1"),
        (["--buffer-sigma", "nan"], "needs 0 to 20"),
        (["--prefix", "a/b"], "letters, digits"),
        (["--subject-pattern", "("], "--subject-pattern"),
        (["--donor-masks", "nowhere"], "no such folder"),
        (["--mixid_csv_path", "nowhere/ids.csv"], "in a folder that exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    change: list[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "void").mkdir()
    value = str(data / change[1]) if change[1] in ("nowhere", "void", "nowhere/ids.csv") else change[1]
    assert run(data, "-num", "2", change[0], value) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("stage2_mixed_with_pseudo_label.py: error: ")
    assert said in error[0]
    assert not (data / "D/imagesTrMix").exists()


def test_help_is_quick_and_no_argument_is_an_error() -> None:
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: print([m for m in ('numpy', 'scipy', 'SimpleITK', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert "--mask_check_path" in done.stdout and "--mixid_csv_path" in done.stdout
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2 and "--imagesTr_path" in done.stderr
