"""What can be measured of a scan in its brain, and of what a label marks in it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import SimpleITK as sitk

from synthtumour.volume.grid import Grid, bounding_box, grown

_THINNED_MM = 2.5
RIM_MM = (1.0, 6.0)  # the tissue around a tumour: beyond the voxels its border crosses, and near enough


def black_level(array: np.ndarray, brain: np.ndarray) -> float:
    """The intensity that means 'no signal': 0 as in every magnitude image, lower in a normalised scan.

    A z-scored scan goes below zero; there, the darkest thousandth of its brain stands for black.
    """
    if array.min() >= 0:  # quick, and mostly enough
        return 0.0
    return min(0.0, float(np.percentile(array[brain], 0.1)))


def tell_black(black: float, scan: object) -> None:
    """Warn of a scan that goes below zero, and say what counts as black in it."""
    if black < 0:
        warnings.warn(
            f"{scan}: goes below zero inside the brain, as z-scores do; its darkest thousandth ({black:.3g}) "
            "counts as black",
            stacklevel=2,
        )


def contrast(
    array: np.ndarray,
    inside: np.ndarray,
    around: np.ndarray,
    tissue: np.ndarray,
    grid: Grid,
    black: float = 0.0,
) -> float | None:
    """Mean of `array` inside the mask over its mean in the `tissue` round `around`, both above `black`.

    All arrays [i, j, k], masks bool, `around` holds all of `inside`. That tissue lies 1 to 6 mm from `around`
    (RIM_MM), in straight lines. None if there is none or if it is as dark as `black`.
    """
    return _ratio(*_means(array, inside, around, tissue, grid), black)


def _ratio(within: float, beside: float | None, black: float) -> float | None:
    return (within - black) / (beside - black) if beside is not None and beside > black else None


def _means(
    array: np.ndarray, inside: np.ndarray, around: np.ndarray, tissue: np.ndarray, grid: Grid
) -> tuple[float, float | None]:
    """Mean of `array` inside the mask and in the rim of `around`, None where that has no `tissue`."""
    box = grown(bounding_box(around), 1.01 * max(RIM_MM[1], float(grid.spacing_mm.max())), grid)
    part, rim = array[box], rim_of(around[box], grid) & tissue[box]
    beside = float(part[rim].mean(dtype=np.float64)) if rim.any() else None
    return float(part[inside[box]].mean(dtype=np.float64)), beside


def rim_of(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """The voxels (bool) whose distance from `mask` lies within RIM_MM; both on a box of `grid`."""
    # Where voxels are larger than the rim is wide, the nearest ones count.
    outer = max(RIM_MM[1], 1.01 * float(grid.spacing_mm.max()))
    return _within(mask, outer, grid.spacing_mm) & ~_within(mask, RIM_MM[0], grid.spacing_mm)


def _within(mask: np.ndarray, radius_mm: float, spacing_mm: np.ndarray) -> np.ndarray:
    """The voxels (bool) that are at most `radius_mm` from one of `mask` (bool [i, j, k]).

    A ball is a bundle of lines. In one row of memory, between zeros as wide as the ball, each of them is one
    step, eight voxels at a time: a fifth of the time of a distance map.
    """
    reach = (radius_mm / spacing_mm).astype(int)
    size = np.array(mask.shape) + 2 * reach
    size[2] += -size[2] % 8  # so that a step from line to line is one of whole bytes
    padded = np.zeros(size, bool)
    inside = tuple(slice(n, n + size) for n, size in zip(reach, mask.shape, strict=True))
    padded[inside] = mask
    row = padded.reshape(-1)
    runs = [row]
    for n in range(1, int(reach[2]) + 1):
        longer = runs[-1].copy()
        longer[n:] |= row[:-n]
        longer[:-n] |= row[n:]
        runs.append(longer)
    runs = [np.packbits(run) for run in runs]
    out = np.zeros_like(runs[0])
    for i in range(-int(reach[0]), int(reach[0]) + 1):
        for j in range(-int(reach[1]), int(reach[1]) + 1):
            left = radius_mm**2 - (i * spacing_mm[0]) ** 2 - (j * spacing_mm[1]) ** 2
            if left < 0:
                continue
            run = runs[min(int(left**0.5 / spacing_mm[2]), int(reach[2]))]
            step = (i * padded.shape[1] + j) * padded.shape[2] // 8
            if step > 0:
                out[step:] |= run[:-step]
            elif step < 0:
                out[:step] |= run[-step:]
            else:
                out |= run
    return np.unpackbits(out).view(bool).reshape(padded.shape)[inside]


def distance_mm(mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """From each voxel to the nearest one of `mask` (bool [i, j, k], not empty), in mm, float32.

    SimpleITK, since scipy takes longer to import than a case of the preset paper takes to make.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing_mm[::-1].tolist())  # it counts an array's axes from the last
    found = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayFromImage(found), 0)


def thinned(scan: np.ndarray, brain: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """`scan` at voxels 2.5 mm apart, and how deep (mm) each of them lies in the `brain` (bool), 0 outside.

    Enough for what is told from shares and medians, and quick.
    """
    steps = np.maximum(np.rint(_THINNED_MM / grid.spacing_mm).astype(int), 1)
    i, j, k = (slice(s.start, s.stop, int(n)) for s, n in zip(bounding_box(brain), steps, strict=True))
    inside = np.pad(brain[i, j, k], 1)
    return scan[i, j, k], distance_mm(~inside, grid.spacing_mm * steps)[1:-1, 1:-1, 1:-1]


def measure(
    image: np.ndarray, label: np.ndarray, brain: np.ndarray, grid: Grid, black: float = 0.0
) -> dict[str, Any]:
    """Volume, centre and `contrast` of what `label` (bool) marks; its surroundings are those in the brain.

    All but the volume is None where nothing is marked.
    """
    if not label.any():
        nothing = dict.fromkeys(("centre_ras_mm", "mean_inside", "mean_rim", "contrast"))
        return {"volume_ml": 0.0, **nothing}
    mean_inside, mean_rim = _means(image, label, label, brain & ~label, grid)
    box = bounding_box(label)
    centre = grid.to_ras(np.argwhere(label[box]).mean(axis=0) + [s.start for s in box])
    return {
        "volume_ml": grid.volume_ml(label[box]),
        "centre_ras_mm": [round(float(x), 3) for x in centre],
        "mean_inside": mean_inside,
        "mean_rim": mean_rim,
        "contrast": _ratio(mean_inside, mean_rim, black),
    }
