"""What a label marks in a scan: volume, centre, and how bright it is beside what lies round it."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthtumour.tumour.blending import buffer_reach_mm, dilated
from synthtumour.volume.grid import Grid, bounding_box, grown

RIM_MM = (1.0, 6.0)  # the tissue around a tumour: beyond the voxels its border crosses, and near enough
SHELL_MM = 5.0  # how far about a synthetic tumour its `contrast_to_shell` is measured


def black_level(array: np.ndarray, brain: np.ndarray) -> float:
    """The intensity that means 'no signal': 0 as in every magnitude image, lower in a normalised scan.

    A z-scored scan goes below zero; there, the darkest thousandth of its brain stands for black.
    """
    return min(0.0, float(np.percentile(array[brain], 0.1)))


def contrast(
    array: np.ndarray,
    inside: np.ndarray,
    around: np.ndarray,
    tissue: np.ndarray,
    grid: Grid,
    black: float = 0.0,
) -> float | None:
    """Mean of `array` inside the mask over its mean in the `tissue` round `around`, both above `black`.

    All arrays [i, j, k], masks bool, `around` holds all of `inside`; how near that tissue is, RIM_MM says.
    None if there is none or if it is as dark as `black`.
    """
    box = grown(bounding_box(around), 1.5 * RIM_MM[1], grid)
    rim = rim_of(around[box], grid) & tissue[box]
    if not rim.any():
        return None
    part = array[box]
    beside = float(part[rim].mean(dtype=np.float64)) - black
    return (float(part[inside[box]].mean(dtype=np.float64)) - black) / beside if beside > 0 else None


def rim_of(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """The voxels (bool) whose distance from `mask` lies within RIM_MM; both on a box of `grid`."""
    from scipy import ndimage  # which takes longer to import than a case of the preset paper takes to make

    distance = ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm)
    # Where voxels are larger than the rim is wide, the nearest ones count.
    return (distance > RIM_MM[0]) & (distance <= max(RIM_MM[1], 1.01 * float(grid.spacing_mm.max())))


def measure(
    image: np.ndarray, label: np.ndarray, brain: np.ndarray, grid: Grid, buffer_sigma_mm: float
) -> dict[str, Any]:
    """Volume, centre and contrast of what `label` (bool) marks.

    Contrast is the mean inside the label over the mean of the brain around it: from the end of the
    buffer layer to 5 mm further. All but the volume is None where nothing is marked.
    """
    if not label.any():
        nothing = dict.fromkeys(("centre_ras_mm", "mean_inside", "mean_rim", "contrast"))
        return {"volume_ml": 0.0, **nothing}
    reach = buffer_reach_mm(buffer_sigma_mm)
    box = grown(bounding_box(label), reach + SHELL_MM, grid)
    part, inside = image[box], label[box]
    near = dilated(inside, reach, grid)
    rim = dilated(near, SHELL_MM, grid) & ~near & brain[box]
    mean_inside = float(part[inside].mean(dtype=np.float64))
    mean_rim = float(part[rim].mean(dtype=np.float64)) if rim.any() else None
    centre = grid.to_ras(np.argwhere(inside).mean(axis=0) + [s.start for s in box])
    return {
        "volume_ml": round(int(inside.sum()) * grid.voxel_ml, 4),
        "centre_ras_mm": [round(float(x), 3) for x in centre],
        "mean_inside": mean_inside,
        "mean_rim": mean_rim,
        "contrast": mean_inside / mean_rim if mean_rim else None,
    }
