"""Brain masks: given, missing, and whole heads that need one."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from tests.conftest import MakeHead, head_image, resect


def test_brain_mask_option_and_stripped_scan(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(mask=False)  # skull-stripped: its own region serves
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *outputs, "-s", 1) == 0
    half = sitk.ReadImage(str(make_head("other").parent / "flair_brainmask.nii.gz"))
    array = sitk.GetArrayFromImage(half)
    array[:, :, array.shape[2] // 2 :] = 0
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(half)
    sitk.WriteImage(mask, str(tmp_path / "half.nii.gz"))
    assert resect(scan, *outputs, "-s", 1, "--brain-mask", tmp_path / "half.nii.gz") == 0
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(outputs[1])))[array == 0].any()


def test_whole_head_without_a_mask_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(mask=False, skull=True)
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    said = capsys.readouterr().err
    assert "HD-BET" in said and "SynthStrip" in said and str(scan) in said


def test_whole_head_in_exact_zero_air_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some scanners store air as exactly 0: a head is told from a brain by its size."""
    image, _ = head_image(size_mm=(220.0, 260.0, 240.0), spacing=(4.0, 4.0, 4.0))
    sitk.WriteImage(image, str(tmp_path / "flair.nii.gz"))
    assert resect(tmp_path / "flair.nii.gz", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert "HD-BET" in capsys.readouterr().err
