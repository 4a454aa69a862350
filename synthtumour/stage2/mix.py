"""Stage 2: a real tumour, cut out along its pseudo-label, goes into a tumour-free scan.

After CarveMix (Zhang et al., MICCAI 2021; NeuroImage 2023) as used for SynthTumour's senior network (Zhang et
al., Medical Image Analysis 2025), but placed in physical space, matched inside the brains only, and blended.
Drawing is the only random step: `draw` and `place` yield a record, and `mix` renders it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour import __version__
from synthtumour.brain.measures import RIM_MM, contrast, rim_of
from synthtumour.stage2.intensities import local_gain, matched
from synthtumour.stage2.placement import DoesNotFit, Placement
from synthtumour.stage2.pseudo_labels import Donor, Head
from synthtumour.stage2.resampling import Window, overlap, refinement, resampled, window_of
from synthtumour.tumour.blending import blend, buffer_reach_mm, gaussian_in_box
from synthtumour.volume.grid import Box, Grid, bounding_box, grown
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import stored_where_it_fits


@dataclass(frozen=True, eq=False)
class Mixed:
    """A mixed case on the recipient's grid: channels, label (uint8 {0, 1}) and the JSON-able record."""

    channels: tuple[Volume, ...]
    label: Volume
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Landed:
    """A donor's tumour on the `box` of the recipient's voxels that it reaches.

    `label` is marked, `pasted` replaced as far as `weight` says, and the contrast is set against the `rim`.
    """

    window: Window
    source: Box  # of the donor's voxels, which fills the window
    box: Box
    cut: Box  # the same in the window
    label: np.ndarray
    pasted: np.ndarray
    weight: np.ndarray
    rim: np.ndarray
    measured: dict[str, Any]


def mix(donor: Donor, recipient: Head, placement: Placement) -> Mixed:
    """Paste the donor's tumour into the recipient as `placement` says.

    Raises DoesNotFit if less than its `min_remaining` of the tumour stays inside the recipient's brain, or if
    there is no tissue around it there to set its contrast against.
    """
    carved = carve(donor, placement)
    landed = _land(donor, recipient, placement, carved)
    channels, intensities = [], []
    for number, volume in enumerate(recipient.channels):
        array, measured = _mixed(donor, number, recipient, volume.array, carved, landed)
        channels.append(volume.with_array(array))
        intensities.append(measured)
    record = {
        "synthtumour": __version__,
        "placement": {**vars(placement), "donor_to_recipient_ras": placement.affine.tolist()},
        "measured": {**landed.measured, "channels": intensities},
    }
    label = recipient.channels[0].with_array(_whole(landed.label, landed.box, recipient.grid))
    return Mixed(tuple(channels), label, record)


def _land(donor: Donor, recipient: Head, placement: Placement, carved: np.ndarray) -> _Landed:
    """Bring the carved region to the recipient; DoesNotFit if too little of it stays in the brain."""
    grids = donor.head.grid, recipient.grid
    reach = buffer_reach_mm(placement.buffer_sigma_mm) if placement.blend == "buffer" else 0.0
    window, source = window_of(carved, *grids, placement.affine, reach + RIM_MM[1])
    pasted = _placed(carved[source], window, *grids, placement)
    kept = donor.label & carved
    label = pasted
    if placement.carve == "distance":
        label = pasted & _placed(kept[source], window, *grids, placement)

    # From here on all is cut to the recipient's grid: `box` there, `cut` in the window.
    box, cut = overlap(window, recipient.grid)
    if box is None:
        raise DoesNotFit("the tumour lands outside the recipient's scan")
    brain = recipient.brain[box]
    remaining = float((label[cut] & brain).sum() / max(label.sum(), 1))
    if remaining < placement.min_remaining or not (label[cut] & brain).any():
        raise DoesNotFit(
            f"{remaining:.0%} of the tumour stays inside the recipient's brain, "
            f"less than {placement.min_remaining:.0%}"
        )
    measured = _measures(donor, kept, recipient.grid, placement, window, label, label[cut] & brain, box)
    pasted, label = pasted[cut] & brain, label[cut] & brain
    weight = pasted.astype(np.float32)
    if placement.blend == "buffer":
        whole = (slice(0, brain.shape[0]), slice(0, brain.shape[1]), slice(0, brain.shape[2]))
        weight = gaussian_in_box(weight, whole, placement.buffer_sigma_mm, recipient.grid) * brain
        weight[weight < 1e-3] = 0
    rim = rim_of(pasted | label, recipient.grid) & brain
    if not rim.any():
        raise DoesNotFit("no brain tissue around the tumour to set its contrast against")
    return _Landed(window, source, box, cut, label, pasted, weight, rim, measured)


def _measures(
    donor: Donor,
    kept: np.ndarray,
    grid: Grid,
    placement: Placement,
    window: Window,
    placed: np.ndarray,
    label: np.ndarray,
    box: Box,
) -> dict[str, Any]:
    """Volumes and centres: at home, as `placed` on the window, and of the `label` that is left on the box."""
    home = donor.head.grid
    expected = placement.affine @ [*home.to_ras(np.argwhere(kept).mean(axis=0)), 1]
    return {
        "donor_volume_ml": home.volume_ml(donor.label),
        "carved_volume_ml": home.volume_ml(kept),
        "volume_scale": placement.volume_scale,
        "placed_volume_ml": grid.volume_ml(placed),
        "volume_ml": grid.volume_ml(label),
        "remaining": float(label.sum() / max(placed.sum(), 1)),
        "expected_centre_ras_mm": _rounded(expected[:3]),
        "placed_centre_ras_mm": _rounded(grid.to_ras(np.argwhere(placed).mean(axis=0) + window.start)),
        "centre_ras_mm": _rounded(grid.to_ras(np.argwhere(label).mean(axis=0) + [s.start for s in box])),
    }


def _mixed(
    donor: Donor, number: int, recipient: Head, array: np.ndarray, carved: np.ndarray, landed: _Landed
) -> tuple[np.ndarray, dict[str, Any]]:
    """One channel of the recipient, the `array`, with the tumour in it; and its intensities."""
    source = donor.head.channels[number].array
    match = matched(donor, source, carved, recipient, array)
    tumour = _levels(donor, source, landed.source, carved, match["black_donor"], landed.window)[landed.cut]
    tumour *= match["gain_tissue"]
    black = match["black_recipient"]
    levels = array[landed.box].astype(np.float64) - black
    local = local_gain(levels, tumour, landed.weight, landed.label, landed.rim, match["contrast_donor"])
    after = black + blend(levels, local * tumour, landed.weight)
    new = stored_where_it_fits(array.copy(order="K"), landed.box, landed.weight > 0, after)
    inside, around = (_whole(part, landed.box, recipient.grid) for part in (landed.label, landed.pasted))
    mixed = contrast(new, inside, around, recipient.brain, recipient.grid, black)
    return new, {**match, "gain_local": local, "contrast_mixed": mixed}


def _whole(part: np.ndarray, box: Box, grid: Grid) -> np.ndarray:
    """A bool array on `box` of a grid, on all of it."""
    whole = np.zeros(grid.shape, bool)
    whole[box] = part
    return whole


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


def _placed(
    mask: np.ndarray, window: Window, donor_grid: Grid, recipient_grid: Grid, placement: Placement
) -> np.ndarray:
    """`mask` (bool, on the donor's box) on the window, as many voxels as its volume asks for.

    The voxels that it fills most are taken: a threshold of one half would lose thin parts on coarse grids.
    """
    soft = resampled(mask, window.to_donor, window.start, window.shape, refinement(window.to_donor), 1)
    wanted = int(mask.sum()) * donor_grid.voxel_ml * placement.volume_scale / recipient_grid.voxel_ml
    count = min(round(wanted), int(np.count_nonzero(soft)))
    # Grids that are half a voxel apart fill whole layers equally: the fuller neighbourhood then decides.
    order = soft + 1e-3 * ndimage.uniform_filter(soft, 3)
    placed = np.zeros(soft.size, bool)
    placed[np.argsort(-order.ravel(), kind="stable")[:count]] = True
    return placed.reshape(soft.shape)


def _levels(
    donor: Donor, array: np.ndarray, box: Box, carved: np.ndarray, black: float, window: Window
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
    refine = refinement(window.to_donor)
    order = 3 if refine == (1, 1, 1) else 1  # a cubic spline keeps the grain; averaging needs none
    levels = resampled(part, window.to_donor, window.start, window.shape, refine, order)
    return np.clip(levels.astype(np.float64), part.min(), part.max()) - black


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(x), 3) for x in values]
