"""Dilation is that of a box."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from synthtumour.tumour.blending import dilated
from synthtumour.volume.grid import Grid


def test_dilation_is_that_of_a_box() -> None:
    rng = np.random.default_rng(2)
    for spacing in ((1.0, 1.0, 1.0), (0.7, 2.0, 5.0), (3.0, 0.5, 1.0)):
        for shape in ((9, 7, 12), (1, 5, 3), (20, 2, 6)):
            mask = rng.random(shape) < 0.02
            for margin in (0, 1, 4, 9):
                reach = np.rint(margin / np.array(spacing)).astype(int)
                box = np.ones(2 * reach + 1, bool)
                expected = ndimage.binary_dilation(mask, box)
                grid = Grid(shape, np.diag([*spacing, 1.0]))
                for stored in (mask, np.asfortranarray(mask)):
                    assert np.array_equal(dilated(stored, margin, grid), expected)
