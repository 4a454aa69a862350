"""Stage 2: a real tumour, cut out along its pseudo-label, goes into a tumour-free scan.

After CarveMix (Zhang et al., MICCAI 2021; NeuroImage 2023) as used for SynthTumour's senior network (Zhang et
al., Medical Image Analysis 2025), but placed in physical space, matched inside the brains only, and blended.
Drawing is the only random step: `draw` and `place` yield a record, and `mix` renders it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour import __version__
from synthtumour.blending import blend, buffer_reach_mm, gaussian_in_box, grown
from synthtumour.presets import Mixing
from synthtumour.pseudo_labels import RIM_MM, Donor, Head, black_level, contrast, rim_of
from synthtumour.shape import Box, bounding_box, brain_box
from synthtumour.stage1 import stored_where_it_fits
from synthtumour.volume import Grid, Volume

_TISSUE_MARGIN_MM = 5.0  # what lies this near a tumour does not count as normal tissue
_GAIN_LIMITS = (1 / 3, 3.0)  # beyond these, the place is no brain tissue (a ventricle, say)
_CONTRAST_TOLERANCE = 0.1
_REGISTRATION_MM = 4.0


class DoesNotFit(ValueError):
    """This placement leaves no usable tumour in the recipient; the message says why. Draw another."""


@dataclass(frozen=True)
class Variation:
    """What is drawn for one mixed case."""

    mirrored: bool
    carve_c: float | None  # CarveMix's c in (-1, 1): below 0 the carved region grows, above it shrinks
    shift_ras_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Placement:
    """Everything drawn and decided for one mixed case; all that `mix` needs beside the two heads."""

    align: str
    mirrored: bool
    shift_ras_mm: tuple[float, float, float]  # already part of the affine
    donor_to_recipient_ras: tuple[
        tuple[float, ...], ...
    ]  # (4, 4), RAS mm of the donor to those of the recipient
    carve: str
    carve_c: float | None
    blend: str
    buffer_sigma_mm: float
    min_remaining: float

    @property
    def affine(self) -> np.ndarray:
        return np.array(self.donor_to_recipient_ras)

    @property
    def volume_scale(self) -> float:
        """How many times larger a tumour gets."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))


@dataclass(frozen=True, eq=False)
class Mixed:
    """A mixed case on the recipient's grid: channels, label (uint8 {0, 1}) and the JSON-able record."""

    channels: tuple[Volume, ...]
    label: Volume
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Window:
    """A box of the recipient's voxel lattice, which may reach beyond its grid, and how to get there."""

    start: np.ndarray  # (3,) index of its first voxel on the recipient's grid
    shape: np.ndarray  # (3,)
    to_donor: np.ndarray  # (4, 4) from index on the recipient's grid to index on the donor's box
    spacing_mm: np.ndarray


# ---------------------------------------------------------------- drawing


def draw(mixing: Mixing, rng: np.random.Generator) -> Variation:
    """What is random about one mixed case. The same numbers are drawn whatever the settings."""
    mirrored, carve_c = bool(rng.random() < mixing.mirror_probability), float(rng.uniform(-1, 1))
    r, a, s = (float(x) for x in mixing.jitter_mm * rng.normal(size=3))
    return Variation(mirrored, carve_c if mixing.carve == "distance" else None, (r, a, s))


def place(donor: Donor, recipient: Head, mixing: Mixing, variation: Variation) -> Placement:
    """Where the donor's tumour goes; the alignment follows from the brains.

    Raises DoesNotFit if the brains cannot be aligned.
    """
    affine = aligned(donor, recipient, mixing, variation.mirrored)
    affine[:3, 3] += variation.shift_ras_mm
    return Placement(
        align=mixing.align,
        mirrored=variation.mirrored,
        shift_ras_mm=variation.shift_ras_mm,
        donor_to_recipient_ras=tuple(tuple(float(x) for x in row) for row in affine),
        carve=mixing.carve,
        carve_c=variation.carve_c,
        blend=mixing.blend,
        buffer_sigma_mm=mixing.buffer_sigma_mm,
        min_remaining=mixing.min_remaining,
    )


def aligned(donor: Donor, recipient: Head, mixing: Mixing, mirrored: bool) -> np.ndarray:
    """Affine (4, 4) from the donor's RAS mm to the recipient's, mirrored left to right if asked.

    'brain' puts the centre of the brain's box (along R, A, S) on the recipient's; its one scale is the median
    of the three ratios of the boxes' sides, so that a brain cut short on one side does not count.
    """
    low, high = brain_box(recipient.brain, recipient.grid)
    recipient_centre, recipient_size = (low + high) / 2, high - low
    flip = np.array([-1.0 if mirrored else 1.0, 1, 1])
    affine = np.eye(4)
    if mixing.align == "none":
        affine[:3, :3] = np.diag(flip)
        affine[0, 3] = 2 * recipient_centre[0] if mirrored else 0.0
        return affine
    low, high = brain_box(donor.head.brain, donor.head.grid)
    ratios = recipient_size / (high - low)
    scale = ratios if mixing.scale_per_axis else np.full(3, np.median(ratios))
    affine[:3, :3] = np.diag(scale * flip)
    affine[:3, 3] = recipient_centre - affine[:3, :3] @ ((low + high) / 2)
    if mixing.align == "affine":
        affine = _registered(donor, recipient, affine) @ affine
    return affine


def _registered(donor: Donor, recipient: Head, start: np.ndarray) -> np.ndarray:
    """Affine (4, 4) that, after `start`, registers the donor's brain to the recipient's (first channels).

    SimpleITK, mutual information of both brains, the tumour left out. One thread and no sampling: the same
    result everywhere.
    """
    import SimpleITK as sitk

    low, high = brain_box(recipient.brain, recipient.grid)
    size = np.ceil((high - low) / _REGISTRATION_MM).astype(int) + 4
    lattice = np.diag([_REGISTRATION_MM] * 3 + [1.0])
    lattice[:3, 3] = (low + high) / 2 - _REGISTRATION_MM * (size - 1) / 2

    def sampled(array: np.ndarray, grid: Grid, from_world: np.ndarray) -> sitk.Image:
        to_index = np.linalg.inv(grid.affine) @ from_world @ lattice
        refine = _refinement(to_index)
        image = sitk.GetImageFromArray(_resampled(array, to_index, np.zeros(3), size, refine, 1).T)
        image.SetSpacing([_REGISTRATION_MM] * 3)
        image.SetOrigin(lattice[:3, 3].tolist())
        return image  # its physical space is RAS here, for both images alike

    def brain_only(head: Head, from_world: np.ndarray) -> sitk.Image:
        return sampled(np.where(head.brain, head.channels[0].array, 0), head.grid, from_world)

    # Outside the brains all is zero and counts: the outlines hold the scale, the inside alone does not.
    fixed = brain_only(recipient, np.eye(4))
    moving = brain_only(donor.head, np.linalg.inv(start))
    tumour = sampled(donor.suspect, donor.head.grid, np.linalg.inv(start)) > 0
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(sitk.BinaryDilate(tumour, (1, 1, 1)) == 0)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.AffineTransform(3)
    transform.SetCenter(((low + high) / 2).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    # The metric adds up in another order with more threads, and heeds no setting but this one.
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        raise DoesNotFit("the brains could not be registered") from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    fixed_to_moving = np.eye(4)
    fixed_to_moving[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    fixed_to_moving[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    if not 0.5 < np.linalg.det(fixed_to_moving[:3, :3]) < 2:
        raise DoesNotFit("the registration of the brains went astray")
    return np.round(np.linalg.inv(fixed_to_moving), 6)


# ---------------------------------------------------------------- rendering


def mix(donor: Donor, recipient: Head, placement: Placement) -> Mixed:
    """Paste the donor's tumour into the recipient as `placement` says.

    Raises DoesNotFit if less than its `min_remaining` of the tumour stays inside the recipient's brain, or if
    there is no tissue around it there to set its contrast against.
    """
    carved = carve(donor, placement)
    reach = buffer_reach_mm(placement.buffer_sigma_mm) if placement.blend == "buffer" else 0.0
    window, source_box = _window(carved, donor.head.grid, recipient.grid, placement, reach + RIM_MM[1])
    tumour_ml = int(donor.label.sum()) * donor.head.grid.voxel_ml
    pasted = _placed(carved[source_box], window, donor.head.grid, recipient.grid, placement)
    label = pasted
    if placement.carve == "distance":
        kept_part = donor.label & carved
        label = pasted & _placed(kept_part[source_box], window, donor.head.grid, recipient.grid, placement)

    # From here on all is cut to the recipient's grid: `box` there, `cut` in the window.
    box, cut = _overlap(window, recipient.grid)
    if box is None:
        raise DoesNotFit("the tumour lands outside the recipient's scan")
    brain = recipient.brain[box]
    remaining = float((label[cut] & brain).sum() / max(label.sum(), 1))
    placed_ml = int(label.sum()) * recipient.grid.voxel_ml
    if remaining < placement.min_remaining or not (label[cut] & brain).any():
        raise DoesNotFit(
            f"{remaining:.0%} of the tumour stays inside the recipient's brain, "
            f"less than {placement.min_remaining:.0%}"
        )
    expected = placement.affine @ [*donor.head.grid.to_ras(np.argwhere(donor.label & carved).mean(axis=0)), 1]
    placed_centre = recipient.grid.to_ras(np.argwhere(label).mean(axis=0) + window.start)
    pasted, label = pasted[cut] & brain, label[cut] & brain
    weight = pasted.astype(np.float32)
    if placement.blend == "buffer":
        whole = (slice(0, brain.shape[0]), slice(0, brain.shape[1]), slice(0, brain.shape[2]))
        weight = gaussian_in_box(weight, whole, placement.buffer_sigma_mm, recipient.grid) * brain
        weight[weight < 1e-3] = 0
    rim = rim_of(pasted | label, recipient.grid) & brain
    if not rim.any():
        raise DoesNotFit("no brain tissue around the tumour to set its contrast against")

    whole_label = np.zeros(recipient.grid.shape, bool)
    whole_label[box] = label
    whole_pasted = np.zeros(recipient.grid.shape, bool)
    whole_pasted[box] = pasted
    channels, intensities = [], []
    for number, volume in enumerate(recipient.channels):
        source = donor.head.channels[number]
        match = _matched(donor, source.array, carved, recipient, volume.array)
        tumour = _levels(donor, source.array, source_box, carved, match["black_donor"], window)[cut]
        tumour *= match["gain_tissue"]
        before = volume.array[box].astype(np.float64)
        levels = before - match["black_recipient"]
        local = _local_gain(levels, tumour, weight, label, rim, match["contrast_donor"])
        after = match["black_recipient"] + blend(levels, local * tumour, weight)
        array = stored_where_it_fits(volume.array.copy(order="K"), box, weight > 0, after)
        mixed = contrast(
            array, whole_label, whole_pasted, recipient.brain, recipient.grid, match["black_recipient"]
        )
        channels.append(volume.with_array(array))
        intensities.append({**match, "gain_local": local, "contrast_mixed": mixed})

    centre = recipient.grid.to_ras(np.argwhere(label).mean(axis=0) + [s.start for s in box])
    record = {
        "synthtumour": __version__,
        "placement": {**vars(placement), "donor_to_recipient_ras": placement.affine.tolist()},
        "measured": {
            "donor_volume_ml": round(tumour_ml, 4),
            "carved_volume_ml": round(int((donor.label & carved).sum()) * donor.head.grid.voxel_ml, 4),
            "volume_scale": placement.volume_scale,
            "placed_volume_ml": round(placed_ml, 4),
            "volume_ml": round(int(label.sum()) * recipient.grid.voxel_ml, 4),
            "remaining": remaining,
            "expected_centre_ras_mm": _rounded(expected[:3]),
            "placed_centre_ras_mm": _rounded(placed_centre),
            "centre_ras_mm": _rounded(centre),
            "channels": intensities,
        },
    }
    label_volume = recipient.channels[0].with_array(whole_label)
    return Mixed(tuple(channels), label_volume, record)


def carve(donor: Donor, placement: Placement) -> np.ndarray:
    """The region (bool [i, j, k]) to cut out of the donor: its label, or CarveMix's larger or smaller one.

    With d the signed distance to the label's border (mm, negative inside), keep d < lambda, where
    lambda = -c |min d| for c < 0 and -c |min d| / 2 for c > 0.
    """
    if placement.carve_c is None:
        return donor.label
    grid, spacing = donor.head.grid, donor.head.grid.spacing_mm
    border = float(spacing.min()) / 2  # distances are from voxel to voxel, the border lies half-way between
    inner = ndimage.distance_transform_edt(donor.label[bounding_box(donor.label)], sampling=spacing)
    depth = float(inner.max()) - border
    threshold = -placement.carve_c * depth / (1 if placement.carve_c < 0 else 2)
    box = grown(bounding_box(donor.label), max(threshold, 0) + float(spacing.max()), grid)
    inside, outside = (
        ndimage.distance_transform_edt(part, sampling=spacing)
        for part in (donor.label[box], ~donor.label[box])
    )
    distance = np.where(donor.label[box], border - inside, outside - border)
    carved = np.zeros_like(donor.label)
    carved[box] = (distance < threshold) & donor.head.brain[box]
    return carved


def _window(
    carved: np.ndarray, donor_grid: Grid, recipient_grid: Grid, placement: Placement, margin_mm: float
) -> tuple[_Window, Box]:
    """Where the carved region and `margin_mm` round it land, and the donor's box that fills it."""
    tight = bounding_box(carved)
    to_recipient = np.linalg.inv(recipient_grid.affine) @ placement.affine @ donor_grid.affine
    corners = np.array(
        [
            [(s.start - 0.5, s.stop - 0.5)[bit] for s, bit in zip(tight, bits, strict=True)]
            for bits in np.ndindex(2, 2, 2)
        ]
    )
    landed = corners @ to_recipient[:3, :3].T + to_recipient[:3, 3]
    margin = margin_mm / recipient_grid.spacing_mm + 1
    start = np.floor(landed.min(axis=0) - margin).astype(int)
    shape = np.ceil(landed.max(axis=0) + margin).astype(int) + 1 - start
    scale = placement.volume_scale ** (1 / 3)
    source = grown(
        tight, (margin_mm + float(recipient_grid.spacing_mm.max())) / min(scale, 1) * 1.5, donor_grid
    )
    to_donor = np.linalg.inv(to_recipient)
    to_donor[:3, 3] -= [s.start for s in source]
    return _Window(start, shape, to_donor, recipient_grid.spacing_mm), source


def _placed(
    mask: np.ndarray, window: _Window, donor_grid: Grid, recipient_grid: Grid, placement: Placement
) -> np.ndarray:
    """`mask` (bool, on the donor's box) on the window, as many voxels as its volume asks for.

    The voxels that it fills most are taken: a threshold of one half would lose thin parts on coarse grids.
    """
    soft = _resampled(mask, window.to_donor, window.start, window.shape, _refinement(window.to_donor), 1)
    wanted = int(mask.sum()) * donor_grid.voxel_ml * placement.volume_scale / recipient_grid.voxel_ml
    count = min(round(wanted), int(np.count_nonzero(soft)))
    # Grids that are half a voxel apart fill whole layers equally: the fuller neighbourhood then decides.
    order = soft + 1e-3 * ndimage.uniform_filter(soft, 3)
    placed = np.zeros(soft.size, bool)
    placed[np.argsort(-order.ravel(), kind="stable")[:count]] = True
    return placed.reshape(soft.shape)


def _levels(
    donor: Donor, array: np.ndarray, box: Box, carved: np.ndarray, black: float, window: _Window
) -> np.ndarray:
    """The donor's intensities above black level (float64) on the window, as if its head had no edge.

    At the brain's edge the donor's tissue is continued outwards, so that no dark line is pasted.
    """
    brain = donor.head.brain[box]
    tissue = ndimage.binary_erosion(brain, border_value=1) | carved[box]
    part = np.where(tissue, array[box], 0).astype(np.float32)
    if not tissue.all():
        nearest = ndimage.distance_transform_edt(
            ~tissue, sampling=donor.head.grid.spacing_mm, return_distances=False, return_indices=True
        )
        part = part[tuple(nearest)]
    refine = _refinement(window.to_donor)
    order = 3 if refine == (1, 1, 1) else 1  # a cubic spline keeps the grain; averaging needs none
    levels = _resampled(part, window.to_donor, window.start, window.shape, refine, order)
    return np.clip(levels.astype(np.float64), part.min(), part.max()) - black


def _resampled(
    array: np.ndarray,
    to_index: np.ndarray,
    start: np.ndarray,
    shape: np.ndarray,
    refine: tuple[int, int, int],
    order: int,
) -> np.ndarray:
    """`array` as float32 at the voxels start .. start + shape of a lattice that `to_index` (4, 4) leads from.

    Every voxel is the mean of refine[0] x refine[1] x refine[2] points spread over it, as a scanner averages.
    """
    fine = np.diag([*(1 / np.array(refine)), 1.0])
    fine[:3, 3] = np.asarray(start) + 0.5 / np.array(refine) - 0.5
    matrix = to_index @ fine
    sampled = ndimage.affine_transform(
        array.astype(np.float32),
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=tuple(int(n) for n in np.asarray(shape) * refine),
        order=order,
        mode="constant" if array.dtype == bool else "nearest",
    )
    if refine == (1, 1, 1):
        return sampled
    blocks = [n for size, r in zip(shape, refine, strict=True) for n in (int(size), r)]
    return sampled.reshape(blocks).mean(axis=(1, 3, 5))


def _refinement(to_index: np.ndarray) -> tuple[int, int, int]:
    """How many points along each axis keep a coarse voxel from missing finer ones."""
    steps = np.abs(to_index[:3, :3]).max(axis=0)
    i, j, k = (int(np.clip(math.ceil(s - 0.3), 1, 8)) for s in steps)
    return i, j, k


def _overlap(window: _Window, grid: Grid) -> tuple[Any, Any]:
    """The part of the window that lies on `grid`: as slices of the grid and of the window; None if none."""
    low = np.clip(window.start, 0, grid.shape)
    high = np.clip(window.start + window.shape, 0, grid.shape)
    if np.any(high <= low):
        return None, None
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cut = tuple(slice(int(a), int(b)) for a, b in zip(low - window.start, high - window.start, strict=True))
    return box, cut


# ---------------------------------------------------------------- intensities


def _matched(
    donor: Donor, donor_array: np.ndarray, carved: np.ndarray, recipient: Head, recipient_array: np.ndarray
) -> dict[str, Any]:
    """Black level and median of normal tissue of both brains, the gain between them, the contrast at home.

    Two landmarks that neither a bright tumour nor the background sways: black and the median of the brain
    without the tumour and what lies near it.
    """
    grid = donor.head.grid
    box = grown(bounding_box(donor.suspect), _TISSUE_MARGIN_MM, grid)
    near = np.zeros_like(donor.suspect)
    near[box] = (
        ndimage.distance_transform_edt(~donor.suspect[box], sampling=grid.spacing_mm) <= _TISSUE_MARGIN_MM
    )
    tissue = donor.head.brain & ~near
    if not tissue.any():
        tissue = donor.head.brain & ~donor.suspect
    black_donor, black_recipient = (
        black_level(donor_array, donor.head.brain),
        black_level(recipient_array, recipient.brain),
    )
    donor_median = float(np.median(donor_array[tissue]))
    recipient_median = float(np.median(recipient_array[recipient.brain]))
    home = contrast(
        donor_array,
        donor.label & carved,
        donor.label | carved,
        donor.head.brain & ~donor.suspect,
        grid,
        black_donor,
    )
    if home is None or donor_median <= black_donor or recipient_median <= black_recipient:
        raise DoesNotFit("no normal brain tissue to match the intensities with")
    return {
        "black_donor": black_donor,
        "black_recipient": black_recipient,
        "median_donor": donor_median,
        "median_recipient": recipient_median,
        "gain_tissue": (recipient_median - black_recipient) / (donor_median - black_donor),
        "contrast_donor": home,
    }


def _local_gain(
    levels: np.ndarray,
    tumour: np.ndarray,
    weight: np.ndarray,
    label: np.ndarray,
    rim: np.ndarray,
    wanted_contrast: float,
) -> float:
    """The factor g on `tumour` with which mean(label) / mean(rim) of the blend becomes `wanted_contrast`.

    The blend (1 - weight) levels + g weight tumour is linear in g, and so are both means.
    """
    below, above = (1 - weight) * levels, weight * tumour
    fixed = wanted_contrast * below[rim].mean() - below[label].mean()
    per_gain = above[label].mean() - wanted_contrast * above[rim].mean()
    exact = float(fixed / per_gain) if per_gain > 0 else math.inf
    gain = min(max(exact, _GAIN_LIMITS[0]), _GAIN_LIMITS[1])
    reached = (below[label].mean() + gain * above[label].mean()) / (
        below[rim].mean() + gain * above[rim].mean()
    )
    # A very dark tumour is lightened by its buffer layer whatever the factor: that much is let pass.
    if not abs(reached - wanted_contrast) <= _CONTRAST_TOLERANCE:
        raise DoesNotFit(f"the tumour's contrast to the tissue there would be {reached:.2f}")
    return gain


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(x), 3) for x in values]
