"""Stage 2's method: where a tumour lands, how large and how bright it is, what stays as it was; the gate."""

from __future__ import annotations

import math
import tracemalloc
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ROOT, head_image
from scipy import ndimage
from stage2_heads import head_centre, with_tumour

from synthtumour.errors import InputError
from synthtumour.presets import GateLimits, Mixing
from synthtumour.stage2.mix import Mixed, mix
from synthtumour.stage2.pairs import held_out_subjects, pair_evenly, pair_within_sides
from synthtumour.stage2.placement import DoesNotFit, Variation, draw, place
from synthtumour.stage2.pseudo_labels import Donor, Head, Rejected, checked_donor, clean, mean_confidence
from synthtumour.volume.volume import Volume

UNMIRRORED = Variation(False, None, (0.0, 0.0, 0.0))
RECIPIENTS: dict[str, dict[str, Any]] = {
    "fine RAS": {"size_mm": (132.0, 147.0, 115.5), "spacing": (1.2, 1.05, 1.05), "orientation": "RAS"},
    "2 mm PIR": {"size_mm": (110.0, 130.0, 100.0), "spacing": (2.0, 2.0, 2.0), "orientation": "PIR"},
    "thick oblique": {"size_mm": (126.0, 150.3, 112.0), "spacing": (0.9, 0.9, 4.0), "oblique_deg": 14.0},
}


def head_of(orientation: str = "LPS", **how: Any) -> Head:
    image, brain = (sitk.DICOMOrient(i, orientation) for i in head_image(**how))
    return Head((Volume.from_image(image),), Volume.from_image(brain).array > 0)


def donor_of(
    orientation: str = "LPS", limits: GateLimits | None = None, seed: int = 7, **tumour: Any
) -> Donor:
    plain, brain = head_image(spacing=(1.5, 1.5, 1.5), seed=seed)
    image, label = with_tumour(plain, **tumour)
    volumes = [Volume.from_image(sitk.DICOMOrient(i, orientation)) for i in (image, label, brain)]
    return checked_donor(Head((volumes[0],), volumes[2].array > 0), volumes[1], limits or GateLimits())


def mixed_of(donor: Donor, recipient: Head, variation: Variation = UNMIRRORED, **settings: Any) -> Mixed:
    return mix(donor, recipient, place(donor, recipient, Mixing(**settings), variation))


def contrast_by_hand(array: np.ndarray, label: np.ndarray, brain: np.ndarray, spacing: np.ndarray) -> float:
    distance = ndimage.distance_transform_edt(~label, sampling=spacing)
    rim = (distance > 0) & (distance <= 5) & brain
    return float(array[label].mean() / array[rim].mean())


def centre_of(label: np.ndarray, grid: Any) -> np.ndarray:
    return grid.to_ras(np.argwhere(label).mean(axis=0))


# ---------------------------------------------------------------- placing


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


def test_mirroring_swaps_left_and_right_about_the_midplane() -> None:
    donor, recipient = donor_of(), head_of(seed=3, **RECIPIENTS["2 mm PIR"])
    middle = head_centre(head_image(size_mm=(110.0, 130.0, 100.0))[0])
    plain, mirrored = (
        centre_of(mixed_of(donor, recipient, replace(UNMIRRORED, mirrored=m)).label.array > 0, recipient.grid)
        for m in (False, True)
    )
    assert plain[0] - middle[0] > 12
    assert mirrored[0] - middle[0] == pytest.approx(middle[0] - plain[0], abs=0.5)
    assert np.allclose(plain[1:], mirrored[1:], atol=0.5)


def test_align_none_trusts_the_coordinates() -> None:
    donor, recipient = donor_of(), head_of(seed=3, spacing=(1.2, 1.05, 1.05))
    mixed = mixed_of(donor, recipient, align="none")
    assert mixed.record["measured"]["volume_scale"] == 1
    assert np.allclose(
        centre_of(mixed.label.array > 0, recipient.grid), centre_of(donor.label, donor.head.grid), atol=0.3
    )


def test_scale_per_axis_fits_every_side_of_the_box() -> None:
    donor, recipient = donor_of(), head_of(size_mm=(110.0, 144.0, 126.0))
    affine = place(donor, recipient, Mixing(scale_per_axis=True), UNMIRRORED).affine
    assert np.diag(affine)[:3] == pytest.approx([110 / 120, 1, 126 / 108], rel=0.04)
    one_scale = place(donor, recipient, Mixing(), UNMIRRORED).affine
    assert np.diag(one_scale)[:3] == pytest.approx([1, 1, 1], rel=0.04)


def test_affine_registration_finds_a_known_transform() -> None:
    """On a simulated head: registration needs anatomy."""
    plain, brain = (
        sitk.DICOMOrient(sitk.ReadImage(str(ROOT / "DemoData" / "sim-01" / name)), "LPS")
        for name in ("flair.nii.gz", "flair_brainmask.nii.gz")
    )
    image, label = with_tumour(plain, offset_ras_mm=(28.0, 10.0, 10.0))
    scan, truth, mask = (Volume.from_image(i) for i in (image, label, brain))
    donor = checked_donor(Head((scan,), mask.array > 0), truth, GateLimits())
    known = sitk.AffineTransform(3)  # from the recipient's to the donor's space, LPS mm
    known.SetCenter((head_centre(plain) * [-1, -1, 1]).tolist())
    known.Rotate(0, 1, math.radians(12))
    known.Scale((1.1, 0.95, 1.05))
    known.SetTranslation((6.0, -4.0, 3.0))
    moved = [Volume.from_image(sitk.Resample(i, plain, known, sitk.sitkLinear)) for i in (plain, brain)]
    recipient = Head((moved[0],), moved[1].array > 0)
    home = centre_of(donor.label, donor.head.grid)
    there = np.array(known.GetInverse().TransformPoint((home * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    errors = {}
    for align in ("brain", "affine"):
        affine = place(donor, recipient, Mixing(align=align), UNMIRRORED).affine
        errors[align] = np.linalg.norm(affine[:3, :3] @ home + affine[:3, 3] - there)
    assert errors["affine"] < 1 and errors["brain"] > 3
    again = place(donor, recipient, Mixing(align="affine"), UNMIRRORED).affine
    assert np.array_equal(again, affine)


def test_jitter_moves_the_tumour_by_what_is_drawn() -> None:
    donor, recipient = donor_of(), head_of(seed=3)
    moved = place(donor, recipient, Mixing(), replace(UNMIRRORED, shift_ras_mm=(3.0, -2.0, 5.0))).affine
    still = place(donor, recipient, Mixing(), UNMIRRORED).affine
    assert (moved - still)[:3, 3] == pytest.approx([3, -2, 5])
    shifts = np.array([draw(Mixing(jitter_mm=4), np.random.default_rng(n)).shift_ras_mm for n in range(400)])
    assert shifts.std(axis=0) == pytest.approx([4, 4, 4], rel=0.15)
    assert draw(Mixing(), np.random.default_rng(0)).shift_ras_mm == (0, 0, 0)


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


# ---------------------------------------------------------------- carving and blending


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
    donor = checked_donor(head, image.with_array(ball), GateLimits())
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


def test_lambda_is_drawn_for_carving_by_distance_only() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw(Mixing(carve="distance"), rng) for _ in range(400)]
    c = np.array([variation.carve_c for variation in drawn])
    assert c.min() < -0.95 and c.max() > 0.95 and abs(c.mean()) < 0.1
    assert 0.4 < np.mean([variation.mirrored for variation in drawn]) < 0.6
    assert draw(Mixing(), rng).carve_c is None
    assert not draw(Mixing(mirror_probability=0), rng).mirrored


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


# ---------------------------------------------------------------- intensities


def test_matching_is_not_swayed_by_the_tumour_or_the_scanner() -> None:
    recipient = head_of(seed=3)
    faint, glaring = (donor_of(factor=factor) for factor in (1.3, 12.0))
    gains = [
        mixed_of(d, recipient).record["measured"]["channels"][0]["gain_tissue"] for d in (faint, glaring)
    ]
    assert gains[0] == pytest.approx(gains[1], rel=0.01)

    donor = donor_of()
    image = donor.head.channels[0]
    louder = image.with_array((image.array * np.int16(3)).astype(np.int16))
    twice = replace(donor, head=replace(donor.head, channels=(louder,)))
    one, other = mixed_of(donor, recipient), mixed_of(twice, recipient)
    assert np.abs(one.channels[0].array.astype(int) - other.channels[0].array).max() <= 1


def test_a_bias_field_is_evened_out_where_the_tumour_lands() -> None:
    recipient = head_of(seed=3)
    scan = recipient.channels[0]
    ramp = np.linspace(0.6, 1.5, scan.grid.shape[0])[:, None, None]
    biased = replace(recipient, channels=(scan.with_array((scan.array * ramp).astype(np.int16)),))
    channel = mixed_of(donor_of(), biased).record["measured"]["channels"][0]
    assert channel["gain_local"] > 1.1
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.005)


def test_normalised_scans_with_negative_values() -> None:
    donor, recipient = donor_of(), head_of(seed=3)

    def normalised(head: Head) -> Head:
        array = head.channels[0].array.astype(np.float32)
        inside = array[head.brain]
        scaled = np.where(head.brain, (array - inside.mean()) / inside.std(), 0).astype(np.float32)
        return replace(head, channels=(head.channels[0].with_array(scaled),))

    mixed = mixed_of(replace(donor, head=normalised(donor.head)), normalised(recipient))
    channel = mixed.record["measured"]["channels"][0]
    assert channel["black_donor"] < -1 and channel["black_recipient"] < -1
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.005) and (
        channel["contrast_donor"] > 1.3
    )
    assert mixed.channels[0].array.dtype == np.float32


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


# ---------------------------------------------------------------- the gate


def test_cleaning_counts_in_millilitres() -> None:
    grid = Volume.from_image(head_image(spacing=(2.0, 2.0, 2.5))[0]).grid  # 0.01 ml a voxel
    mask = np.zeros(grid.shape, bool)
    mask[5:25, 5:25, 5:25] = True
    mask[10:14, 10:14, 10:14] = False  # a hole of 0.64 ml
    mask[40:44, 40:44, 20:25] = True  # 0.8 ml
    mask[50:52, 50:52, 20:25] = True  # 0.2 ml
    mask[30, 60, 30] = True  # 0.01 ml
    limits = GateLimits(min_island_ml=0.2, max_components=3, max_hole_ml=1.0)
    cleaned = clean(mask, grid, limits)
    assert cleaned.sum() == 8000 + 80 + 20
    assert clean(mask, grid, replace(limits, max_hole_ml=0.5)).sum() == 8000 - 64 + 100
    assert clean(mask, grid, replace(limits, min_island_ml=0.21)).sum() == 8080
    assert clean(mask, grid, replace(limits, max_components=1)).sum() == 8000


def labelled(inside: np.ndarray, scan: Volume, brain: np.ndarray, **limits: Any) -> Donor:
    return checked_donor(Head((scan,), brain), scan.with_array(inside), GateLimits(**limits))


@pytest.mark.parametrize(
    "kind", ["empty label", "too small", "too large", "off the brain", "no contrast", "another grid"]
)
def test_the_gate_says_why(kind: str) -> None:
    plain, brain_image = head_image()
    scan, brain = Volume.from_image(plain), Volume.from_image(brain_image).array > 0
    label = np.zeros(scan.grid.shape, bool)
    if kind == "too small":
        label[30:33, 36:39, 27:30] = True
    elif kind == "too large":
        label = brain.copy()
    elif kind == "off the brain":
        label[:8, :8, :8] = True
        label[28:32, 36:40, 27:30] = True
    elif kind == "no contrast":
        label[38:46, 36:44, 24:32] = True
    if kind == "another grid":
        other = Volume.from_image(head_image(spacing=(2.0, 2.0, 3.0))[0])
        with pytest.raises(Rejected, match="another grid"):
            checked_donor(Head((scan,), brain), other.with_array(other.array > 0), GateLimits())
        return
    with pytest.raises(Rejected) as refusal:
        labelled(label, scan, brain)
    assert refusal.value.kind == kind
    assert str(refusal.value)


def test_every_limit_of_the_gate_can_be_moved() -> None:
    donor = donor_of()  # 13.0 ml
    label, scan, brain = donor.label, donor.head.channels[0], donor.head.brain
    assert labelled(label, scan, brain).measured["volume_ml"] == pytest.approx(11.03, rel=0.03)
    for limits, kind in (
        ({"min_volume_ml": 12.0}, "too small"),
        ({"max_brain_fraction": 0.01}, "too large"),
        ({"min_contrast": 2.0}, "no contrast"),
        ({"min_confidence": 0.5}, "unknown confidence"),
    ):
        with pytest.raises(Rejected) as refusal:
            labelled(label, scan, brain, **limits)
        assert refusal.value.kind == kind
    stripped = brain.copy()
    stripped[centre_index(label)[0] :] = False  # the tumour's half beyond its centre is off this brain
    assert labelled(label, scan, stripped, max_outside_fraction=0.6).measured["outside_fraction"] > 0.4
    with pytest.raises(Rejected):
        labelled(label, scan, stripped, max_outside_fraction=0.3)


def centre_index(mask: np.ndarray) -> list[int]:
    return [int(n) for n in np.argwhere(mask).mean(axis=0)]


def test_dark_tumours_pass_the_gate() -> None:
    assert donor_of(factor=0.5).measured["contrast"][0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", ["probabilities", "softmax"])
def test_confidence_is_read_in_the_file_order(name: str, tmp_path: Path) -> None:
    plain, brain = (sitk.DICOMOrient(i, "PIR") for i in head_image())
    image, label = with_tumour(plain)
    inside = sitk.GetArrayFromImage(label) > 0
    probability = np.where(inside, 0.75, 0.0).astype(np.float16)
    probability[: np.argwhere(inside)[:, 0].min() + 4] *= (
        0.5  # less sure at one end: axes must not be mixed up
    )
    np.savez_compressed(tmp_path / "a.npz", **{name: np.stack([1 - probability, probability])})
    head = Head((Volume.from_image(image),), Volume.from_image(brain).array > 0)
    mean = float(probability[inside].mean(dtype=float))
    assert 0.5 < mean < 0.74
    pseudo_label = Volume.from_image(label)
    donor = checked_donor(head, pseudo_label, GateLimits(min_confidence=mean - 0.01), tmp_path / "a.npz")
    assert donor.measured["confidence"] == pytest.approx(mean, abs=0.002)
    with pytest.raises(Rejected, match="mean confidence"):
        checked_donor(head, pseudo_label, GateLimits(min_confidence=mean + 0.01), tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(Rejected, match="damaged"):
        checked_donor(head, pseudo_label, GateLimits(), tmp_path / "b.npz")


NPY = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 54, 72, 60), }"
ODD_SOFTMAX = {
    "a bomb of classes": (NPY.replace("(2,", "(60000,"), 10**6),
    "a bomb of voxels": (NPY.replace("54", "54000000"), 10**6),
    "more than it says": (NPY, 2**27),
    "less than it says": (NPY, 1000),
    "objects": (NPY.replace("<f2", "|O"), 2 * 2 * 54 * 72 * 60),
    "whole numbers": (NPY.replace("<f2", "<i2"), 2 * 2 * 54 * 72 * 60),
    "no end": ("(" * 900, 1000),
    "a long header": (NPY + " " * 60000, 2 * 2 * 54 * 72 * 60),
    "negative": (NPY.replace("(2,", "(-2,"), 1000),
    "no dictionary": ("-" * 900 + "1", 1000),
}


@pytest.mark.parametrize("what", [*ODD_SOFTMAX, "not a number", "a flipped bit", "no zip"])
def test_a_softmax_file_that_is_none(what: str, tmp_path: Path) -> None:
    image, _ = head_image()
    pseudo_label, path = Volume.from_image(image), tmp_path / "a.npz"
    shape = image.GetSize()[::-1]
    assert shape == (54, 72, 60)
    probabilities = np.full((2, *shape), 0.5, np.float16)
    if what == "not a number":
        probabilities[0, 3, 4, 5] = np.nan
    np.savez(path, probabilities=probabilities)
    inside = np.ones(pseudo_label.array.shape, bool)
    if what in ODD_SOFTMAX:
        header, length = ODD_SOFTMAX[what]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
            archive.writestr("probabilities.npy", start + bytes(length))
    elif what != "not a number":
        assert mean_confidence(path, pseudo_label, inside) == 0.5
        content = bytearray(path.read_bytes())
        content[-len(content) // 4 if what == "a flipped bit" else 0] ^= 1
        path.write_bytes(content)
        if what == "no zip":
            path.write_bytes(content[: len(content) // 2])
    tracemalloc.start()
    with pytest.raises(Rejected, match="a.npz") as refused:
        mean_confidence(path, pseudo_label, inside)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.kind == "damaged softmax file" and most < 2**24


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize(("donors", "recipients", "count"), [(4, 3, 40), (5, 10, 60), (6, 3, 18), (3, 1, 7)])
def test_pairs_are_even_from_the_first_to_the_last(donors: int, recipients: int, count: int) -> None:
    names = {f"d{n}": f"d{n}" for n in range(donors)}, {f"r{n}": f"r{n}" for n in range(recipients)}
    pairs = pair_evenly(*names, count, seed=5)
    assert len(pairs) == count
    for length in range(1, count + 1):
        begun = pairs[:length]
        for name, of in ((list(names[0]), "donor"), (list(names[1]), "recipient")):
            times = Counter(getattr(pair, of) for pair in begun)
            assert max(times.values()) - min(times[n] for n in name) <= 1
        if length <= donors * recipients:
            assert len({(pair.donor, pair.recipient) for pair in begun}) == length
    backwards = [dict(reversed(list(side.items()))) for side in names]
    assert pair_evenly(*backwards, count, seed=5) == pairs
    assert pair_evenly(*names, count, seed=6) != pairs or recipients == 1


def test_spares_are_pairs_that_no_case_uses() -> None:
    pairs = pair_evenly(
        {f"d{n}": f"d{n}" for n in range(4)}, {f"r{n}": f"r{n}" for n in range(9)}, 12, seed=0
    )
    used = {(pair.donor, pair.recipient) for pair in pairs}
    spare = [(pair.donor, name) for pair in pairs for name in pair.spares[:2]]
    assert len(spare) == 24 == len(set(spare)) and not used & set(spare)


def test_nobody_gets_his_own_tumour() -> None:
    donors = {f"{who}_v{n}": who for who in "ABC" for n in range(2)}
    recipients = {who: who for who in "ABC"}
    pairs = pair_evenly(donors, recipients, 12, seed=1)
    assert all(donors[p.donor] not in (p.recipient, *p.spares) for p in pairs)
    assert len({(p.donor, p.recipient) for p in pairs}) == 12  # all there are
    assert set(Counter(p.donor for p in pairs).values()) == {2}
    assert pair_evenly({"A_v0": "A"}, {"A": "A"}, 5, seed=0) == []


def test_sides_of_the_split_never_meet() -> None:
    donors = {f"d{n}_v{v}": f"d{n}" for n in range(5) for v in range(2)}
    recipients = {f"r{n}": f"r{n}" for n in range(6)} | {"d0": "d0"}
    held_out = held_out_subjects(donors, recipients, 0.25, seed=3)
    assert held_out & set(donors.values()) and held_out & set(recipients.values())
    training, validation = pair_within_sides(donors, recipients, 40, 3, held_out)
    assert len(training) + len(validation) == 40 and 4 <= len(validation) <= 16
    for side, pairs in ((False, training), (True, validation)):
        for pair in pairs:
            subjects = {donors[pair.donor], *(recipients[r] for r in (pair.recipient, *pair.spares))}
            assert all((subject in held_out) == side for subject in subjects)
    with pytest.raises(InputError, match="two subjects"):
        held_out_subjects({"a": "a", "a_v01": "a"}, recipients, 0.25, seed=3)
