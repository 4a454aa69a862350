"""Buffer layer: Gaussians in mm on boxes of a scan, and how a tumour meets the tissue around it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from synthtumour.shape import Box
from synthtumour.volume import Grid

_TRUNCATE = 4.0  # Gaussians reach this many sigmas


def grown(box: Box, margin_mm: float, grid: Grid) -> Box:
    """`box` with `margin_mm` more on every side, cut to the grid."""
    voxels = np.ceil(margin_mm / grid.spacing_mm - 1e-6).astype(int)
    i, j, k = (
        slice(max(s.start - int(n), 0), min(s.stop + int(n), size))
        for s, n, size in zip(box, voxels, grid.shape, strict=True)
    )
    return i, j, k


def buffer_reach_mm(sigma_mm: float) -> float:
    """How far from a mask its buffer layer can reach."""
    return _TRUNCATE * sigma_mm


def gaussian_in_box(array: np.ndarray, box: Box, sigma_mm: float, grid: Grid) -> np.ndarray:
    """G_sigma(array) on `box` only, floating point: what filtering the whole array would give there."""
    sigma = sigma_mm / grid.spacing_mm
    reach = (_TRUNCATE * sigma + 0.5).astype(int)
    wide = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reach, strict=True))
    part = np.ascontiguousarray(array[wide], dtype=np.result_type(array.dtype, np.float32))
    if array.dtype.kind == "f":
        part = np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0)  # outside the brain they are allowed
    for axis in range(3):
        # Each pass drops the margin it needed, so that the next one has less to do.
        part = ndimage.gaussian_filter1d(part, sigma[axis], axis, mode="nearest", radius=int(reach[axis]))
        inner = slice(box[axis].start - wide[axis].start, box[axis].stop - wide[axis].start)
        part = part[(slice(None),) * axis + (inner,)]
    return part


def blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`above` over `below`, opaque where `weight` is 1."""
    return (1 - weight) * below + weight * above
