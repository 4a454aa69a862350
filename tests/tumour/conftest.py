"""Grids and shapes for the tests of tumours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthtumour.presets import PRESETS
from synthtumour.tumour.shape import TumourShape, rasterise
from synthtumour.volume.grid import Grid

PAPER = PRESETS["paper"]


def grid_of(spacing: tuple[float, float, float], extent_mm: float = 110.0) -> Grid:
    shape = tuple(int(extent_mm / s) for s in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * shape / 2
    return Grid(shape, affine)


def a_shape(**changes: object) -> TumourShape:
    plain = TumourShape(
        "ellipsoid", 1.0, (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), (0.0, 0.0, 0.0), 0, 1.0, 3.0, 4
    )
    return replace(plain, **changes)


def full(shape: TumourShape, grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    box, inside = rasterise(shape, np.ones(grid.shape, bool), grid)
    mask[box] = inside
    return mask
