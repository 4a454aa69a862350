"""Arrays on another lattice: means over a coarse voxel, and windows that reach beyond the grid."""

from __future__ import annotations

import numpy as np
import pytest

from synthtumour.stage2.resampling import overlap, refinement, resampled, window_of
from synthtumour.volume.grid import Grid

FINE = Grid((30, 30, 30), np.diag([1.0, 1.0, 1.0, 1.0]))
COARSE = Grid((10, 10, 10), np.array([[3.0, 0, 0, 1], [0, 3, 0, 1], [0, 0, 3, 1], [0, 0, 0, 1.0]]))


def test_a_coarse_voxel_is_the_mean_of_the_fine_ones_in_it() -> None:
    """Voxels of 3 mm centred on every third of those of 1 mm: each is the mean of 27."""
    array = np.random.default_rng(0).random(FINE.shape).astype(np.float32)
    to_index = np.linalg.inv(FINE.affine) @ COARSE.affine
    assert refinement(to_index) == (3, 3, 3)
    made = resampled(array, to_index, np.zeros(3, int), np.array(COARSE.shape), (3, 3, 3), order=1)
    expected = array.reshape(10, 3, 10, 3, 10, 3).mean(axis=(1, 3, 5))
    assert made.shape == COARSE.shape and np.allclose(made, expected, atol=1e-5)


def test_finer_voxels_need_no_more_points() -> None:
    assert refinement(np.diag([0.5, 1.0, 1.2, 1.0])) == (1, 1, 1)
    assert refinement(np.diag([2.0, 1.31, 50.0, 1.0])) == (2, 2, 8)


def test_a_window_holds_what_is_carved_and_the_box_that_fills_it() -> None:
    carved = np.zeros(FINE.shape, bool)
    carved[12:18, 12:15, 9:12] = True
    window, box = window_of(carved, FINE, COARSE, np.eye(4), margin_mm=3.0)
    start, stop = window.start, window.start + window.shape
    # in mm the region ends at 11.5 and 17.5, 11.5 and 14.5, 8.5 and 11.5; 3 mm more, in voxels of 3 mm from 1
    assert (start <= [2, 2, 1]).all() and (stop > [6, 5, 4]).all() and (window.shape < 10).all()
    assert all(
        s.start <= c.start and s.stop >= c.stop for s, c in zip(box, np.s_[9:21, 9:18, 6:15], strict=True)
    )
    donor_index = window.to_donor @ [*start, 1.0]
    assert np.allclose(donor_index[:3] + [s.start for s in box], 3 * start + 1)


@pytest.mark.parametrize(
    ("shift_mm", "inside"), [(0.0, True), (-14.0, True), (24.0, True), (-60.0, False), (300.0, False)]
)
def test_only_what_lies_on_the_grid_is_overlapped(shift_mm: float, inside: bool) -> None:
    carved = np.zeros(FINE.shape, bool)
    carved[12:18, 12:15, 9:12] = True
    affine = np.eye(4)
    affine[0, 3] = shift_mm
    window, _ = window_of(carved, FINE, COARSE, affine, margin_mm=3.0)
    on_grid, in_window = overlap(window, COARSE)
    assert (on_grid is not None) == inside
    if inside:
        for n in range(3):
            assert 0 <= on_grid[n].start < on_grid[n].stop <= 10
            assert on_grid[n].start - in_window[n].start == window.start[n]
            assert on_grid[n].stop - on_grid[n].start == in_window[n].stop - in_window[n].start
