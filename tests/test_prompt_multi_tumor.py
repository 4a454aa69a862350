"""Preset diverse: tumours grown through tissue, painted, beside distractors; and paper, left as it was."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import prompt_multi_tumor
import resect_multi_tumor
from tests.conftest import ROOT, MakeHead, array, in_order


def test_a_folder_of_diverse_cases(make_head: MakeHead, tmp_path: Path) -> None:
    """BraTS regions in dataset.json, cases without a tumour for training only, priors beside the scans."""
    for n in range(4):
        scan = make_head(f"in/s{n}", spacing=(2.0, 2.0, 3.0), seed=n)
        image = sitk.ReadImage(str(scan))
        half = np.zeros(image.GetSize()[::-1], np.float32)
        half[..., : half.shape[2] // 2] = 1  # LPS: the right side
        prior = sitk.GetImageFromArray(half)
        prior.CopyInformation(image)
        sitk.WriteImage(prior, str(scan.parent / "prior.nii.gz"))
    output = tmp_path / "Dataset009_Diverse"
    arguments = ["--input", str(tmp_path / "in"), "--output", str(output), "--preset", "diverse"]
    arguments += [
        "--labels",
        "brats",
        "--variants",
        "6",
        "--without-tumour",
        "0.5",
        "--workers",
        "1",
    ]
    arguments += ["--location-prior", "prior.nii.gz", "--max-volume", "20000", "--core-probability", "1"]
    assert prompt_multi_tumor.main(arguments) == 0
    about = json.loads((output / "dataset.json").read_text())
    assert about["labels"]["tumour core"] == [1, 3] and about["regions_class_order"] == [2, 1, 3]
    with (output / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values: set[int] = set()
    for row in rows:
        label = in_order(output / f"labelsTr/{row['case']}.nii.gz")
        values |= set(np.unique(label).tolist())
        assert label.any() == (row["kind"] == "synthetic")
        record = json.loads(row["record"])
        brain = in_order(tmp_path / "in" / row["mask"])
        middle = np.argwhere(brain).mean(axis=0)[2]
        for tumour in record["tumours"]:
            assert tumour["shape"]["centre_ras_mm"][0] > _right_of(tmp_path / "in" / row["mask"], middle) - 4
    assert values == {0, 1, 2, 3}
    kinds = {(row["split"], row["kind"]) for row in rows}
    assert kinds == {("train", "synthetic"), ("train", "tumour-free"), ("val", "synthetic")}
    again = [tmp_path / name for name in ("i.nii.gz", "l.nii.gz")]
    one = next(row for row in rows if row["kind"] == "synthetic")
    source = str(tmp_path / "in" / one["source"])
    manifest = ["--from-record", str(output / "manifest.csv"), "--case", one["case"]]
    assert resect_multi_tumor.main([source, *map(str, again), *manifest]) == 0
    assert again[0].read_bytes() == (output / f"imagesTr/{one['case']}_0000.nii.gz").read_bytes()


def test_channels_of_a_folder(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        scan = make_head(f"in/s{n}", seed=n)
        for contrast in ("t1ce", "t2"):
            (scan.parent / f"{contrast}.nii.gz").write_bytes(scan.read_bytes())
    output = tmp_path / "Dataset010_Channels"
    arguments = ["--input", str(tmp_path / "in"), "--output", str(output), "--channels", "t1ce", "t2"]
    assert prompt_multi_tumor.main([*arguments, "--preset", "paper"]) == 2
    assert "--channels needs --preset diverse" in capsys.readouterr().err
    arguments += ["--without-tumour", "0", "--workers", "1"]
    arguments += ["--head-scale", "0.5", "0.5"]
    t2 = tmp_path / "in/s0/t2.nii.gz"
    content = t2.read_bytes()
    t2.write_bytes(make_head("coarse", spacing=(3.0, 3.0, 3.0)).read_bytes())
    for strip in ([], ["--skull-strip"]):
        assert prompt_multi_tumor.main([*arguments, "--overwrite", *strip]) == 1
        failed = capsys.readouterr().out
        assert "t2" in failed and "on another grid" in failed and "1 failed" in failed
    t2.write_bytes(content)
    arguments.append("--overwrite")
    assert prompt_multi_tumor.main(arguments) == 0
    assert "did not make" not in capsys.readouterr().out
    about = json.loads((output / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "FLAIR", "1": "T1CE", "2": "T2"}
    for label in (output / "labelsTr").glob("*.nii.gz"):
        name = label.name.removesuffix(".nii.gz")
        paths = [output / f"imagesTr/{name}_000{n}.nii.gz" for n in range(3)]
        spacing = (2.0, 2.0, 2.0) if name.endswith("val") else (1.0, 1.0, 1.0)
        assert all(sitk.ReadImage(str(path)).GetSpacing() == spacing for path in (label, *paths))
        images = [in_order(path) for path in paths]
        assert in_order(label).any() and not any(np.array_equal(images[0], other) for other in images[1:])


def _right_of(path: Path, column: float) -> float:
    """RAS x in mm of a column of an image read in RAS order."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    return -image.TransformContinuousIndexToPhysicalPoint((float(column), 0.0, 0.0))[0]


def prompt_with_pictures(folder: Path, *options: object) -> int:
    where = ["--input", folder / "in", "--output", folder / "Dataset001_X"]
    return prompt_multi_tumor.main([str(o) for o in (*where, *options)])


def pictures_of(dataset: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted([*dataset.glob("previews/*"), *dataset.glob("*.png")])}


def test_a_run_has_a_picture_of_every_case_and_a_sheet(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [
        make_head(f"in/s{n}", orientation, seed=n) for n, orientation in enumerate(("RAS", "LPS", "PIR"))
    ]
    how = ("--variants", 2, "--add-untouched", 1, "--max-volume", 20000, "--min-volume", 2000)
    dataset = tmp_path / "Dataset001_X"
    assert prompt_with_pictures(tmp_path, *how, "--workers", 1) == 0  # without pictures
    assert pictures_of(dataset) == {}
    made = {p: p.read_bytes() for p in dataset.glob("*Tr/*")}
    assert (
        prompt_with_pictures(tmp_path, *how, "--workers", 2, "--preview") == 0
    )  # the same folder, now with them
    assert {p: p.read_bytes() for p in dataset.glob("*Tr/*")} == made
    pictures = pictures_of(dataset)
    cases = {p.name.removesuffix(".nii.gz") for p in dataset.glob("labelsTr/*")}
    assert set(pictures) == {f"{case}.png" for case in cases} | {"contact_sheet.png"}
    assert any(case.endswith("_free") for case in cases) and any(case.endswith("val") for case in cases)
    assert f"some of them on one sheet: {dataset / 'contact_sheet.png'}" in capsys.readouterr().out

    shutil.copytree(tmp_path / "in", tmp_path / "other/in")
    assert prompt_with_pictures(tmp_path / "other", *how, "--workers", 1, "--preview") == 0
    assert pictures_of(tmp_path / "other/Dataset001_X") == pictures  # to the byte

    written = (dataset / "contact_sheet.png").stat().st_mtime_ns
    assert prompt_with_pictures(tmp_path, *how, "--preview") == 0  # nothing to do
    assert (dataset / "contact_sheet.png").stat().st_mtime_ns == written
    # Another scan, and no pictures asked for: those of its cases are no longer true.
    shutil.copyfile(make_head("new", seed=9), scans[0])
    assert prompt_with_pictures(tmp_path, *how) == 0
    left = {name for name in pictures_of(dataset)}
    assert left == {name for name in pictures if not name.startswith("s0") and name != "contact_sheet.png"}
    assert prompt_with_pictures(tmp_path, *how, "--preview") == 0
    again = pictures_of(dataset)
    assert set(again) == set(pictures)
    assert {n for n in again if again[n] != pictures[n]} >= {n for n in pictures if n.startswith("s0")}


ORIENTATIONS = ["RAS", "LPS", "PIR", "LAS", "RSA"]


@pytest.fixture
def subjects(make_head: MakeHead, tmp_path: Path) -> Path:
    """Five small heads, every one another and in another orientation; the last one oblique, 3 mm slices."""
    for n, orientation in enumerate(ORIENTATIONS):
        extra = {"spacing": (2.0, 2.0, 3.0), "oblique_deg": 12.0} if n == 4 else {}
        make_head(f"in/s{n}", orientation, seed=n, **extra)
    return tmp_path / "in"


def prompt(folder: Path, output: Path, *options: str) -> int:
    return prompt_multi_tumor.main(["--input", str(folder), "--output", str(output), *options])


def cases_of(dataset: Path) -> dict[str, dict[str, str]]:
    with (dataset / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def images_of(dataset: Path) -> dict[str, bytes]:
    return {p.relative_to(dataset).as_posix(): p.read_bytes() for p in sorted(dataset.glob("*Tr/*"))}


def test_no_argument_makes_a_dataset_of_the_demo_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "prompt_multi_tumor.py")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    dataset = tmp_path / "nnUNet_DataFramework/Task100_OASIS-PLBTS"
    rows = cases_of(dataset)
    assert len(rows) == 3 and {row["status"] for row in rows.values()} == {"made"}
    held_out = [case for case in rows if case.endswith("val")]
    assert 1 <= len(held_out) <= 2
    assert all((row["task"] == "val") == (case in held_out) for case, row in rows.items())
    for case, row in rows.items():
        image, label = dataset / f"imagesTr/{case}_0000.nii.gz", dataset / f"labelsTr/{case}.nii.gz"
        assert array(label).any() == (row["kind"] == "synthetic")
        source = array(ROOT / "DemoData" / row["source"])
        changed, brain = array(image) != source, array(ROOT / "DemoData" / row["mask"]) > 0
        assert not changed[~brain].any() and changed[array(label) > 0].all()
        voxel_ml = np.prod(sitk.ReadImage(str(label)).GetSpacing()) / 1000
        assert float(row["volume_ml"]) == pytest.approx(array(label).sum() * voxel_ml, abs=0.001)
    assert done.stderr == ""  # the progress bar is for terminals: test_progress.py
    for said in ("3 made", str(len(held_out)), "manifest.csv", "splits_final.pkl", "-chk model_best"):
        assert said in done.stdout
    assert (dataset / "splits_final.pkl").is_file() and (dataset / "dataset.json").is_file()


def test_same_bytes_however_it_is_run(subjects: Path, tmp_path: Path) -> None:
    options = ["--variants", "3", "--add-untouched", "0.4", "--seed", "5"]
    alone, together = tmp_path / "1/Dataset001_A", tmp_path / "2/Dataset001_A"
    assert prompt(subjects, alone, *options, "--workers", "1") == 0
    assert prompt(subjects, together, *options, "--workers", "2") == 0
    expected = images_of(alone)
    assert len(expected) == 2 * (5 * 3 + 1)
    assert images_of(together) == expected
    for name in ("dataset.json", "splits_final.json", "run.json"):
        assert (together / name).read_bytes() == (alone / name).read_bytes()
    subset = tmp_path / "3/Dataset001_A"
    assert prompt(subjects, subset, *options, "--subjects", "s3", "--subjects=s1") == 0
    part = images_of(subset)
    assert {name.split("/")[1][:2] for name in part} == {"s1", "s3"}
    assert part == {name: expected[name] for name in part}
    other = tmp_path / "4/Dataset001_A"
    assert prompt(subjects, other, *options[:-1], "6") == 0
    shared = set(images_of(other)) & set(expected)
    assert all(images_of(other)[n] != expected[n] for n in shared if "labelsTr" in n and "free" not in n)


def test_tumours_do_not_depend_on_the_side(subjects: Path, tmp_path: Path) -> None:
    prompt(subjects, tmp_path / "a/Dataset001_A", "--val-fraction", "0")
    prompt(subjects, tmp_path / "b/Dataset001_A", "--val-fraction", "0.8")
    drawn = []
    for folder in ("a", "b"):
        rows = cases_of(tmp_path / folder / "Dataset001_A").values()
        drawn.append({row["subject"]: json.loads(row["record"])["tumours"] for row in rows})
    assert drawn[0] == drawn[1] and len(drawn[0]) == 5
    tumours = [json.dumps(tumour) for tumour in drawn[0].values()]
    assert len(set(tumours)) == 5
    assert not (tmp_path / "a/Dataset001_A/splits_final.json").exists()


def test_no_subject_on_both_sides(make_head: MakeHead, tmp_path: Path) -> None:
    bids = tmp_path / "bids"
    for subject in ("sub-1", "sub-2", "sub-3", "sub-4"):
        for session in ("ses-a", "ses-b"):
            name = f"{subject}_{session}"
            scan = make_head(f"bids/{subject}/{session}/anat", seed=len(name), mask=True)
            scan.rename(scan.with_name(f"{name}_FLAIR.nii.gz"))
            mask = scan.with_name("flair_brainmask.nii.gz")
            mask.rename(scan.with_name(f"{name}_desc-brain_mask.nii.gz"))
    (bids / "dataset_description.json").write_text("{}")
    output = tmp_path / "Dataset009_Bids"
    assert prompt(bids, output, "--variants", "2") == 0
    rows = cases_of(output)
    assert len(rows) == 16
    sides = {(row["subject"], row["split"]) for row in rows.values()}
    assert len(sides) == 4 and sum(split == "val" for _, split in sides) == 2
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert sorted(fold["train"] + fold["val"]) == sorted(rows)
    assert all(rows[case]["split"] == "val" and case.endswith("val") for case in fold["val"])
    assert "sub-1_ses-b_v01" in {case.removesuffix("val") for case in rows}


def test_flat_nnunet_input_without_masks(make_head: MakeHead, tmp_path: Path) -> None:
    for n in range(2):
        scan = make_head(f"case{n}", seed=n, mask=False)
        (tmp_path / "flat").mkdir(exist_ok=True)
        scan.rename(tmp_path / f"flat/C{n}_0000.nii.gz")
    assert prompt(tmp_path / "flat", tmp_path / "Dataset002_F") == 0
    assert {row["subject"] for row in cases_of(tmp_path / "Dataset002_F").values()} == {"C0", "C1"}


def test_every_row_can_be_made_again(subjects: Path, tmp_path: Path) -> None:
    output = tmp_path / "Dataset001_A"
    options = ("--add-untouched", "0.5", "--num-tumours", "1", "2", "--max-volume", "30000")
    assert prompt(subjects, output, *options, "--core-probability", "0.5", "--skull-strip") == 0
    rows = cases_of(output)
    assert {row["kind"] for row in rows.values()} == {"synthetic", "tumour-free"}
    assert {row["tumours"] for row in rows.values()} == {"0", "1", "2"}
    for case, row in rows.items():
        image, label = tmp_path / "again.nii.gz", tmp_path / "again_label.nii.gz"
        arguments = [str(subjects / row["source"]), str(image), str(label)]
        record = ["--from-record", str(output / "manifest.csv"), "--case", case]
        assert resect_multi_tumor.main([*arguments, *record]) == 0
        assert image.read_bytes() == (output / f"imagesTr/{case}_0000.nii.gz").read_bytes()
        assert label.read_bytes() == (output / f"labelsTr/{case}.nii.gz").read_bytes()


def test_preset_diverse_leaves_the_geometry_of_every_file(subjects: Path, tmp_path: Path) -> None:
    """Images, further channels and labels of cases of every kind: sizes and both forms to the byte."""
    for scan in subjects.glob("*/flair.nii.gz"):
        shutil.copyfile(scan, scan.with_name("t1.nii.gz"))
    output = tmp_path / "Dataset001_A"
    options = ("--variants", "2", "--without-tumour", "0.5", "--add-untouched", "1", "--channels", "t1")
    assert prompt(subjects, output, "--preset", "diverse", "--min-volume", "4000", *options) == 0
    rows = cases_of(output)
    kinds = {(row["task"], row["tumours"] != "0", row["variant"] != "") for row in rows.values()}
    assert kinds == {
        ("train", True, True),
        ("train", False, True),
        ("train", False, False),
        ("val", True, True),
    }
    for case, row in rows.items():
        assert row["head_scale"] == "1.0"
        names = (f"imagesTr/{case}_0000", f"imagesTr/{case}_0001", f"labelsTr/{case}")
        source = geometry_of(subjects / row["source"])
        assert [geometry_of(output / f"{name}.nii.gz") for name in names] == [source] * 3


def geometry_of(path: Path) -> tuple[bytes, bytes]:
    """Sizes of grid and voxels, then the codes and numbers of both forms, in a NIfTI file's header."""
    header = gzip.decompress(path.read_bytes())[:348]
    return header[40:48] + header[76:92], header[252:328]


def test_training_heads_are_resized_by_their_headers_alone(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the same run without it: the same voxels, every length and coordinate times `head_scale`."""
    options = ("--variants", "2", "--add-untouched", "0.5", "--seed", "4")
    as_scanned, smaller = tmp_path / "a/Dataset001_A", tmp_path / "b/Dataset001_A"
    assert prompt(subjects, as_scanned, *options) == 0
    assert "training heads" not in capsys.readouterr().out
    assert prompt(subjects, smaller, *options, "--head-scale", "0.5", "0.8") == 0
    assert re.search(r"training heads: 0\.[56]\d* to 0\.[67]\d* times", capsys.readouterr().out)
    before, after = cases_of(as_scanned), cases_of(smaller)
    assert before.keys() == after.keys()
    scales = set()
    for case, row in after.items():
        scale = float(row["head_scale"])
        assert float(before[case]["head_scale"]) == 1 and (row["task"] == "train" or scale == 1)
        for name in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            old, new = (sitk.ReadImage(str(folder / name)) for folder in (as_scanned, smaller))
            assert (
                np.array_equal(*map(sitk.GetArrayFromImage, (old, new)))
                and old.GetPixelID() == new.GetPixelID()
            )
            for was, is_now in ((old.GetSpacing(), new.GetSpacing()), (old.GetOrigin(), new.GetOrigin())):
                assert np.allclose(np.array(was) * scale, is_now, rtol=1e-6)
            assert np.allclose(old.GetDirection(), new.GetDirection(), atol=1e-6)
        label = sitk.ReadImage(str(smaller / f"labelsTr/{case}.nii.gz"))
        ml = sitk.GetArrayFromImage(label).sum() * np.prod(label.GetSpacing()) / 1000
        assert float(row["volume_ml"]) == pytest.approx(ml, abs=0.001)
        for column in ("centre_r_mm", "brain_high_s_mm"):
            if row[column]:
                assert float(row[column]) == pytest.approx(scale * float(before[case][column]), abs=0.01)
        if row["task"] == "train" and row["variant"]:  # untouched scans stay as they were scanned
            scales.add(scale)
    assert len(scales) > 3 and 0.5 <= min(scales) < max(scales) <= 0.8
    case = next(case for case, row in after.items() if float(row["head_scale"]) < 1 and row["tumours"] == "1")
    image, label = tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"
    again = ["--from-record", str(smaller / "manifest.csv"), "--case", case]
    assert (
        resect_multi_tumor.main([str(subjects / after[case]["source"]), str(image), str(label), *again]) == 0
    )
    assert image.read_bytes() == (smaller / f"imagesTr/{case}_0000.nii.gz").read_bytes()
    assert label.read_bytes() == (smaller / f"labelsTr/{case}.nii.gz").read_bytes()


def test_tumour_free_cases(subjects: Path, tmp_path: Path) -> None:
    output = tmp_path / "Dataset001_A"
    assert (
        prompt(subjects, output, "--without-tumour", "0", "--add-untouched", "1", "--val-fraction", "0.4")
        == 0
    )
    free = {case: row for case, row in cases_of(output).items() if row["kind"] == "tumour-free"}
    assert len(free) == 3 and all(row["split"] == "train" for row in free.values())
    for case, row in free.items():
        assert np.array_equal(array(output / f"imagesTr/{case}_0000.nii.gz"), array(subjects / row["source"]))
        assert not array(output / f"labelsTr/{case}.nii.gz").any()
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert set(free) < set(fold["train"])


def test_options_reach_the_cases(subjects: Path, tmp_path: Path) -> None:
    (tmp_path / "volumes.csv").write_text("Volume\n3000\n4000\n")
    scan = sitk.ReadImage(str(subjects / "s0/flair.nii.gz"))
    sitk.WriteImage(scan, str(subjects / "s0/other.nii.gz"))
    sitk.WriteImage(
        sitk.ReadImage(str(subjects / "s0/flair_brainmask.nii.gz")), str(subjects / "s0/m.nii.gz")
    )
    output = tmp_path / "Dataset001_A"
    options = ["--preset", "paper", "--image-name", "other.nii.gz", "--mask-name", "m.nii.gz"]
    options += ["--volumes-path", str(tmp_path / "volumes.csv"), "--intensity-range", "2", "2", "-w", "1"]
    options += ["--shape", "ellipsoid"]
    assert prompt(subjects, output, *options, "--buffer-sigma", "2") == 0
    (row,) = cases_of(output).values()
    assert (row["source"], row["mask"]) == ("s0/other.nii.gz", "s0/m.nii.gz")
    assert row["tumour1_shape_kind"] == "ellipsoid"
    assert float(row["tumour1_shape_volume_mm3"]) in (3000, 4000)
    assert (float(row["tumour1_intensity_factor"]), float(row["buffer_sigma_mm"])) == (2, 2)
    settings = json.loads((output / "run.json").read_text())
    assert settings["preset"]["shape"] == "ellipsoid" and settings["options"]["image-name"] == "other.nii.gz"


ODD_NAMES = ["with space", "quo'te\"d", "semi;colon", "semi:colon", "Müller-日本", "-rf", "Xval", "X"]


def test_odd_names(make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ODD_NAMES:
        make_head(f"in/{name}")
    output = tmp_path / "it's here" / "Dataset001_A"
    output.parent.mkdir()
    assert prompt(tmp_path / "in", output) == 0
    rows = cases_of(output)
    assert {row["subject"] for row in rows.values()} == set(ODD_NAMES)
    for case in rows:
        assert case.isascii() and case.replace("-", "").replace("_", "").isalnum()
        assert (output / f"imagesTr/{case}_0000.nii.gz").is_file()
    out = capsys.readouterr().out
    assert "cp '" in out and "it'\"'\"'s here/Dataset001_A/splits_final.json'" in out


def test_broken_scans_fail_with_their_reason(
    make_head: MakeHead, subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("trunc", "fourd", "empty", "text", "skull", "twos"):
        make_head(f"in/{name}", mask=name != "skull", skull=name == "skull")
    trunc = subjects / "trunc/flair.nii.gz"
    trunc.write_bytes(trunc.read_bytes()[:-5000])
    one = sitk.ReadImage(str(subjects / "fourd/flair.nii.gz"))
    sitk.WriteImage(sitk.JoinSeries([one, one]), str(subjects / "fourd/flair.nii.gz"))
    mask = sitk.ReadImage(str(subjects / "empty/flair_brainmask.nii.gz"))
    sitk.WriteImage(mask * 0, str(subjects / "empty/flair_brainmask.nii.gz"))
    sitk.WriteImage(mask * 2, str(subjects / "twos/flair_brainmask.nii.gz"))
    (subjects / "text/flair.nii.gz").write_text("not an image")
    (subjects / "nothing").mkdir()
    output = tmp_path / "Dataset001_A"
    assert prompt(subjects, output) == 1
    rows = cases_of(output)
    failed = {row["subject"]: row["reason"] for row in rows.values() if row["status"] == "failed"}
    assert set(failed) == {"trunc", "fourd", "empty", "text", "skull"}
    assert "damaged" in failed["trunc"] and "three-dimensional" in failed["fourd"]
    assert "empty" in failed["empty"] and "HD-BET" in failed["skull"]
    out = capsys.readouterr().out
    assert all(reason in out for reason in failed.values())
    assert "skipped nothing: no flair.nii.gz" in out
    assert "all above 0 count as brain" in next(
        r["warnings"] for r in rows.values() if r["subject"] == "twos"
    )
    described = json.loads((output / "dataset.json").read_text())
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert described["numTraining"] == len(list((output / "imagesTr").iterdir())) == 6
    assert len(fold["train"] + fold["val"]) == 6


def script(folder: Path, output: Path) -> subprocess.Popen[str]:
    """The script on its own, once its first images are there."""
    command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "-i", str(folder), "-o", str(output)]
    options = ["--variants", "6", "--workers", "2"]
    process = subprocess.Popen(
        command + options, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    give_up = time.monotonic() + 600
    while len(list(output.glob("labelsTr/s*"))) < 3:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.005)
    return process


def test_killed_or_interrupted_and_resumed_equals_undisturbed(subjects: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole/Dataset001_A"
    assert prompt(subjects, whole, "--variants", "6") == 0
    for number in (signal.SIGKILL, signal.SIGINT):
        output = tmp_path / number.name / "Dataset001_A"
        process = script(subjects, output)
        process.send_signal(number)
        said, _ = process.communicate(timeout=600)
        images = list(output.glob("*Tr/s*"))
        assert len(images) < len(images_of(whole))
        if number == signal.SIGINT:
            assert process.returncode == 130 and "interrupted" in said
            assert images and not list(output.glob("*Tr/.*"))
        for path in images:
            assert path.read_bytes() == (whole / path.relative_to(output)).read_bytes()
        assert prompt(subjects, output, "--variants", "6") == 0
        assert images_of(output) == images_of(whole)
        for name in ("dataset.json", "splits_final.json", "run.json"):
            assert (output / name).read_bytes() == (whole / name).read_bytes()
        assert {row["status"] for row in cases_of(output).values()} == {"made"}


def test_one_of_anything_is_said_so(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("in/s0", spacing=(3.0, 3.0, 3.0))
    (tmp_path / "in/.hidden").touch()
    output = tmp_path / "Dataset001_A"
    said = ""
    for options in (["--shard", "1/1"], ["--finalise"], [], ["--preview"]):
        (output / "imagesTr").mkdir(parents=True, exist_ok=True)
        (output / "imagesTr/mine_0000.nii.gz").touch()
        assert prompt(tmp_path / "in", output, "--val-fraction", "0", *options) == 0
        said += capsys.readouterr().out
    assert "input: 1 scan of 1 subject (subject folders), 1 entry skipped" in said
    assert "the one case is there already" in said and "1 file that" in said
    page = re.sub(
        r"<(script|style).*?</\1>|<[^>]*>", "", (output / "report.html").read_text(), flags=re.DOTALL
    )
    assert "In this folder: 1 of 1 case." in page
    assert not re.findall(
        r"\b1 (?:\S+ )?(?:cases|scans|subjects|entries|files|shards|tumours|pictures)\b", said + page
    )
    assert "(s)" not in said + page


def test_again_other_options_and_overwrite(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "Dataset001_A"
    assert prompt(subjects, output) == 0
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in output.rglob("*")}
    capsys.readouterr()
    assert prompt(subjects, output, "--workers", "3") == 0
    assert "nothing to do: all 5 cases are there" in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in output.rglob("*")} == before
    for options, named in (
        (["--seed", "1"], "--seed was 0, now 1"),
        (["--variants", "2"], "--variants was 1, now 2"),
        (["--max-volume", "30000"], "max_volume_mm3 was 250000.0, now 30000.0"),
        (["--subjects", "s1"], "--subjects was None, now ['s1']"),
    ):
        assert prompt(subjects, output, *options) == 2
        assert named in capsys.readouterr().err
    mine = output / "imagesTr/mine_0000.nii.gz"
    mine.write_text("mine")
    assert prompt(subjects, output, "--seed", "1", "--val-fraction", "0", "--overwrite") == 0
    assert mine.read_text() == "mine"
    assert "1 file that this run did not make (mine_0000.nii.gz)" in capsys.readouterr().out
    cases = {path.name for path in (output / "labelsTr").iterdir()}
    assert cases == {f"s{n}.nii.gz" for n in range(5)}


def test_a_replaced_scan_is_made_anew(make_head: MakeHead, subjects: Path, tmp_path: Path) -> None:
    output = tmp_path / "Dataset001_A"
    assert prompt(subjects, output) == 0
    before = images_of(output)
    make_head("in/s2", "RAS", seed=99)
    assert prompt(subjects, output) == 0
    assert {n.split("/")[1][:2] for n, content in images_of(output).items() if content != before[n]} == {"s2"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "somewhere"], "DatasetNNN_Name"),
        (["--input", "gone"], "gone: no such folder"),
        (["--variants", "0"], "--variants 0"),
        (["--workers", "0"], "--workers 0"),
        (["--val-fraction", "1"], "--val-fraction 1"),
        (["--add-untouched", "-0.1"], "--add-untouched -0.1"),
        (["--head-scale", "0.9", "0.5"], "--head-scale 0.9 0.5"),
        (["--head-scale", "0.1", "1"], "--head-scale 0.1 1"),
        (["--subjects", "nobody"], "--subjects nobody"),
        (["--min-volume", "9e9"], "--min-volume"),
        (["--image-name", "gone.nii.gz"], "holds no scan"),
    ],
)
def test_nothing_starts_on_bad_options(
    subjects: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    base = ["--input", str(subjects), "--output", str(tmp_path / "Dataset001_A")]
    assert prompt_multi_tumor.main(base + options) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_input_and_output_must_differ(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head("x")
    (tmp_path / "Dataset001_A/imagesTr").mkdir(parents=True)
    scan.rename(tmp_path / "Dataset001_A/imagesTr/C_0000.nii.gz")
    assert prompt(tmp_path / "Dataset001_A/imagesTr", tmp_path / "Dataset001_A") == 2


def test_help_needs_no_heavy_import() -> None:
    code = "import prompt_multi_tumor as p, sys\ntry: p.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'scipy', 'SimpleITK', 'pandas', 'tqdm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and "--add-untouched" in done.stdout


def test_one_wrong_bit_in_a_scan_is_noticed(make_head: MakeHead, tmp_path: Path) -> None:
    """gzip's sum stands for the whole file, so a scan damaged at any place fails."""
    good = make_head("in/good").read_bytes()
    for n in range(1, 6):
        damaged = bytearray(good)
        damaged[n * len(good) // 6] ^= 1
        make_head(f"in/bad{n}").write_bytes(damaged)
    assert prompt(tmp_path / "in", tmp_path / "Dataset001_A") == 1
    rows = cases_of(tmp_path / "Dataset001_A").values()
    failed = {row["subject"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert set(failed) == {f"bad{n}" for n in range(1, 6)}
    assert all("damaged" in reason for reason in failed.values())
