"""What is measured of a label: one contrast for both stages, with expected values from outside the code."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.brain.measures import black_level, contrast, distance_mm, measure, rim_of, tell_black
from synthtumour.volume.volume import Volume

SPACING = np.array([1.0, 1.25, 2.0])


def ball(radius_mm: float, shape: tuple[int, int, int] = (64, 52, 34)) -> tuple[np.ndarray, Volume]:
    """Distance (mm) beyond a ball's surface, and a volume of its grid."""
    axes = [(np.arange(n) - n // 2) * s for n, s in zip(shape, SPACING, strict=True)]
    away = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    return away - radius_mm, Volume.from_array(np.zeros(shape, np.uint8), np.diag([*SPACING, 1.0]))


def test_distances_are_those_of_scipy() -> None:
    beyond, _ = ball(9.0)
    mask = beyond < 0
    expected = ndimage.distance_transform_edt(~mask, sampling=SPACING)
    assert np.allclose(distance_mm(mask, SPACING), expected, atol=1e-4)


@pytest.mark.parametrize("black", [0.0, -50.0])
def test_contrast_is_against_the_tissue_from_1_to_6_mm(black: float) -> None:
    beyond, where = ball(9.0)
    label = beyond < 0
    distance = ndimage.distance_transform_edt(~label, sampling=SPACING)
    image = np.full(label.shape, 700.0)  # beyond 6 mm, where it must not count
    image[distance <= 6] = 100
    image[distance <= 1] = 900  # nor beside the border
    image[label] = 200
    brain = np.ones(label.shape, bool)
    brain[:20] = False
    expected = (200 - black) / (100 - black)
    assert contrast(image, label, label, brain & ~label, where.grid, black) == pytest.approx(expected)
    measured = measure(image, label, brain, where.grid, black)
    assert measured["contrast"] == pytest.approx(expected)
    assert (measured["mean_inside"], measured["mean_rim"]) == (200, 100)
    assert measured["volume_ml"] == pytest.approx(int(label.sum()) * 2.5 / 1000, abs=1e-3)
    assert np.allclose(
        measured["centre_ras_mm"], where.grid.to_ras(np.argwhere(label).mean(axis=0)), atol=1e-3
    )


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.7, 3.1), (0.5, 2.0, 7.0), (2.0, 2.0, 2.0)])
def test_a_rim_is_that_of_scipys_distances(spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 31, 22)), 2) > 0.12
    grid = Volume.from_array(mask, np.diag([*spacing, 1.0])).grid
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing)
    expected = (distance > 1) & (distance <= max(6, 1.01 * max(spacing)))
    assert np.array_equal(rim_of(mask, grid), expected)


def test_a_rim_of_thick_slices_is_the_nearest_voxels() -> None:
    spacing = np.array([8.0, 8.0, 8.0])
    mask = np.zeros((7, 7, 7), bool)
    mask[3, 3, 3] = True
    grid = Volume.from_array(mask, np.diag([*spacing, 1.0])).grid
    assert rim_of(mask, grid).sum() == 6


def test_nothing_marked_has_no_contrast() -> None:
    _, where = ball(9.0)
    nothing = np.zeros(where.grid.shape, bool)
    assert measure(where.array, nothing, ~nothing, where.grid)["contrast"] is None


def test_black_is_zero_but_in_scans_that_go_below_it() -> None:
    rng = np.random.default_rng(0)
    scan = rng.normal(0, 1, (40, 40, 40))
    brain = np.ones(scan.shape, bool)
    assert black_level(scan, brain) == pytest.approx(np.sort(scan.ravel())[64], abs=0.02)  # a thousandth
    assert black_level(np.abs(scan), brain) == 0
    brain[:10] = False
    assert black_level(np.where(brain, np.abs(scan), -1000), brain) == 0  # a background is no brain
    with pytest.warns(UserWarning, match="sub-1.*counts as black"):
        tell_black(-2.5, Path("sub-1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_black(0.0, "sub-1")
