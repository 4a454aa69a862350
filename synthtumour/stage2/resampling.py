"""Arrays on another lattice, averaged as a scanner averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour.volume.grid import Box, Grid, bounding_box, grown


@dataclass(frozen=True, eq=False)
class Window:
    """A box of the recipient's voxel lattice, which may reach beyond its grid, and how to get there."""

    start: np.ndarray  # (3,) index of its first voxel on the recipient's grid
    shape: np.ndarray  # (3,)
    to_donor: np.ndarray  # (4, 4) from index on the recipient's grid to index on the donor's box
    spacing_mm: np.ndarray


def window_of(
    carved: np.ndarray, donor_grid: Grid, recipient_grid: Grid, affine: np.ndarray, margin_mm: float
) -> tuple[Window, Box]:
    """Where the carved region and `margin_mm` round it land, and the donor's box that fills it."""
    tight = bounding_box(carved)
    to_recipient = np.linalg.inv(recipient_grid.affine) @ affine @ donor_grid.affine
    corners = np.array(
        [
            [(s.start - 0.5, s.stop - 0.5)[bit] for s, bit in zip(tight, bits, strict=True)]
            for bits in np.ndindex(2, 2, 2)
        ]
    )
    landed = corners @ to_recipient[:3, :3].T + to_recipient[:3, 3]
    margin = margin_mm / recipient_grid.spacing_mm + 1
    start = np.floor(landed.min(axis=0) - margin).astype(int)
    shape = np.ceil(landed.max(axis=0) + margin).astype(int) + 1 - start
    scale = abs(float(np.linalg.det(affine[:3, :3]))) ** (1 / 3)
    source = grown(
        tight, (margin_mm + float(recipient_grid.spacing_mm.max())) / min(scale, 1) * 1.5, donor_grid
    )
    to_donor = np.linalg.inv(to_recipient)
    to_donor[:3, 3] -= [s.start for s in source]
    return Window(start, shape, to_donor, recipient_grid.spacing_mm), source


def overlap(window: Window, grid: Grid) -> tuple[Any, Any]:
    """The part of the window that lies on `grid`: as slices of the grid and of the window; None if none."""
    low = np.clip(window.start, 0, grid.shape)
    high = np.clip(window.start + window.shape, 0, grid.shape)
    if np.any(high <= low):
        return None, None
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cut = tuple(slice(int(a), int(b)) for a, b in zip(low - window.start, high - window.start, strict=True))
    return box, cut


def resampled(
    array: np.ndarray,
    to_index: np.ndarray,
    start: np.ndarray,
    shape: np.ndarray,
    refine: tuple[int, int, int],
    order: int,
) -> np.ndarray:
    """`array` as float32 at the voxels start .. start + shape of a lattice that `to_index` (4, 4) leads from.

    Every voxel is the mean of refine[0] x refine[1] x refine[2] points spread over it, as a scanner averages.
    """
    fine = np.diag([*(1 / np.array(refine)), 1.0])
    fine[:3, 3] = np.asarray(start) + 0.5 / np.array(refine) - 0.5
    matrix = to_index @ fine
    sampled = ndimage.affine_transform(
        array.astype(np.float32),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=tuple(int(n) for n in np.asarray(shape) * refine),
        order=order,
        mode="constant" if array.dtype == bool else "nearest",
    )
    if refine == (1, 1, 1):
        return sampled
    blocks = [n for size, r in zip(shape, refine, strict=True) for n in (int(size), r)]
    return sampled.reshape(blocks).mean(axis=(1, 3, 5))


def refinement(to_index: np.ndarray) -> tuple[int, int, int]:
    """How many points along each axis keep a coarse voxel from missing finer ones."""
    steps = np.abs(to_index[:3, :3]).max(axis=0)
    i, j, k = (int(np.clip(math.ceil(s - 0.3), 1, 8)) for s in steps)
    return i, j, k
