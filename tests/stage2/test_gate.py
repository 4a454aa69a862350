"""The gate over a folder: what is rejected, and what is said of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.conftest import MakeHead, head_image, rows_of, run_stage2, write_donor


def test_rejections_are_listed_with_their_reasons(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = sitk.GetArrayFromImage(head_image()[0]).shape
    empty, tiny, giant, off = (np.zeros(shape, np.uint8) for _ in range(4))
    tiny[27:29, 36:38, 30:32] = 1
    giant[:] = 1
    off[:10, :10, :10] = 1
    for name, label in {"empty": empty, "tiny": tiny, "giant": giant, "off": off}.items():
        write_donor(folders / "D", name, "PIR", seed=9, label=label)
    shutil.copyfile(folders / "D/imagesTr/tiny_0000.nii.gz", folders / "D/imagesTr/missing_0000.nii.gz")
    shutil.copyfile(folders / "D/labelsTr/tiny.nii.gz", folders / "D/labelsTr/orphan.nii.gz")
    cut = folders / "D/imagesTr/cut_0000.nii.gz"
    cut.write_bytes((folders / "D/imagesTr/tiny_0000.nii.gz").read_bytes()[:5000])
    shutil.copyfile(folders / "D/labelsTr/patient0.nii.gz", folders / "D/labelsTr/cut.nii.gz")
    assert run_stage2(folders, "-num", "4") == 1
    rejected = {row["case"]: row for row in rows_of(folders / "CHECK/rejected.csv")}
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
    assert {row["id1"] for row in rows_of(folders / "CHECK/CarveMixID.csv")} <= {
        "patient0",
        "patient1",
        "patient2",
    }


def test_a_name_that_is_no_file_is_the_error_of_its_head(folders: Path) -> None:
    images, labels = folders / "D/imagesTr", folders / "D/labelsTr"
    for name in ("label", "mask", "softmax"):
        shutil.copyfile(images / "patient0_0000.nii.gz", images / f"{name}_0000.nii.gz")
        shutil.copyfile(labels / "patient0.nii.gz", labels / f"{name}.nii.gz")
    (labels / "label.nii.gz").unlink()
    for path in (labels / "label.nii.gz", images / "mask_brainmask.nii.gz", labels / "softmax.npz"):
        os.mkfifo(path)
    assert run_stage2(folders, "-num", "3") == 1
    rejected = {row["case"]: row for row in rows_of(folders / "CHECK/rejected.csv")}
    assert set(rejected) == {"label", "mask", "softmax"}
    for name, row in rejected.items():
        assert row["rejected"] == "unusable file" and name in row["reason"].split(": ")[0]
        assert "not a file but a folder, pipe" in row["reason"], row["reason"]


def test_all_rejected_is_an_error_and_limits_can_then_be_moved(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage2(folders, "-num", "2", "--min-volume-ml", "500") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no tumour scan with a usable pseudo-label" in error and "3 too small" in error
    assert len(rows_of(folders / "CHECK/rejected.csv")) == 3
    assert not (folders / "D/imagesTrMix").exists()
    assert run_stage2(folders, "-num", "2") == 0
    assert rows_of(folders / "CHECK/rejected.csv") == []


def test_healthy_scans_that_cannot_be_used_are_named_and_the_others_mixed(
    folders: Path, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("H/with_skull", "RAS", mask=False, skull=True, size_mm=(96.0, 112.0, 80.0))
    path = folders / "H/with_skull/flair.nii.gz"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image + 5, str(path))  # no voxel is exactly background any more, except none
    noisy = sitk.GetArrayFromImage(image) + np.random.default_rng(0).integers(1, 9, image.GetSize()[::-1])
    again = sitk.GetImageFromArray(noisy.astype(np.int16))
    again.CopyInformation(image)
    sitk.WriteImage(again, str(path))
    assert run_stage2(folders, "-num", "4") == 1
    said = capsys.readouterr().out
    assert "4 made" in said and "with_skull" in said and "HD-BET" in said
    assert {row["id2"] for row in rows_of(folders / "CHECK/CarveMixID.csv")} == {"h0", "h1"}
