"""Grids and boxes of voxels, against coordinates worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.volume.grid import (
    Grid,
    bounding_box,
    bounds_ras,
    box_around,
    brain_box,
    brain_box_columns,
    grown,
    is_oblique,
    largest_component,
    relative,
)

PLAIN = Grid((10, 20, 30), np.array([[2.0, 0, 0, -7], [0, 3.0, 0, 5], [0, 0, 4.0, 11], [0, 0, 0, 1]]))
C, S = 0.8, 0.6  # a turn about the third axis
TURNED = Grid(
    (10, 20, 30), np.array([[2 * C, -3 * S, 0, 0], [2 * S, 3 * C, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]])
)


def test_sizes_and_axes() -> None:
    for grid in (PLAIN, TURNED):
        assert grid.spacing_mm == pytest.approx([2, 3, 4]) and grid.voxel_ml == pytest.approx(0.024)
    assert np.allclose(TURNED.axes, [[C, -S, 0], [S, C, 0], [0, 0, 1]])
    assert not is_oblique(PLAIN) and is_oblique(TURNED)


def test_there_and_back() -> None:
    assert np.allclose(PLAIN.to_ras(np.array([1, 2, 3])), [-5, 11, 23])
    assert np.allclose(TURNED.to_ras(np.array([5, 0, 1])), [8, 6, 4])
    points = np.random.default_rng(0).uniform(0, 20, (5, 4, 3)).round(3)
    assert np.array_equal(TURNED.to_index(TURNED.to_ras(points)), points)
    assert PLAIN.to_index(PLAIN.to_ras([1.0, 2, 3]) + 1e-5).tolist() == [1, 2, 3]  # a header's rounding


def test_a_part_of_a_grid_lies_where_it_lay() -> None:
    part = TURNED.cropped((slice(2, 5), slice(4, 20), slice(1, 2)))
    assert part.shape == (3, 16, 1)
    assert np.allclose(part.to_ras([0, 0, 0]), TURNED.to_ras([2, 4, 1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (10, 20, 31)}, "size (10, 20, 30) against (10, 20, 31)"),
        ({"move": (0.03, 0, 0)}, "origin (-7, 5, 11) against (-6.97, 5, 11)"),
        ({"stretch": 1.001}, "spacing (2, 3, 4) against (2.002, 3.003, 4.004)"),
        ({"move": (0.01, 0, 0)}, ""),  # half a hundredth of a voxel
        ({"stretch": 1.0001}, ""),  # 0.012 mm at the far end
    ],
)
def test_what_differs_is_told_beyond_a_hundredth_of_a_voxel(change: dict, said: str) -> None:
    affine = PLAIN.affine.copy()
    affine[:3, :3] *= change.get("stretch", 1)
    affine[:3, 3] += change.get("move", 0)
    told = PLAIN.differences(Grid(change.get("shape", PLAIN.shape), affine))
    assert told == said


def test_other_axes_are_told() -> None:
    assert "axes (1, 0, 0, 0, 1, 0, 0, 0, 1) against (0.8, -0.6, 0" in PLAIN.differences(TURNED)


def test_boxes() -> None:
    mask = np.zeros(PLAIN.shape, bool)
    mask[2, 4, 29] = mask[5, 3, 7] = True
    box = bounding_box(mask)
    assert box == (slice(2, 6), slice(3, 5), slice(7, 30))
    # 5 mm are 3 voxels of 2 mm, 2 of 3 mm, 2 of 4 mm; the grid ends at 0 and 30
    assert grown(box, 5.0, PLAIN) == (slice(0, 9), slice(1, 7), slice(5, 30))
    assert grown(box, 6.0, PLAIN) == (slice(0, 9), slice(1, 7), slice(5, 30))  # 3, 2, 2: none more
    assert relative((slice(5, 6), slice(4, 5), slice(9, 12)), box) == (slice(3, 4), slice(1, 2), slice(2, 5))
    around = box_around(np.array([-3.0, 1.5, 28.5]), np.array([1.5, 2.0, 99.0]), PLAIN)
    assert around == (slice(0, 3), slice(1, 3), slice(28, 30))
    empty = box_around(np.array([20.0, 0, 0]), np.array([22.0, 1, 1]), PLAIN)
    assert empty[0].start == empty[0].stop


def test_the_largest_part_is_joined_by_faces() -> None:
    mask = np.random.default_rng(1).random((20, 24, 28)) < 0.25
    parts, count = ndimage.label(mask)  # faces, too
    largest = parts == 1 + np.argmax(ndimage.sum(mask, parts, np.arange(1, count + 1)))
    assert count > 10 and np.array_equal(largest_component(mask), largest)
    assert not largest_component(np.zeros((3, 3, 3), bool)).any()


@pytest.mark.parametrize("grid", [PLAIN, TURNED], ids=["plain", "turned"])
def test_bounds_are_those_of_all_voxels(grid: Grid) -> None:
    mask = np.random.default_rng(2).random(grid.shape) < 0.01
    points = grid.to_ras(np.argwhere(mask))
    low, high = bounds_ras(mask, grid)
    assert np.allclose(low, points.min(axis=0)) and np.allclose(high, points.max(axis=0))


def test_a_brains_box_counts_whole_voxels() -> None:
    brain = np.zeros(PLAIN.shape, bool)
    brain[1:4, 2:3, 0:2] = True
    low, high = brain_box(brain, PLAIN)
    assert low.tolist() == [-6, 9.5, 9] and high.tolist() == [0, 12.5, 17]
    columns = brain_box_columns(brain, PLAIN)
    assert columns["brain_low_r_mm"] == -6 and columns["brain_high_s_mm"] == 17 and len(columns) == 6
