"""Mass effect: tissue and ventricles are pushed away from where a tumour will be.

A smooth displacement along the outward direction, largest at the tumour's border, fading with distance and
towards the skull; its strength is held down until the mapping is invertible everywhere (positive Jacobian).
The tumour is painted afterwards on the displaced scan, in the same place as its label.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.tumour.growth import radius_mm
from synthtumour.tumour.tissue import Tissue
from synthtumour.volume.grid import Box

_FADE_MM = 15.0
_SKULL_MM = 10.0
_SMOOTH_MM = 4.0
_SMOOTH_RADII = 0.25  # a large tumour's direction is smoother, or its ragged border holds the push down
_LEAST_JACOBIAN = 0.2
_STILL_MM = 0.05  # below this a voxel keeps its exact value


def displacement(border_mm: np.ndarray, box: Box, tissue: Tissue, push_mm: float) -> np.ndarray:
    """Where the content of each coarse voxel of `box` comes from, as mm (3, i, j, k) along the grid's axes.

    `border_mm` is negative inside the tumour; `push_mm` is how far tissue moves at most, less where it would
    fold. Distances are straight ones, not those of growth: pressure crosses ventricles.
    """
    if min(border_mm.shape) < 2:  # a sheet has no neighbours on one side to push against
        return np.zeros((3, *border_mm.shape))
    spacing = tissue.spacing_mm
    radius = radius_mm(float(np.count_nonzero(border_mm < 0) * np.prod(spacing)))
    inside = np.pad(border_mm < 0, 1)
    within = ndimage.distance_transform_edt(inside, sampling=spacing)[1:-1, 1:-1, 1:-1]
    beyond = ndimage.distance_transform_edt(~inside, sampling=spacing)[1:-1, 1:-1, 1:-1]
    smooth_mm = max(_SMOOTH_MM, _SMOOTH_RADII * radius)
    smooth = ndimage.gaussian_filter(beyond - within, smooth_mm / spacing, mode="nearest")
    gradient = np.stack(np.gradient(smooth, *spacing))
    gradient /= np.maximum(np.sqrt((gradient**2).sum(axis=0)), 1e-3)
    deepest = min(float(smooth.min()), -1.0)
    strength = np.where(smooth > 0, np.exp(-np.maximum(smooth, 0) / _FADE_MM), 1 - smooth / deepest)
    strength = strength * np.clip(tissue.depth_mm[box] / _SKULL_MM, 0, 1) * _faded_at_ends(smooth.shape)
    field = -gradient * strength
    field = np.stack(
        [ndimage.gaussian_filter(part, _SMOOTH_MM / spacing, mode="constant", truncate=3) for part in field]
    )
    field *= push_mm / max(float(np.sqrt((field**2).sum(axis=0)).max()), 1e-6)
    while least_jacobian(field, spacing) < _LEAST_JACOBIAN:
        field *= 0.8
    return field


def least_jacobian(field: np.ndarray, spacing_mm: np.ndarray) -> float:
    """The smallest determinant of the mapping x -> x + field(x); above 0, no tissue folds over."""
    (a, b, c), (d, e, f), (g, h, i) = (np.gradient(part, *spacing_mm) for part in field)
    a, e, i = a + 1, e + 1, i + 1
    # by hand: numpy's determinant of many small matrices takes four times as long
    return float((a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)).min())


def pushed(scan: np.ndarray, brain: np.ndarray, field: np.ndarray, box: Box, tissue: Tissue) -> np.ndarray:
    """`scan` (floating point) with the tissue under the coarse `box` displaced, inside `brain` only."""
    fine = tissue.fine_box(box, scan.shape)
    spacing = tissue.spacing_mm / tissue.block
    part = np.where(brain[fine], scan[fine], 0).astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(part.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    vectors = sitk.GetImageFromArray(
        np.ascontiguousarray(field.transpose(3, 2, 1, 0), dtype=np.float64), isVector=True
    )
    vectors.SetSpacing(tissue.spacing_mm.tolist())
    vectors.SetOrigin(((np.array(tissue.block) - 1) / 2 * spacing).tolist())
    warp = sitk.DisplacementFieldTransform(vectors)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, image, warp, sitk.sitkLinear, 0.0)).transpose(2, 1, 0)
    size = tissue.refined(np.sqrt((field**2).sum(axis=0)), box, fine)
    out = scan.copy()
    out[fine] = np.where(brain[fine] & (size > _STILL_MM), moved, scan[fine])
    return out


def _faded_at_ends(shape: tuple[int, ...]) -> np.ndarray:
    """1, falling to 0 over the last voxels before the box's faces, so that nothing moves across them."""
    fade = np.ones(shape)
    for axis, n in enumerate(shape):
        ends = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 4, 0, 1)
        fade = fade * ends.reshape([-1 if a == axis else 1 for a in range(3)])
    return fade
