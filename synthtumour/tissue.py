"""What a scan's own intensities tell of the tissue in it, on a coarse grid: no atlas, no parcellation.

Growing a tumour, placing it and disturbing a scan need to know roughly where CSF, ventricles, cortex and
the brain's surface are; 2 mm are enough for that and keep it quick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from synthtumour.shape import Box, bounding_box
from synthtumour.volume import Grid, InputError

_COARSE_MM = 2.0
_DARK, _DARK_WIDTH = 0.55, 0.15  # of the brain's median: half-way from CSF to tissue on FLAIR, and how sharp
_VENTRICLE_DEPTH_MM = 18.0  # no sulcus that is 6 mm wide lies so deep
_CORTEX_MM = 2.5
_BIAS_MM = 12.0


@dataclass(frozen=True, eq=False)
class Tissue:
    """Maps [i, j, k] on `grid`, one voxel for each `block` of voxels of the scan, from the start of `box`."""

    box: Box
    block: tuple[int, int, int]
    grid: Grid
    median: float  # of the brain's intensities
    spread: float  # their standard deviation, robust (MAD)
    brain: np.ndarray  # bool
    matter: np.ndarray  # 0 CSF to 1 tissue
    ventricle: np.ndarray  # bool
    cortex: np.ndarray  # 0 to 1: near the surface or a sulcus
    depth_mm: np.ndarray  # distance to the brain's surface
    level: np.ndarray  # intensity of the tissue around: the median with the scan's bias in it

    @property
    def spacing_mm(self) -> np.ndarray:
        return self.grid.spacing_mm

    def points_ras(self, box: Box) -> np.ndarray:
        """RAS mm (i, j, k, 3) of the voxels in `box` of the coarse grid."""
        index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        return self.grid.to_ras(index)

    def whole(self) -> Box:
        """All of the coarse grid."""
        i, j, k = (slice(0, n) for n in self.grid.shape)
        return i, j, k

    def fine_box(self, box: Box, shape: tuple[int, ...]) -> Box:
        """The voxels of the scan (of this `shape`) under the coarse `box`."""
        i, j, k = (
            slice(s.start + c.start * b, min(s.start + c.stop * b, n))
            for s, c, b, n in zip(self.box, box, self.block, shape, strict=True)
        )
        return i, j, k

    def refined(self, values: np.ndarray, box: Box, fine: Box) -> np.ndarray:
        """`values` on the coarse `box`, linearly interpolated at the scan's voxels `fine`; float32."""
        values = values.astype(np.float32)
        for axis in range(3):
            b = self.block[axis]
            position = (np.arange(fine[axis].start, fine[axis].stop) - self.box[axis].start - (b - 1) / 2) / b
            position = np.clip(position - box[axis].start, 0, values.shape[axis] - 1)
            below = position.astype(int)
            above = np.minimum(below + 1, values.shape[axis] - 1)
            weight = (position - below).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
            low, high = np.take(values, below, axis), np.take(values, above, axis)
            values = low + weight * (high - low)
        return values


def tissue_of(scan: np.ndarray, brain: np.ndarray, grid: Grid) -> Tissue:
    """Tissue maps of `scan` inside `brain` (bool), both [i, j, k] on `grid`; FLAIR intensities.

    Raises InputError for a brain without signal.
    """
    a, b, c = (int(max(1, round(_COARSE_MM / s))) for s in grid.spacing_mm)
    block = (a, b, c)
    tight = bounding_box(brain)
    mask = _block_means(brain[tight], block)
    values = _block_means(np.where(brain[tight], scan[tight], 0), block) / np.maximum(mask, 1e-3)
    inside = mask > 0.5
    if not inside.any():
        inside = mask > 0
    median = float(np.median(values[inside]))
    if not median > 0:
        raise InputError("the brain has no signal above zero in most of its voxels; use another scan or mask")
    spread = 1.4826 * float(np.median(np.abs(values[inside] - median)))
    affine = grid.affine.copy()
    affine[:3, :3] *= block
    affine[:3, 3] = grid.to_ras(np.array([s.start + (n - 1) / 2 for s, n in zip(tight, block, strict=True)]))
    i, j, k = values.shape
    coarse = Grid((i, j, k), affine)
    spacing = coarse.spacing_mm

    matter = np.clip((values / median - _DARK) / _DARK_WIDTH + 0.5, 0, 1) * inside
    padded = np.pad(inside, 1)  # beyond the array there is no brain either
    depth = ndimage.distance_transform_edt(padded, sampling=spacing)[1:-1, 1:-1, 1:-1].astype(np.float32)
    dark = inside & (matter < 0.5)
    wide = ndimage.gaussian_filter(dark.astype(np.float32), 3.0 / spacing) > 0.5
    ventricle = dark & ndimage.binary_dilation(wide, iterations=2) & (depth > _VENTRICLE_DEPTH_MM)
    outside = np.where(inside, (1 - matter) * ~ventricle, 1).astype(np.float32)
    cortex = np.clip(ndimage.gaussian_filter(outside, _CORTEX_MM / spacing, mode="nearest") / 0.25, 0, 1)
    level = _level(values, matter, median, spacing)
    return Tissue(tight, block, coarse, median, spread, inside, matter, ventricle, cortex, depth, level)


def tissue_of_channel(channel: np.ndarray, brain: np.ndarray, tissue: Tissue) -> Tissue:
    """`tissue` of a FLAIR scan with the intensities of another channel on the same grid."""
    mask = np.maximum(_block_means(brain[tissue.box], tissue.block), 1e-3)
    values = _block_means(np.where(brain[tissue.box], channel[tissue.box], 0), tissue.block) / mask
    solid = tissue.brain & (tissue.matter > 0.5)
    median = float(np.median(values[solid]))
    if not median > 0:
        raise InputError("a channel has no signal above zero in most of the brain; use another scan")
    spread = 1.4826 * float(np.median(np.abs(values[tissue.brain] - median)))
    return replace(
        tissue, median=median, spread=spread, level=_level(values, tissue.matter, median, tissue.spacing_mm)
    )


def location_prior(tissue: Tissue, given: np.ndarray | None = None) -> np.ndarray:
    """Probability (sums to 1) on the coarse grid that a tumour starts there.

    From the scan alone: tissue, rarely the outermost rim, not CSF. Brain stem and cerebellum have their
    share, more than gliomas give them: a network that sees no tumour beside them takes them for one.
    `given` (on the scan's grid, not negative) replaces all that within the brain.
    """
    if given is None:
        prior = tissue.matter * np.clip(tissue.depth_mm / 12, 0.03, 1) * (1 - 0.7 * tissue.cortex)
        prior = prior * ~tissue.ventricle
    else:
        prior = _block_means(given[tissue.box], tissue.block) * tissue.brain
    prior = np.ascontiguousarray(prior, np.float64)
    if not prior.sum() > 0:
        raise InputError("the location prior is zero everywhere in the brain; use one that meets it")
    return prior / prior.sum()


def _level(values: np.ndarray, matter: np.ndarray, median: float, spacing_mm: np.ndarray) -> np.ndarray:
    """Local mean of tissue, not swayed by CSF or by what is much brighter than tissue."""
    sigma = _BIAS_MM / spacing_mm
    weight = ndimage.gaussian_filter(matter, sigma, truncate=2.5)
    total = ndimage.gaussian_filter(matter * np.minimum(values, 1.3 * median), sigma, truncate=2.5)
    return np.clip(total / np.maximum(weight, 1e-3), 0.7 * median, 1.3 * median)


def drawn_voxel(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """Index (3,) of a voxel drawn with probability proportional to `weights`."""
    total = np.cumsum(weights.ravel(), dtype=np.float64)
    flat = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), total.size - 1)
    return np.array(np.unravel_index(flat, weights.shape))


def _block_means(array: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of voxels, float32; beyond the array's end counts as zero."""
    array = np.ascontiguousarray(array, np.float32)  # the order of sums must not depend on the file's
    for axis, size in enumerate(block):
        if size == 1:
            continue
        missing = -array.shape[axis] % size
        array = np.pad(array, [(0, missing if n == axis else 0) for n in range(3)])
        parts = [array[(slice(None),) * axis + (slice(start, None, size),)] for start in range(size)]
        array = np.sum(parts[1:], axis=0, initial=0) + parts[0]
        array /= np.float32(size)
    return array
