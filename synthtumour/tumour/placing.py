"""What tumours are put into, and where they start: anywhere in a region, by weights, or at a point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from synthtumour.errors import InputError
from synthtumour.volume.grid import Grid, bounds_ras
from synthtumour.volume.volume import Volume, cure

if TYPE_CHECKING:
    from synthtumour.tumour.tissue import Tissue


@dataclass(frozen=True, eq=False)
class Recipient:
    """A tumour-free scan, `stored` [i, j, k] on `grid`, its `brain` (bool), and what `black` is in it.

    Tumours multiply intensities, so they are made in the `array`, in which black is zero.
    """

    stored: np.ndarray
    brain: np.ndarray
    grid: Grid
    black: float = 0.0

    @cached_property
    def array(self) -> np.ndarray:
        """The scan itself or, where it goes below zero, what lies above black in the brain."""
        return above_black(self.stored, self.brain, self.black)

    @cached_property
    def tissue(self) -> Tissue:
        """Its tissue maps, made when they are first asked for; the array must not change after that."""
        from synthtumour.tumour.tissue import tissue_of

        return tissue_of(self.array, self.brain, self.grid)


def above_black(scan: np.ndarray, brain: np.ndarray, black: float) -> np.ndarray:
    """`scan`, its background not below zero; less `black` and the brain alone if that is not zero."""
    if black == 0:
        return scan if scan.min() >= 0 else np.where(brain, scan, np.maximum(scan, 0))
    lifted = scan.astype(np.result_type(scan.dtype, np.float32)) - black
    return np.where(brain, lifted, lifted.dtype.type(0))


def draw_centre(rng: np.random.Generator, allowed: np.ndarray, grid: Grid) -> np.ndarray:
    """RAS mm (3,) of a voxel drawn uniformly from `allowed` (bool [i, j, k], not empty).

    Points are thrown into the region's bounding box in the world until one lands in the region, rather
    than counting voxels: thus a head stored on another grid gets its tumour in the same place.
    """
    low, high = bounds_ras(allowed, grid)
    points = low + rng.random((4096, 3)) * (high - low)
    index = np.rint(grid.to_index(points)).astype(int)
    inside = np.all((index >= 0) & (index < grid.shape), axis=1)
    inside[inside] = allowed[tuple(index[inside].T)]
    hits = np.flatnonzero(inside)
    if len(hits):
        return grid.to_ras(index[hits[0]])
    voxels = np.argwhere(allowed)  # a few scattered voxels: hard to hit, quick to count
    return grid.to_ras(voxels[rng.integers(len(voxels))])


def running_total(weights: np.ndarray) -> np.ndarray:
    """Of `weights` (i, j, k) in C order, in their shape: what `drawn_voxel` draws by."""
    return np.cumsum(weights.ravel(), dtype=np.float64).reshape(weights.shape)


def drawn_voxel(rng: np.random.Generator, total: np.ndarray) -> np.ndarray:
    """Index (3,) of a voxel drawn with probability proportional to the weights with this `running_total`."""
    total, shape = total.ravel(), total.shape
    flat = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), total.size - 1)
    return np.array(np.unravel_index(flat, shape))


def drawn_centre(rng: np.random.Generator, weights: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """RAS mm of a voxel drawn with probability proportional to `weights` [i, j, k]."""
    r, a, s = (float(x) for x in grid.to_ras(drawn_voxel(rng, running_total(weights))))
    return r, a, s


def is_inside(brain: np.ndarray, grid: Grid, ras_mm: tuple[float, float, float]) -> bool:
    """Whether the voxel at a point belongs to `brain` (bool [i, j, k])."""
    index = np.rint(grid.to_index(np.array(ras_mm)))
    return bool(np.all((index >= 0) & (index < brain.shape)) and brain[tuple(index.astype(int))])


def usable_prior(prior: Volume, brain: np.ndarray, scan: Volume) -> np.ndarray:
    """The location prior (float) inside the brain of `scan`; InputError if it cannot be drawn from."""
    if differences := prior.grid.differences(scan.grid):
        remedy = cure((prior, "the prior"), (scan, "the scan"), "resample it")
        raise InputError(
            f"the location prior is on another grid than the scan: {differences} (in RAS order); {remedy}"
        )
    with np.errstate(over="ignore"):  # an infinite one is refused below
        inside = np.where(brain, prior.array, 0).astype(np.float32)
    if not np.isfinite(inside).all() or inside.min() < 0 or not inside.any():
        raise InputError(
            "the location prior needs numbers from 0 up that are not all zero inside the brain; check the map"
        )
    return inside


def in_ras_mm(point: Iterable[float]) -> str:
    """RAS (1.0, 2.0, 3.0) mm"""
    return "RAS (" + ", ".join(f"{x:.1f}" for x in point) + ") mm"
