"""Mixing: where a tumour lands, how it is cut out and blended, what stays as it was."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.presets import GateLimits
from synthtumour.stage2.placement import DoesNotFit, Variation
from synthtumour.stage2.pseudo_labels import Head, checked_donor
from synthtumour.volume.volume import Volume
from tests.conftest import head_centre, head_image
from tests.stage2.conftest import (
    RECIPIENTS,
    UNMIRRORED,
    centre_of,
    contrast_by_hand,
    donor_of,
    head_of,
    mixed_of,
)


@pytest.mark.parametrize("name", RECIPIENTS)
def test_into_another_geometry(name: str) -> None:
    how = RECIPIENTS[name]
    donor, recipient = donor_of(), head_of(seed=3, **how)
    mixed = mixed_of(donor, recipient)
    scan, image, label = recipient.channels[0], mixed.channels[0], mixed.label.array > 0
    spacing, measured = scan.grid.spacing_mm, mixed.record["measured"]

    # The recipient's own grid and type; all is as it was outside the brain and beyond the buffer layer.
    assert not image.grid.differences(scan.grid) and image.array.dtype == np.int16
    assert mixed.label.array.dtype == np.uint8 and set(np.unique(mixed.label.array)) == {0, 1}
    assert not (label & ~recipient.brain).any()
    changed = image.array != scan.array
    assert not (changed & ~recipient.brain).any()
    distance = ndimage.distance_transform_edt(~label, sampling=spacing)
    assert distance[changed].max() <= 4 * 1.0 + spacing.max()
    assert changed[label].mean() > 0.95

    # The brains are ellipsoids of known size; oblique ones have larger boxes than their axes.
    axes = np.array(how["size_mm"]) * 0.4
    turned = scan.grid.axes
    half = np.sqrt(((turned * axes) ** 2).sum(axis=1))
    scale = float(np.median(half / (np.array([120.0, 144.0, 108.0]) * 0.4)))
    assert measured["volume_scale"] ** (1 / 3) == pytest.approx(scale, rel=0.035)
    expected_ml = 4 / 3 * math.pi * 14**3 * 1.2 * 0.8 / 1000 * measured["volume_scale"]
    assert label.sum() * scan.grid.voxel_ml == pytest.approx(expected_ml, rel=0.03)
    assert measured["remaining"] == 1 and measured["placed_volume_ml"] == measured["volume_ml"]
    middle = head_centre(head_image(**{k: v for k, v in how.items() if k != "orientation"})[0])
    assert np.abs(centre_of(label, scan.grid) - middle - scale * np.array([18, 8, 10])).max() < 1.5
    affine = np.array(mixed.record["placement"]["donor_to_recipient_ras"])
    home = centre_of(donor.label, donor.head.grid)
    assert np.abs(affine[:3, :3] @ home + affine[:3, 3] - centre_of(label, scan.grid)).max() < 0.3

    # The contrast of the files is that of home, and what the record says.
    at_home = contrast_by_hand(
        donor.head.channels[0].array, donor.label, donor.head.brain, donor.head.grid.spacing_mm
    )
    here = contrast_by_hand(image.array, label, recipient.brain, spacing)
    assert here == pytest.approx(at_home, rel=0.04)
    channel = measured["channels"][0]
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.005)
    assert channel["contrast_donor"] == pytest.approx(1.8, rel=0.12)


def test_orientation_of_the_files_changes_nothing() -> None:
    recipient = head_of(seed=3, spacing=(1.2, 1.05, 1.05))
    first = mixed_of(donor_of("LPS"), recipient)
    for orientation in ("RAS", "PIR"):
        again = mixed_of(donor_of(orientation), head_of(orientation, seed=3, spacing=(1.2, 1.05, 1.05)))
        assert np.array_equal(again.channels[0].array, first.channels[0].array)
        assert np.array_equal(again.label.array, first.label.array)


def test_a_tumour_that_is_mostly_cut_off_does_not_fit() -> None:
    donor, recipient = donor_of(), head_of(seed=3)
    aside = replace(UNMIRRORED, shift_ras_mm=(40.0, 0.0, 0.0))
    with pytest.raises(DoesNotFit, match="stays inside"):
        mixed_of(donor, recipient, aside)
    kept = mixed_of(donor, recipient, replace(UNMIRRORED, shift_ras_mm=(22.0, 0.0, 0.0)), min_remaining=0.1)
    measured = kept.record["measured"]
    assert 0.1 < measured["remaining"] < 0.9
    assert measured["volume_ml"] == pytest.approx(
        measured["remaining"] * measured["placed_volume_ml"], abs=1e-3
    )
    with pytest.raises(DoesNotFit):
        mixed_of(donor, recipient, replace(UNMIRRORED, shift_ras_mm=(900.0, 0.0, 0.0)), min_remaining=0)


@pytest.mark.parametrize(("c", "radius"), [(-0.25, 20.0), (-0.7, 27.2), (0.5, 12.0), (0.0, 16.0)])
def test_carving_by_distance(c: float, radius: float) -> None:
    """A ball of 16 mm: lambda = -c 16 where it grows, -c 16 / 2 where it shrinks."""
    plain, brain = head_image(size_mm=(150.0, 160.0, 140.0), seed=4)
    grid = Volume.from_image(plain).grid
    world = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    ball = ((world - head_centre(plain)) ** 2).sum(axis=-1) < 16**2
    image = Volume.from_image(plain)
    image = image.with_array(np.where(ball, 700, image.array).astype(np.int16))
    head = Head((image,), Volume.from_image(brain).array > 0)
    donor = checked_donor(head, image.with_array(ball), GateLimits(refinement=None))
    recipient = head_of(size_mm=(150.0, 160.0, 140.0), seed=5)
    variation = Variation(False, c, (0.0, 0.0, 0.0))
    mixed = mixed_of(donor, recipient, variation, carve="distance", blend="hard", align="none")
    changed = mixed.channels[0].array != recipient.channels[0].array
    expected = 4 / 3 * math.pi * radius**3 / 1000
    assert changed.sum() * grid.voxel_ml == pytest.approx(expected, rel=0.14)  # 2 mm voxels
    label_ml = 4 / 3 * math.pi * min(radius, 16) ** 3 / 1000
    assert mixed.record["measured"]["volume_ml"] == pytest.approx(label_ml, rel=0.14)
    channel = mixed.record["measured"]["channels"][0]
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.01)


def test_hard_blend_changes_the_label_only_and_buffer_a_layer_round_it() -> None:
    donor, recipient = donor_of(), head_of(seed=3)
    before = recipient.channels[0].array
    hard = mixed_of(donor, recipient, blend="hard")
    assert not ((hard.channels[0].array != before) & (hard.label.array == 0)).any()
    buffer = mixed_of(donor, recipient, buffer_sigma_mm=2.0)
    outside = (buffer.channels[0].array != before) & (buffer.label.array == 0)
    distance = ndimage.distance_transform_edt(buffer.label.array == 0, sampling=recipient.grid.spacing_mm)
    assert outside.sum() > 500 and 3 < distance[outside].max() <= 10


def test_no_dark_line_where_the_donor_ends() -> None:
    """A tumour at the edge of the donor's brain, pasted to where the recipient's brain goes on."""
    donor = donor_of(offset_ras_mm=(40.0, 0.0, 0.0), radius_mm=12.0)
    recipient = head_of(seed=3)
    inward = replace(UNMIRRORED, shift_ras_mm=(-14.0, 0.0, 0.0))
    mixed = mixed_of(donor, recipient, inward, buffer_sigma_mm=2.0)
    changed = mixed.channels[0].array != recipient.channels[0].array
    label = mixed.label.array > 0
    ring = changed & ~label & (recipient.channels[0].array > 200)
    assert ring.sum() > 300
    assert np.percentile(mixed.channels[0].array[ring] / recipient.channels[0].array[ring], 2) > 0.75


def test_values_that_do_not_fit_the_type_make_it_floating_point() -> None:
    recipient = head_of(seed=3)
    scan = recipient.channels[0]
    small = replace(recipient, channels=(scan.with_array((scan.array / 3).astype(np.uint8)),))
    assert mixed_of(donor_of(factor=1.5), small).channels[0].array.dtype == np.uint8
    bright = mixed_of(donor_of(factor=6.0), small)
    assert bright.channels[0].array.dtype == np.float32 and bright.channels[0].array.max() > 300
    outside = bright.label.array == 0
    assert bright.channels[0].array[~small.brain].max() == 0
    assert (bright.channels[0].array[outside] == small.channels[0].array[outside]).mean() > 0.98


def test_channels_share_place_and_shape_and_keep_each_its_contrast() -> None:
    donor, recipient = donor_of(), head_of(seed=3)
    image = donor.head.channels[0]
    dark = np.where(donor.label, 40, image.array * 2).astype(np.int16)
    donor = replace(donor, head=replace(donor.head, channels=(image, image.with_array(dark))))
    scan = recipient.channels[0]
    recipient = replace(recipient, channels=(scan, scan.with_array((scan.array * 5).astype(np.int16))))
    mixed = mixed_of(donor, recipient)
    label = mixed.label.array > 0
    for volume, before, channel in zip(
        mixed.channels, recipient.channels, mixed.record["measured"]["channels"], strict=True
    ):
        assert (volume.array != before.array)[label].mean() > 0.95
        assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], abs=0.1)
    contrasts = [channel["contrast_mixed"] for channel in mixed.record["measured"]["channels"]]
    assert contrasts[0] > 1.5 and contrasts[1] < 0.3
