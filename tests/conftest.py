"""Small heads on disk: unequal axis lengths, any orientation, any spacing, oblique or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parent.parent
MakeHead = Callable[..., Path]


def head_image(
    size_mm: tuple[float, float, float] = (120.0, 144.0, 108.0),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    oblique_deg: float = 0.0,
    seed: int = 0,
    skull: bool = False,
) -> tuple[sitk.Image, sitk.Image]:
    """A textured int16 'head' and its brain mask in LPS order: ellipsoid brain, dark ventricle, zero air."""
    size = np.rint(np.array(size_mm) / spacing).astype(int)
    rng = np.random.default_rng(seed)
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in size]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    brain = radius < 0.8
    texture = ndimage.gaussian_filter(rng.normal(size=size), 1.5)
    values = 300 + 60 * texture / texture.std() + rng.normal(0, 8, size)
    values = np.where(radius < 0.2, 80, values).clip(20, 600)
    if skull:
        values = np.where(brain | (radius < 0.95), values, rng.integers(1, 9, size))
    else:
        values = np.where(brain, values, 0)
    turn = Rotation.from_euler("xyz", [oblique_deg, -oblique_deg / 2, oblique_deg / 3], degrees=True)
    images = []
    for array in (values.astype(np.int16), brain.astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing([float(s) for s in spacing])
        image.SetDirection(turn.as_matrix().ravel().tolist())
        image.SetOrigin((-51.25, -70.5, 13.75))
        images.append(image)
    return images[0], images[1]


@pytest.fixture
def make_head(tmp_path: Path) -> MakeHead:
    """make_head('subject', orientation='RAS', ...) writes flair.nii.gz and its mask: the scan's path."""

    def make(
        name: str = "subject",
        orientation: str = "LPS",
        mask: bool = True,
        extension: str = ".nii.gz",
        **how: object,
    ) -> Path:
        image, brain = head_image(**how)  # type: ignore[arg-type]
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"flair{extension}"
        sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))
        if mask:
            sitk.WriteImage(sitk.DICOMOrient(brain, orientation), str(folder / "flair_brainmask.nii.gz"))
        return path

    return make


def in_order(path: Path, orientation: str = "RAS") -> np.ndarray:
    """The voxels of an image file, re-oriented."""
    return sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), orientation))
