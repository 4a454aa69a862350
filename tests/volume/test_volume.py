"""A scan in memory: canonical whatever the file's order, and written back as the file had it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.volume.volume import Volume
from tests.conftest import head_image

ORIENTATIONS = ["LPS", "RAS", "PIR", "SAL", "ILA"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_order_is_the_same_head_and_goes_back(orientation: str) -> None:
    image, _ = head_image((60.0, 72.0, 54.0), (3.0, 4.0, 5.0))
    stored = sitk.DICOMOrient(image, orientation)
    volume, straight = Volume.from_image(stored), sitk.DICOMOrient(image, "RAS")
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(straight).transpose(2, 1, 0))
    back = volume.to_image()
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(stored))
    for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(back, geometry)() == getattr(stored, geometry)()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_voxel_lies_where_simpleitk_says(orientation: str) -> None:
    image, _ = head_image((60.0, 72.0, 54.0), (3.0, 4.0, 5.0), oblique_deg=14.0)
    stored = sitk.DICOMOrient(image, orientation)
    volume = Volume.from_image(stored)
    at = (2, 7, 3)
    lps = np.array(stored.TransformIndexToPhysicalPoint(at))
    index = np.rint(volume.grid.to_index(lps * [-1, -1, 1])).astype(int)
    assert np.allclose(volume.grid.to_ras(index), lps * [-1, -1, 1], atol=1e-6)
    assert volume.array[tuple(index)] == stored.GetPixel(at)


def test_arrays_with_an_affine_are_turned_and_turned_back() -> None:
    """Axes to Inferior, Left and Anterior, as of a library that keeps them so."""
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = np.array([[0, -2.0, 0, 50], [0, 0, 3.0, -20], [-4.0, 0, 0, 7], [0, 0, 0, 1]])
    volume = Volume.from_array(array, affine)
    assert volume.grid.shape == (3, 4, 2) and volume.grid.spacing_mm.tolist() == [2, 3, 4]
    assert np.array_equal(volume.in_stored_order(), array)
    for index in np.ndindex(array.shape):
        ras = affine[:3, :3] @ index + affine[:3, 3]
        assert volume.array[tuple(np.rint(volume.grid.to_index(ras)).astype(int))] == array[index]


def test_other_voxels_on_the_same_grid() -> None:
    volume = Volume.from_image(head_image((60.0, 72.0, 54.0), (6.0, 6.0, 6.0))[0])
    marked = volume.with_array(volume.array > 100)
    assert marked.array.dtype == np.uint8 and marked.grid is volume.grid
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3\) on a grid of shape \(10, 12, 9\)"):
        volume.with_array(np.zeros((1, 2, 3)))


def test_resized_by_its_header_alone() -> None:
    image, _ = head_image((60.0, 72.0, 54.0), (6.0, 6.0, 6.0), oblique_deg=10.0)
    volume = Volume.from_image(image)
    half = volume.resized(0.5)
    assert half.array is volume.array and volume.resized(1) is volume
    assert np.allclose(half.grid.to_ras([3, 4, 5]), 0.5 * volume.grid.to_ras([3, 4, 5]))
    written = half.to_image()
    assert written.GetSpacing() == (3, 3, 3)
    assert np.allclose(written.GetOrigin(), 0.5 * np.array(image.GetOrigin()))
    assert written.GetDirection() == image.GetDirection()
