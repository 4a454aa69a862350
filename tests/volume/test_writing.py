"""Every format and data type is written as it was read, where the values fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from tests.conftest import MakeHead, head_image, in_order, resect


@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [
        (np.int16, 1.0, np.int16),
        (np.int16, 50.0, np.float32),  # 600 * 50 * 4 is above 32 767
        (np.uint8, 0.4, np.float32),
        (np.float64, 1.0, np.float64),
    ],
)
def test_dtype_is_kept_where_values_fit(tmp_path: Path, dtype: type, scale: float, expected: type) -> None:
    image, brain = head_image()
    array = sitk.GetArrayFromImage(image)
    stored = sitk.GetImageFromArray((array * scale).astype(dtype))
    stored.CopyInformation(image)
    sitk.WriteImage(stored, str(tmp_path / "flair.nrrd"))
    sitk.WriteImage(brain, str(tmp_path / "flair_brainmask.nrrd"))
    outputs = [tmp_path / "i.nrrd", tmp_path / "l.mha"]
    assert (
        resect(tmp_path / "flair.nrrd", *outputs, "--preset", "paper", "-s", 1, "--intensity-range", 4, 4)
        == 0
    )
    made = sitk.GetArrayFromImage(sitk.ReadImage(str(outputs[0])))
    assert made.dtype == expected
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(outputs[1])))
    inside = ndimage.binary_erosion(label > 0, iterations=4)
    assert made[inside].mean() == pytest.approx(4 * (array * scale)[inside].mean(), rel=0.1)  # no wrap-around


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_every_format_in_and_out(make_head: MakeHead, tmp_path: Path, extension: str) -> None:
    scan = make_head(extension=extension)
    outputs = [tmp_path / f"{n}{extension}" for n in ("i", "l")]
    assert resect(scan, *outputs, "-s", 1) == 0
    assert in_order(outputs[1]).any()
    assert sitk.ReadImage(str(outputs[0])).GetPixelID() == sitk.sitkInt16


def test_nan_outside_the_brain_is_left_alone(tmp_path: Path) -> None:
    image, brain = head_image()
    values, inside = sitk.GetArrayFromImage(image).astype(np.float32), sitk.GetArrayFromImage(brain) > 0
    values[~inside] = np.nan
    scan = sitk.GetImageFromArray(values)
    scan.CopyInformation(image)
    sitk.WriteImage(scan, str(tmp_path / "flair.nii"))
    sitk.WriteImage(brain, str(tmp_path / "flair_brainmask.nii.gz"))
    assert resect(tmp_path / "flair.nii", tmp_path / "i.nii", tmp_path / "l.nii", "-s", 1) == 0
    # SimpleITK would read NaN as 0, so look at the file itself
    made = np.frombuffer((tmp_path / "i.nii").read_bytes(), "<f4", offset=352).reshape(values.shape)
    assert np.isfinite(made[inside]).all() and np.isnan(made[~inside]).all()


def test_large_integers_that_nothing_touches_stay_exact(tmp_path: Path) -> None:
    """An int32 scan whose tumour does not fit: float32 would round 2^30 + 1."""
    image, brain = head_image()
    values = sitk.GetArrayFromImage(image).astype(np.int32)
    values[values > 0] += 2**30 + 1
    stored = sitk.GetImageFromArray(values)
    stored.CopyInformation(image)
    sitk.WriteImage(stored, str(tmp_path / "flair.nii.gz"))
    sitk.WriteImage(brain, str(tmp_path / "flair_brainmask.nii.gz"))
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(tmp_path / "flair.nii.gz", *outputs, "-s", 1, "--preset", "paper") == 0
    made, label = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in outputs)
    far = ndimage.distance_transform_edt(label == 0, sampling=2.0) > 6
    assert np.array_equal(made[far], values[far])
