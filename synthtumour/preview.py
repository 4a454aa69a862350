"""PNG pictures of what was made: three planes through a place, image above, image with outline below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.blending import grown
from synthtumour.shape import bounding_box, largest_component
from synthtumour.volume import Grid

_PIXEL_MM = 0.75
_MARGIN_MM = 8.0
_GAP = 4
_OUTLINE = np.array([255, 210, 0], np.uint8)


def write_preview(
    path: Path, before: np.ndarray, after: np.ndarray, label: np.ndarray, brain: np.ndarray, grid: Grid
) -> None:
    """Write the `preview_picture` of a case as PNG."""
    picture = preview_picture(before, after, label, brain, grid)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))


def preview_picture(
    before: np.ndarray, after: np.ndarray, label: np.ndarray, brain: np.ndarray, grid: Grid
) -> np.ndarray:
    """Three planes through the largest tumour: `before` above, `after` with the outline of `label` below.

    All arrays are canonical [i, j, k] on `grid`. Both rows share one window: that of the brain before, and
    up to three times as high for a tumour that is brighter.
    """
    low, high = np.percentile(before[brain > 0], (0.5, 99.5))
    brightest = np.percentile(after[label > 0], 99) if label.any() else high
    high = max(min(brightest, low + 3 * (high - low)), high, low + 1e-6)
    marked = largest_component(label > 0)
    centre = np.rint(np.argwhere(marked if marked.any() else brain > 0).mean(axis=0)).astype(int)
    box = grown(bounding_box(brain > 0), _MARGIN_MM, grid)
    centre = centre - [s.start for s in box]
    before, after, label = before[box], after[box], label[box]
    rows = []
    for image, outlined in ((before, False), (after, True)):
        planes = []
        for axis in range(3):
            grey = _plane(image, axis, centre[axis], grid, order=1)
            grey = np.uint8(255 * np.clip((grey - low) / (high - low), 0, 1))
            picture = np.repeat(grey[..., None], 3, axis=2)
            if outlined:
                shown = _plane(label, axis, centre[axis], grid, order=1) > 0.5
                picture[shown & ~ndimage.binary_erosion(shown)] = _OUTLINE
            planes.append(picture)
        height = max(p.shape[0] for p in planes)
        rows.append(np.concatenate([_padded(p, height) for p in planes], axis=1))
    return np.concatenate(rows)


def _plane(array: np.ndarray, axis: int, index: int, grid: Grid, order: int) -> np.ndarray:
    """A slice as seen by a radiologist: up is superior (or anterior), the patient's right is on the left."""
    plane = np.take(array, index, axis=axis).astype(np.float32)
    spacing = np.delete(grid.spacing_mm, axis)
    plane = ndimage.zoom(plane, spacing / _PIXEL_MM, order=order, grid_mode=True, mode="nearest")
    return plane.T[::-1, ::-1]


def _padded(picture: np.ndarray, height: int) -> np.ndarray:
    missing = height - picture.shape[0]
    return np.pad(picture, ((missing // 2, missing - missing // 2 + _GAP), (0, _GAP), (0, 0)))
