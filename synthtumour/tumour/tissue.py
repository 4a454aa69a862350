"""What a scan's own intensities tell of the tissue in it, on a coarse grid: no atlas, no parcellation.

Growing a tumour, placing it and disturbing a scan need to know roughly where CSF, ventricles, cortex and
the brain's surface are; 2 mm are enough for that and keep it quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.errors import InputError
from synthtumour.tumour.blending import dilated
from synthtumour.volume.grid import Box, Grid, bounding_box, grown, relative

_COARSE_MM = 2.0
_DARK, _DARK_WIDTH = 0.55, 0.15  # of the brain's range: half-way from CSF to tissue on FLAIR, and how sharp
_DARKEST = 0.1  # percentile of the brain
_CSF_SHARE = (
    0.1  # of a brain with CSF: voxels in the darkest quarter of its range, as a part of the next half
)
_LEAST_RANGE = 8.0  # robust standard deviations: in a brain without CSF, noise must not look like it
_VENTRICLE_DEPTH_MM = 18.0  # no sulcus that is 6 mm wide lies so deep
_LEAST_VENTRICLE_ML = 1.0  # what is smaller would be a dark speck in a tumour
_CORTEX_MM = 2.5
_BIAS_MM = 12.0
_SLOW_MM = 6.0  # blocks for what changes slowly


@dataclass(frozen=True, eq=False)
class Tissue:
    """Maps [i, j, k] on `grid`, one voxel for each `block` of voxels of the scan, from the start of `box`."""

    box: Box
    block: tuple[int, int, int]
    grid: Grid
    median: float  # of the brain's intensities
    reach: float  # how far below the median the darkest CSF is
    spread: float  # standard deviation of those of tissue (CSF left out), robust (MAD)
    brain: np.ndarray  # bool
    matter: np.ndarray  # 0 CSF to 1 tissue
    ventricle: np.ndarray  # bool
    cortex: np.ndarray  # 0 to 1: near the surface or a sulcus
    depth_mm: np.ndarray  # distance to the brain's surface
    level: np.ndarray  # intensity of the tissue around: the median with the scan's bias in it

    @property
    def spacing_mm(self) -> np.ndarray:
        return self.grid.spacing_mm

    @cached_property
    def from_ventricles_mm(self) -> np.ndarray:
        """Distance (float32) to the nearest ventricle up to 24 mm; 999 beyond that and without one."""
        far = np.full(self.grid.shape, 999, np.float32)
        if self.ventricle.any():
            box = grown(bounding_box(self.ventricle), 24.0, self.grid)
            image = sitk.GetImageFromArray(self.ventricle[box].astype(np.uint8))
            image.SetSpacing(self.spacing_mm[::-1].tolist())
            found = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
            far[box] = np.maximum(sitk.GetArrayFromImage(found), 0)
        return far

    def points_ras(self, box: Box) -> np.ndarray:
        """RAS mm (i, j, k, 3) of the voxels in `box` of the coarse grid."""
        columns = self.grid.affine[:3, :3].T
        i, j, k = (np.arange(s.start, s.stop)[:, None] * c for s, c in zip(box, columns, strict=True))
        return i[:, None, None] + (j[:, None] + (k + self.grid.affine[:3, 3]))

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

    def room(self, scan: np.ndarray, brain: np.ndarray, box: Box) -> np.ndarray:
        """Brain, less the fluid of ventricles, on the scan's voxels under the coarse `box`: 0 to 1.

        Ventricles end at their own voxels, not at those of the coarse grid.
        """
        fine = self.fine_box(box, scan.shape)
        near = self.ventricle[box]
        if not near.any():
            return brain[fine]
        # all where that is more than nothing when it is interpolated
        part = grown(bounding_box(near), float(self.spacing_mm.min()), Grid(near.shape, self.grid.affine))
        i, j, k = (slice(b.start + p.start, b.start + p.stop) for b, p in zip(box, part, strict=True))
        there = self.fine_box((i, j, k), scan.shape)
        fluid = 1 - _matter(scan[there], self.median, self.reach)
        fluid *= np.minimum(2 * self.refined(near[part], (i, j, k), there), 1)  # and half a block beyond
        room = brain[fine].astype(np.float32)
        room[relative(there, fine)] *= 1 - fluid
        return room

    def refined(self, values: np.ndarray, box: Box, fine: Box) -> np.ndarray:
        """`values` on the coarse `box`, linearly interpolated at the scan's voxels `fine`; float32."""
        return upsampled(values, self.block, tuple(f.stop - f.start for f in fine))

    def refined_slices(self, values: np.ndarray, fine: Box) -> Iterator[tuple[Box, np.ndarray]]:
        """`refined` on the whole coarse grid, a few slices at a time: where in the scan, and the values."""
        a, b, c = self.block
        i, j, k = fine
        planes = upsampled(values, (a, b, 1), (i.stop - i.start, j.stop - j.start, values.shape[2]))
        for n in range(values.shape[2]):
            near = planes[:, :, max(n - 1, 0) : n + 2]
            first = min(n, 1) * c
            slices = slice(k.start + n * c, min(k.start + (n + 1) * c, k.stop))
            wanted = slices.stop - slices.start
            yield (i, j, slices), upsampled(near, (1, 1, c), (*near.shape[:2], first + wanted))[:, :, first:]


def tissue_of(scan: np.ndarray, brain: np.ndarray, grid: Grid) -> Tissue:
    """Tissue maps of `scan` inside `brain` (bool), both [i, j, k] on `grid`; FLAIR intensities.

    Another offset or unit of the intensities gives the same maps. Raises InputError for a brain without
    signal.
    """
    block = _block(_COARSE_MM, grid.spacing_mm)
    tight = bounding_box(brain)
    mask, values = _means_inside(scan[tight], brain[tight], block)
    inside = mask > 0.5
    if not inside.any():
        inside = mask > 0
    sample = _sample(values[inside])
    median = float(np.median(sample))
    if not median > 0:
        raise InputError("the brain has no signal above zero in most of its voxels; use another scan or mask")
    reach = _range(sample, median)
    spread = _spread(sample[sample > median - (1 - _DARK) * reach])
    affine = grid.affine.copy()
    affine[:3, :3] *= block
    affine[:3, 3] = grid.to_ras(np.array([s.start + (n - 1) / 2 for s, n in zip(tight, block, strict=True)]))
    i, j, k = values.shape
    coarse = Grid((i, j, k), affine)
    spacing = coarse.spacing_mm

    matter = _matter(values, median, reach) * inside
    depth = _depth_mm(inside, spacing)
    ventricle = _ventricles(inside & (matter < 0.5), depth, coarse)
    outside = np.where(inside, (1 - matter) * ~ventricle, 1).astype(np.float32)
    near = ndimage.gaussian_filter(outside, _CORTEX_MM / spacing, mode="nearest", truncate=2.5)
    cortex = np.clip(near / 0.25, 0, 1)
    level = _level(values, matter, median, reach, spacing)
    return Tissue(
        tight, block, coarse, median, reach, spread, inside, matter, ventricle, cortex, depth, level
    )


def tissue_of_channel(channel: np.ndarray, brain: np.ndarray, tissue: Tissue) -> Tissue:
    """`tissue` of a FLAIR scan with the intensities of another channel on the same grid."""
    _, values = _means_inside(channel[tissue.box], brain[tissue.box], tissue.block)
    solid = tissue.brain & (tissue.matter > 0.5)
    sample = _sample(values[solid])
    median = float(np.median(sample))
    if not median > 0:
        raise InputError("a channel has no signal above zero in most of the brain; use another scan")
    return replace(
        tissue,
        median=median,
        spread=_spread(sample),
        level=_level(
            values, tissue.matter, median, _range(_sample(values[tissue.brain]), median), tissue.spacing_mm
        ),
    )


def location_prior(tissue: Tissue, given: np.ndarray | None = None) -> np.ndarray:
    """How likely it is on the coarse grid that a tumour starts there: weights with any sum.

    From the scan alone: tissue, rarely the outermost rim, not CSF. Brain stem and cerebellum have their
    share, more than gliomas give them: a network that sees no tumour beside them takes them for one.
    `given` (on the scan's grid, not negative) replaces all that within the brain.
    """
    if given is None:
        prior = tissue.matter * np.clip(tissue.depth_mm / 12, 0.03, 1) * (1 - 0.7 * tissue.cortex)
        prior = prior * ~tissue.ventricle
    else:
        prior = _block_means(given[tissue.box], tissue.block) * tissue.brain
    if not prior.any():
        raise InputError("the location prior is zero everywhere in the brain; use one that meets it")
    return prior


def _matter(values: np.ndarray, median: float, reach: float) -> np.ndarray:
    """0 CSF to 1 tissue."""
    return np.clip((1 + (values - median) / reach - _DARK) / _DARK_WIDTH + 0.5, 0, 1)


def _sample(values: np.ndarray) -> np.ndarray:
    """Evenly spaced ones of `values` (n,), some 20 000: enough for robust statistics."""
    return values[:: max(len(values) // 20_000, 1)]


def _spread(sample: np.ndarray) -> float:
    """Standard deviation of `sample` (n,) that a few lesions do not change."""
    return 1.4826 * float(np.median(np.abs(sample - np.median(sample))))


def _range(sample: np.ndarray, median: float) -> float:
    """How far the darkest of a brain lies below its `median`: on FLAIR, from tissue to CSF.

    It does not change with what a scan calls zero, which z-scores move. CSF is a group of its own at the dark
    end, where noise would thin out; an old brain's CSF widens its spread, which then says nothing.
    """
    below = max(median - float(np.percentile(sample, _DARKEST)), 1e-3 * median)
    spread, depth = _spread(sample), (median - sample) / below
    darkest, next_to_it = (np.count_nonzero((depth > low) & (depth <= low + 0.5)) for low in (0.75, 0.25))
    if below > 2 * spread and darkest > _CSF_SHARE * next_to_it:
        return below
    return max(below, _LEAST_RANGE * spread)


def _depth_mm(brain: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Distance (float32) to the surface of `brain`, within a millimetre or two: on blocks, interpolated."""
    block = _block(_SLOW_MM, spacing_mm)
    sparse = np.pad(_block_means(brain, block) > 0.5, 1)  # beyond the array there is no brain either
    spacing = spacing_mm * block
    depth = ndimage.distance_transform_edt(sparse, sampling=spacing)[1:-1, 1:-1, 1:-1]
    # The first voxel or block within a surface counts as one deep; hence larger blocks are too deep.
    finer = _refined_blocks(depth, block, brain.shape) - float(spacing.min() - spacing_mm.min()) / 2.5
    return np.maximum(finer, float(spacing_mm.min())) * brain


def _ventricles(dark: np.ndarray, depth_mm: np.ndarray, grid: Grid) -> np.ndarray:
    """What is `dark`, deep, near where it is wide, and no speck (bool)."""
    found = dark & (depth_mm > _VENTRICLE_DEPTH_MM)
    if not found.any():
        return found
    block = _block(_SLOW_MM, grid.spacing_mm)
    box = grown(bounding_box(found), 2 * _SLOW_MM, grid)
    wide = _refined_blocks(_block_means(dark[box], block), block, found[box].shape) > 0.7
    deep = found[box] & dilated(wide, 4.0, grid)
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray(deep.astype(np.uint8)))
    least = round(_LEAST_VENTRICLE_ML / grid.voxel_ml)
    found[box] = sitk.GetArrayFromImage(sitk.RelabelComponent(parts, least)) > 0
    return found


def _level(
    values: np.ndarray, matter: np.ndarray, median: float, reach: float, spacing_mm: np.ndarray
) -> np.ndarray:
    """Local mean of tissue, not swayed by CSF or by what is much brighter; on blocks, interpolated."""
    block = _block(_SLOW_MM, spacing_mm)
    sigma = _BIAS_MM / (spacing_mm * block)
    lowest, highest = median - 0.3 * reach, median + 0.3 * reach
    total, weight = (
        ndimage.gaussian_filter(_block_means(part, block), sigma, truncate=2.5)
        for part in (matter * np.minimum(values, highest), matter)
    )
    level = np.clip(total / np.maximum(weight, 1e-3), lowest, highest)
    return _refined_blocks(level, block, values.shape)


def _block(size_mm: float, spacing_mm: np.ndarray) -> tuple[int, int, int]:
    """How many voxels along each axis come closest to `size_mm`; at least one."""
    a, b, c = (
        max(1, round(size_mm / float(s) - 0.01)) for s in spacing_mm
    )  # a header's rounding must not decide
    return a, b, c


def _means_inside(
    scan: np.ndarray, brain: np.ndarray, block: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What part of each block of voxels is brain, and the mean of `scan` in that part; both float32."""
    mask = _block_means(brain, block)
    with np.errstate(invalid="ignore", over="ignore"):
        values = _block_means(np.multiply(scan, brain, dtype=np.float32, casting="unsafe"), block)
        if not np.isfinite(values.sum()):  # of what lies outside the brain; slower
            values = _block_means(np.where(brain, scan, 0), block)
    return mask, values / np.maximum(mask, 1e-3)


def _block_means(array: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of voxels, float32; beyond the array's end counts as zero."""
    few = array.dtype == bool and np.prod(block) < 256
    total = array.view(np.uint8) if few else array.astype(np.float32, copy=False)
    for axis in (2, 1, 0):  # as most files lie in memory: their slowest axis is the quickest to halve
        size = block[axis]
        if size == 1:
            continue
        lines = np.moveaxis(total, axis, 0)
        first, second = lines[::size], lines[1::size]
        sums = first + second if len(first) == len(second) else None  # in one go, where it can be
        if sums is None:
            sums = first.copy(order="K")
            sums[: len(second)] += second  # the last block may have fewer
        for n in range(2, size):
            part = lines[n::size]
            sums[: len(part)] += part
        total = np.moveaxis(sums, 0, axis)
    return np.ascontiguousarray(total, np.float32) / np.float32(np.prod(block))


def _refined_blocks(means: np.ndarray, block: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The opposite of `_block_means`, linearly interpolated, for an array of this `shape`."""
    return np.ascontiguousarray(upsampled(means, block, shape))


def upsampled(means: np.ndarray, block: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """`means` [i, j, k] of blocks of voxels, linearly interpolated at voxels, an array of `shape`; float32.

    As `interpolated`, and several times as quick: within any block, voxels lie at the same few distances.
    """
    values = means.astype(np.float32).T
    for axis, size, length in zip((2, 1, 0), block, shape, strict=True):
        if size == 1 and length == values.shape[axis]:
            continue
        out = np.empty([length if n == axis else m for n, m in enumerate(values.shape)], np.float32)
        old, new = np.moveaxis(values, axis, 0), np.moveaxis(out, axis, 0)
        for n in range(min(size, length)):
            away = np.float32((n - (size - 1) / 2) / size)  # from the middle of its block, in blocks
            voxels = new[n::size]
            count = len(voxels)
            voxels[:] = old[:count]
            if away < 0:
                voxels[1:] += (old[: count - 1] - old[1:count]) * -away
            elif away > 0:
                last = min(count, len(old) - 1)  # the last block has no next one
                voxels[:last] += (old[1 : last + 1] - old[:last]) * away
        values = out
    return values.T


def interpolated(values: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """`values` [i, j, k], linearly interpolated at every combination of `positions` along the axes; float32.

    Beyond the ends they stay what they are there. In memory the first axis runs fastest, as in most files.
    """
    values = values.astype(np.float32).T
    for axis, position in zip((2, 1, 0), positions, strict=True):
        last = values.shape[axis] - 1
        position = np.clip(position, 0, last)
        below = position.astype(int)
        weight = (position - below).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        low, high = np.take(values, below, axis), np.take(values, np.minimum(below + 1, last), axis)
        high -= low
        high *= weight
        high += low
        values = high
    return values.T
