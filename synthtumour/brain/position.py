"""Whether a brain mask lies where the head is, or partly in the air around it."""

from __future__ import annotations

from itertools import product

import numpy as np
import SimpleITK as sitk

from synthtumour.brain.measures import within_mm
from synthtumour.volume.grid import Grid

_COARSE_MM = 4.0
_OPENED_MM = 6.0  # what is narrower between air and head, such as sulci, leads no further in
_DARK = 0.1  # of the way from background to brain


def share_in_air(scan: np.ndarray, brain: np.ndarray, grid: Grid) -> float:
    """How much of the mask `brain` lies in the air around the head, 0 to 1.

    Where less than that of tissue lies outside the mask it is that: a mask that is somewhat larger than a
    skull-stripped brain is not in a wrong place. A mask that was moved into the neck is not told.
    `scan` and `brain` (bool) are [i, j, k] on `grid`.
    """
    steps = np.maximum(np.rint(_COARSE_MM / grid.spacing_mm).astype(int), 1)
    inside = _every(brain, steps, steps // 2)
    if not inside.any():
        return 0.0
    # two voxels of each step's along each axis, so that noise is evened out
    offsets = list(product(*({0, int(step) // 2} for step in steps)))
    values = np.mean([_every(scan, steps, offset) for offset in offsets], axis=0, dtype=np.float32)
    background = float(np.median(scan[np.ix_((0, -1), (0, -1), (0, -1))]))
    above = values - (background if np.isfinite(background) else 0)
    air = _around_the_head(_is_dark(above, inside), grid.spacing_mm * steps)
    misplaced = min((air & inside).sum(), (~air & ~inside).sum())
    return float(misplaced / inside.sum())


def _every(array: np.ndarray, steps: np.ndarray, first: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """A voxel in so many from the `first` on, as many whatever that is."""
    counts = np.maximum(np.array(array.shape) // steps, 1)
    return array[
        tuple(
            slice(int(f), int(f + n * step), int(step))
            for f, n, step in zip(first, counts, steps, strict=True)
        )
    ]


def _is_dark(above: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Which voxels (bool) are as dark as the background, `above` it being the scan's values, or NaN."""
    known = np.isfinite(above)
    if not known[inside].any():
        return ~known
    limit = _DARK * max(0.0, float(np.percentile(above[inside & known], 90)))
    if np.percentile(above[known], 0.5) < -limit:  # z-scores, whose background may be the mean of the brain
        limit = 0.0
    return ~(np.abs(above) > limit)


def _around_the_head(dark: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Those of the `dark` voxels (bool) that a ball of 6 mm reaches from the edge of the scan."""
    dark = np.pad(dark, 1, constant_values=True)
    core = ~within_mm(~dark, _OPENED_MM, spacing_mm)
    for axis in range(3):
        np.moveaxis(core, axis, 0)[[0, -1]] = True
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(core.astype(np.uint8))))
    outside = within_mm(parts == parts[0, 0, 0], _OPENED_MM, spacing_mm) & dark
    return outside[1:-1, 1:-1, 1:-1]
