"""Donors and recipients of known geometry for the tests of Stage 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from conftest import head_image

from synthtumour.volume.volume import Volume


def world_of(image: sitk.Image) -> np.ndarray:
    """RAS mm (z, y, x, 3) of every voxel."""
    index = np.indices(image.GetSize()[::-1]).reshape(3, -1)[::-1]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps = direction @ (np.array(image.GetSpacing())[:, None] * index) + np.array(image.GetOrigin())[:, None]
    return (lps.T * [-1, -1, 1]).reshape(*image.GetSize()[::-1], 3)


def head_centre(image: sitk.Image) -> np.ndarray:
    """RAS mm of the middle of the scan, which is the middle of its brain."""
    middle = [(n - 1) / 2 for n in image.GetSize()]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle)) * [-1, -1, 1]


def with_tumour(
    image: sitk.Image,
    offset_ras_mm: tuple[float, float, float] = (18.0, 8.0, 10.0),
    radius_mm: float = 14.0,
    factor: float = 1.8,
) -> tuple[sitk.Image, sitk.Image]:
    """`image` with a brighter ellipsoid, longest from left to right, and its label."""
    world = world_of(image)
    away = (world - head_centre(image) - offset_ras_mm) / radius_mm / [1.2, 1.0, 0.8]
    inside = (away**2).sum(axis=-1) < 1
    array = sitk.GetArrayFromImage(image)
    bright = sitk.GetImageFromArray(np.where(inside, array * factor, array).astype(array.dtype))
    label = sitk.GetImageFromArray(inside.astype(np.uint8))
    for made in (bright, label):
        made.CopyInformation(image)
    return bright, label


def write(image: sitk.Image | Volume, path: Path, orientation: str = "LPS") -> Path:
    image = image.to_image() if isinstance(image, Volume) else sitk.DICOMOrient(image, orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_donor(
    folder: Path,
    name: str,
    orientation: str = "LPS",
    seed: int = 0,
    channels: int = 1,
    label: np.ndarray | None = None,
    **tumour: object,
) -> None:
    """`imagesTr/<name>_0000.nii.gz` (skull-stripped) and `labelsTr/<name>.nii.gz` under `folder`."""
    plain, _ = head_image(seed=seed)
    image, truth = with_tumour(plain, **tumour)  # type: ignore[arg-type]
    if label is not None:
        truth = sitk.GetImageFromArray(label)
        truth.CopyInformation(plain)
    for number in range(channels):
        shown = image if number == 0 else image * 2 + sitk.Cast(image > 0, sitk.sitkInt16) * 100
        write(shown, folder / f"imagesTr/{name}_{number:04d}.nii.gz", orientation)
    write(truth, folder / f"labelsTr/{name}.nii.gz", orientation)
