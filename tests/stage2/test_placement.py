"""Where a tumour goes: aligned by the brains, mirrored, jittered."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.presets import GateLimits, Mixing
from synthtumour.stage2.placement import draw, place
from synthtumour.stage2.pseudo_labels import Head, checked_donor
from synthtumour.volume.volume import Volume
from tests.conftest import ROOT, head_centre, head_image, with_tumour
from tests.stage2.conftest import RECIPIENTS, UNMIRRORED, centre_of, donor_of, head_of, mixed_of


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
        sitk.Shrink(sitk.DICOMOrient(sitk.ReadImage(str(ROOT / f"DemoData/sim-01/{name}")), "LPS"), [2] * 3)
        for name in ("flair.nii.gz", "flair_brainmask.nii.gz")
    )
    image, label = with_tumour(plain, offset_ras_mm=(28.0, 10.0, 10.0))
    scan, truth, mask = (Volume.from_image(i) for i in (image, label, brain))
    donor = checked_donor(Head((scan,), mask.array > 0), truth, GateLimits(refinement=None))
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


def test_lambda_is_drawn_for_carving_by_distance_only() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw(Mixing(carve="distance"), rng) for _ in range(400)]
    c = np.array([variation.carve_c for variation in drawn])
    assert c.min() < -0.95 and c.max() > 0.95 and abs(c.mean()) < 0.1
    assert 0.4 < np.mean([variation.mirrored for variation in drawn]) < 0.6
    assert draw(Mixing(), rng).carve_c is None
    assert not draw(Mixing(mirror_probability=0), rng).mirrored
