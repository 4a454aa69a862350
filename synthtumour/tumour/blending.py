"""Buffer layer: Gaussians in mm on boxes of a scan, and how a tumour meets the tissue around it.

scipy.ndimage has these filters too, but importing it takes as long as making a tumour; and sums of numpy
slices give the same bits on every processor.
"""

from __future__ import annotations

import numpy as np

from synthtumour.volume.grid import Box, Grid

_TRUNCATE = 4.0  # Gaussians reach this many sigmas
_COLUMNS = 512  # filtered at a time, so that they stay in the processor's cache


def buffer_reach_mm(sigma_mm: float) -> float:
    """How far from a mask its buffer layer can reach."""
    return _TRUNCATE * sigma_mm


def gaussian_in_box(array: np.ndarray, box: Box, sigma_mm: float, grid: Grid) -> np.ndarray:
    """G_sigma(array) on `box` only, floating point: what filtering the whole array would give there."""
    sigma = sigma_mm / grid.spacing_mm
    reach = (_TRUNCATE * sigma + 0.5).astype(int)
    wide = tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in zip(box, reach, strict=True))
    part = np.ascontiguousarray(array[wide], dtype=np.result_type(array.dtype, np.float32))
    if not np.isfinite(part).all():
        part = np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0)  # outside the brain they are allowed
    for axis in range(3):
        # Each pass makes only the lines that are asked for, so that the next one has less to do.
        wanted = slice(box[axis].start - wide[axis].start, box[axis].stop - wide[axis].start)
        part = _gaussian_along(part, axis, float(sigma[axis]), int(reach[axis]), wanted)
    return part


def _gaussian_along(part: np.ndarray, axis: int, sigma: float, reach: int, wanted: slice) -> np.ndarray:
    """One-dimensional Gaussian of `sigma` voxels at the `wanted` lines; edges repeat the last voxel."""
    lines = np.moveaxis(part, axis, 0)
    missing = (max(reach - wanted.start, 0), max(wanted.stop + reach - len(lines), 0))
    padded = np.pad(lines, (missing, (0, 0), (0, 0)), mode="edge").reshape(sum(missing) + len(lines), -1)
    first, count = wanted.start + missing[0], wanted.stop - wanted.start
    weights = np.exp(-0.5 * (np.arange(reach + 1) / max(sigma, 1e-9)) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    weights = weights.astype(part.dtype)
    out = np.empty((count, padded.shape[1]), part.dtype)
    for start in range(0, padded.shape[1], _COLUMNS):
        columns = np.ascontiguousarray(padded[:, start : start + _COLUMNS])
        total = columns[first : first + count] * weights[0]
        for n in range(1, reach + 1):
            pair = columns[first - n : first - n + count] + columns[first + n : first + n + count]
            pair *= weights[n]
            total += pair
        out[:, start : start + _COLUMNS] = total
    return np.moveaxis(out.reshape(count, *lines.shape[1:]), 0, axis)


def dilated(mask: np.ndarray, margin_mm: float, grid: Grid) -> np.ndarray:
    """A bool array grown by `margin_mm`, in whole voxels, along each axis in turn."""
    reach = np.rint(margin_mm / grid.spacing_mm).astype(int)
    reach = np.minimum(reach, np.array(mask.shape) - 1)
    # Between zeros as wide as the reach, a step along any axis is a step along one line of memory.
    padded = np.zeros(np.array(mask.shape) + reach, bool)
    inside = tuple(slice(0, n) for n in mask.shape)
    padded[inside] = mask
    line = padded.reshape(-1)
    for axis, furthest in enumerate(reach):
        step, done = int(np.prod(padded.shape[axis + 1 :])), 0
        while done < furthest:  # 1, 2, 4, ... voxels: what is grown already grows on
            n = min(done + 1, int(furthest) - done)
            before = line.copy()
            line[n * step :] |= before[: -n * step]
            line[: -n * step] |= before[n * step :]
            done += n
    return padded[inside]


def blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`above` over `below`, opaque where `weight` is 1."""
    return (1 - weight) * below + weight * above
