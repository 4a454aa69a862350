"""A pseudo-label refined: the network says where the tumour is, the scan's own contrast says where it ends.

Nothing is drawn, nothing is trained. Networks miss a tumour's fringe, and overshoot where it is very bright.
Between the level of the tissue far from a label and that of the tumour in it, a threshold finds the border.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.brain.measures import black_level, distance_mm
from synthtumour.presets import Refinement
from synthtumour.tumour.blending import gaussian_in_box
from synthtumour.tumour.placing import above_black
from synthtumour.volume.grid import Box, Grid, bounding_box, grown
from synthtumour.volume.volume import Volume

OEDEMA = 2  # of BraTS's values: what is added to a label that has them
TOO_SMALL, DARK, TOO_LITTLE = "too small", "no brighter than tissue", "too little left"
NO_TISSUE = "no tissue to compare with"
_CROSS = ndimage.generate_binary_structure(3, 1)
_IN_PLANE = [_CROSS & (np.indices((3, 3, 3))[axis] == 1) for axis in range(3)]  # neighbours in one slice
_USUAL = Refinement()


@dataclass(frozen=True)
class Part:
    """What became of one connected part of a label: `kept` says why it stays as it was, or is empty."""

    before_ml: float
    after_ml: float
    tissue_level: float  # intensities above black, smoothed
    tumour_level: float
    kept: str


def refined(
    scan: Volume, brain: Volume, label: Volume, how: Refinement = _USUAL
) -> tuple[Volume, list[Part]]:
    """`label` with its border where the contrast of `scan` says, and what became of each of its parts.

    All are on one grid; `brain` is above 0 inside. Each part of the label has a level of its own, and gets no
    voxel that is nearer to another. What is added to a label of several classes (BraTS's 1, 2 and 3 or 4) is
    oedema then, 2; what is cut off is dropped from its class.
    """
    marked = label.array > 0
    found, parts = refined_mask(scan.array, brain.array > 0, marked, label.grid, how)
    return label.with_array(in_classes_of(label.array, found)), parts


def in_classes_of(label: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`mask` (bool) in the values of `label`; what is new gets its one value, or oedema if it has several."""
    marked = label > 0
    classes = np.unique(label[marked])
    added = OEDEMA if len(classes) > 1 else classes[0] if len(classes) else 1
    return np.where(mask, np.where(marked, label, added), 0).astype(label.dtype)


def refined_mask(
    scan: np.ndarray, brain: np.ndarray, label: np.ndarray, grid: Grid, how: Refinement = _USUAL
) -> tuple[np.ndarray, list[Part]]:
    """As `refined`, for arrays [i, j, k] on `grid`; `brain` and `label` are bool. The largest part first."""
    if not (label & brain).any():
        return label.copy(), []
    whole = bounding_box(brain)
    scan, brain, marked, grid = scan[whole], brain[whole], label[whole] & brain[whole], grid.cropped(whole)
    smooth = _smoothed(scan, brain, grid, how)
    box = grown(bounding_box(marked), how.reach_mm, grid)
    away_mm = distance_mm(marked[box], grid.spacing_mm)
    tissue = _tissue_level(smooth, brain, box, away_mm, how)
    components = sitk.ConnectedComponent(sitk.GetImageFromArray(marked[box].astype(np.uint8)), True)
    numbers = sitk.GetArrayFromImage(sitk.RelabelComponent(components))
    found, parts = np.zeros_like(numbers, bool), []
    for number in range(1, int(numbers.max()) + 1):
        after, part = _refined_part(smooth[box], brain[box], numbers, number, away_mm, grid, tissue, how)
        found |= after
        parts.append(part)
    result = np.zeros_like(label)
    result[whole][box] = found
    return result, parts


def _smoothed(scan: np.ndarray, brain: np.ndarray, grid: Grid, how: Refinement) -> np.ndarray:
    """The scan above black in the brain, zero around it, smoothed (float32)."""
    lifted = np.where(brain, above_black(scan, brain, black_level(scan, brain)), 0).astype(np.float32)
    i, j, k = (slice(0, n) for n in lifted.shape)
    return gaussian_in_box(lifted, (i, j, k), how.smooth_mm, grid)


def _tissue_level(
    smooth: np.ndarray, brain: np.ndarray, box: Box, away_mm: np.ndarray, how: Refinement
) -> float:
    """The median of the brain that is not near the label or, where all of it is near, that is not labelled.

    `away_mm` is the distance to the label on `box`.
    """
    for least_mm in (how.tissue_mm, 0.0):
        far = brain.copy()
        far[box] &= away_mm > least_mm
        if far.any():
            return float(np.median(smooth[far]))
    return float("inf")


def _refined_part(
    smooth: np.ndarray,
    brain: np.ndarray,
    numbers: np.ndarray,
    number: int,
    away_mm: np.ndarray,
    grid: Grid,
    tissue: float,
    how: Refinement,
) -> tuple[np.ndarray, Part]:
    """The part `number` of the label refined; `away_mm` is the distance to the label, any part of it."""
    spacing, part = grid.spacing_mm, numbers == number
    tumour = float(np.percentile(smooth[part], how.percentile))
    before_ml = grid.volume_ml(part)

    def kept(why: str) -> tuple[np.ndarray, Part]:
        return part, Part(before_ml, before_ml, tissue, tumour, why)

    if before_ml < how.least_ml:
        return kept(TOO_SMALL)
    if not tumour > tissue:
        return kept(DARK if np.isfinite(tissue) else NO_TISSUE)
    others = (numbers > 0) & ~part
    if others.any():  # no voxel that is nearer to another part
        mine_mm = distance_mm(part, spacing)
        mine = brain & (mine_mm <= how.reach_mm) & ~others & (mine_mm <= away_mm)
    else:
        mine = brain & (away_mm <= how.reach_mm)
    own = bounding_box(part)
    deep = np.zeros_like(part)
    deep[own] = distance_mm(~np.pad(part[own], 1), spacing)[1:-1, 1:-1, 1:-1] > how.core_mm
    found = mine & ((smooth > tissue + how.level * (tumour - tissue)) | deep)
    labels, count = ndimage.label(found)
    touching = np.zeros(count + 1, bool)
    touching[labels[part & found]] = True
    found = _filled(touching[labels] & found) & mine
    if found.sum() < how.least_left * part.sum():
        return kept(TOO_LITTLE)
    return found, Part(before_ml, grid.volume_ml(found), tissue, tumour, "")


def _filled(mask: np.ndarray) -> np.ndarray:
    """`mask` (bool) with what it encloses, in space and then in the slices along each axis."""
    for axis, structure in ((None, _CROSS), *enumerate(_IN_PLANE)):
        labels, count = ndimage.label(~mask, structure)
        enclosed = np.ones(count + 1, bool)
        for across in range(3):
            if across != axis:  # a slice has no neighbours that could let it out
                enclosed[np.take(labels, (0, -1), across)] = False
        mask = mask | enclosed[labels]
    return mask
