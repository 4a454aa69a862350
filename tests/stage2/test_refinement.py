"""Labels that end where the scan says: balls of known size, in scans of any spacing and direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synthtumour.presets import GateLimits, Refinement
from synthtumour.stage2.pseudo_labels import Head, Rejected, checked_donor
from synthtumour.stage2.refinement import DARK, NO_TISSUE, TOO_LITTLE, TOO_SMALL, refined, refined_mask
from synthtumour.volume.volume import Volume

TISSUE = 100.0
USUAL = Refinement()


class Phantom:
    """A ball of brain of 60 mm, tissue at 100, and balls of tumour in it; distances are in mm."""

    def __init__(self, spacing: tuple[float, float, float] = (1.5, 1.5, 1.5), oblique: bool = False) -> None:
        turn = Rotation.from_euler("xyz", [20, -10, 15] if oblique else [0, 0, 0], degrees=True)
        affine = np.eye(4)
        affine[:3, :3] = turn.as_matrix() * spacing
        shape = [round(132 / s) for s in spacing]
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        self.space = Volume.from_array(np.zeros(shape, np.float32), affine)
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.space.grid.shape), indexing="ij"), axis=-1)
        self.points = self.space.grid.to_ras(index)
        self.brain = self.ball(60, (0, 0, 0))
        self.scan = np.where(self.brain, TISSUE, 0.0)

    def ball(self, radius_mm: float, centre: tuple[float, float, float]) -> np.ndarray:
        return np.linalg.norm(self.points - centre, axis=-1) <= radius_mm

    def refined(self, label: np.ndarray, how: Refinement = USUAL) -> tuple[np.ndarray, list]:
        return refined_mask(self.scan.astype(np.float32), self.brain, label, self.space.grid, how)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("marked_mm", [14.0, 26.0])
@pytest.mark.parametrize(
    ("spacing", "oblique"), [((1.5, 1.5, 1.5), False), ((1.0, 1.0, 5.0), True), ((0.9, 1.6, 1.2), True)]
)
def test_a_border_is_found_from_inside_and_from_outside(
    spacing: tuple[float, float, float], oblique: bool, marked_mm: float
) -> None:
    phantom = Phantom(spacing, oblique)
    tumour, label = (phantom.ball(r, (15, -10, 5)) & phantom.brain for r in (20.0, marked_mm))
    phantom.scan[tumour] = 220
    found, (part,) = phantom.refined(label)
    assert part.kept == "" and dice(label, tumour) < 0.7
    assert dice(found, tumour) > 0.95
    assert part.before_ml == pytest.approx(4.18879 * marked_mm**3 / 1000, rel=0.06)
    assert part.tissue_level == pytest.approx(TISSUE) and part.tumour_level == pytest.approx(220, rel=0.02)


def test_half_a_millimetre_is_no_other_border() -> None:
    phantom = Phantom((0.5, 1.0, 1.0))
    tumour = phantom.ball(12, (0, 0, 0))
    phantom.scan[tumour] = 200
    assert dice(phantom.refined(phantom.ball(8, (0, 0, 0)))[0], tumour) > 0.95


def test_z_scores_have_the_same_border() -> None:
    phantom = Phantom()
    tumour, label = phantom.ball(20, (10, 0, 0)), phantom.ball(15, (10, 0, 0))
    phantom.scan[tumour] = 220
    rng = np.random.default_rng(0)
    phantom.scan = np.where(phantom.brain, phantom.scan * rng.uniform(0.9, 1.1, tumour.shape), 0)
    phantom.scan[phantom.brain & phantom.ball(3, (-40, 0, 0))] = 0  # what is black, in z-scores too
    before = phantom.refined(label)[0]
    inside = phantom.scan[phantom.brain]
    phantom.scan = np.where(phantom.brain, (phantom.scan - inside.mean()) / inside.std(), 0)
    assert dice(phantom.refined(label)[0], before) > 0.999


def test_a_dark_middle_stays_and_is_filled() -> None:
    phantom = Phantom()
    tumour = phantom.ball(24, (0, 0, 0))
    phantom.scan[tumour] = 220
    phantom.scan[phantom.ball(14, (0, 0, 0))] = 30  # necrosis
    found, _ = phantom.refined(phantom.ball(20, (0, 0, 0)))
    assert dice(found, tumour) > 0.95 and found[phantom.ball(14, (0, 0, 0))].all()


@pytest.mark.parametrize(
    ("why", "level", "radius_mm"), [(DARK, 60.0, 20.0), (TOO_SMALL, 220.0, 3.0), (TOO_LITTLE, 220.0, 16.0)]
)
def test_what_cannot_be_refined_stays_as_it_was(why: str, level: float, radius_mm: float) -> None:
    phantom = Phantom()
    phantom.scan[phantom.ball(20, (0, 0, 0))] = level
    label = phantom.ball(radius_mm, (0, 0, 0))
    if why == TOO_LITTLE:  # a flat label over a few bright voxels
        phantom.scan = np.where(phantom.brain, TISSUE, 0.0)
        label &= np.abs(phantom.points[..., 2]) < 5
        phantom.scan[label & (phantom.points[..., 0] > 5)] = level
        how = Refinement(core_mm=50.0, least_left=0.6)
    else:
        how = Refinement()
    found, (part,) = phantom.refined(label, how)
    assert part.kept == why and np.array_equal(found, label) and part.after_ml == part.before_ml


def test_nothing_in_nothing_out_and_a_label_of_the_whole_brain() -> None:
    phantom = Phantom()
    nothing = np.zeros_like(phantom.brain)
    found, parts = phantom.refined(nothing)
    assert not found.any() and parts == []
    found, (part,) = phantom.refined(phantom.brain.copy())  # no tissue is left to compare it with
    assert part.kept == NO_TISSUE and np.array_equal(found, phantom.brain)


def test_two_parts_keep_apart_and_have_their_own_levels() -> None:
    phantom = Phantom()
    places = ((-20.0, 0.0, 0.0), (20.0, 0.0, 0.0))
    tumours = [phantom.ball(16, place) for place in places]
    for tumour, level in zip(tumours, (400.0, 140.0), strict=True):
        phantom.scan[tumour] = level
    labels = [phantom.ball(r, place) for r, place in zip((12, 11), places, strict=True)]
    found, parts = phantom.refined(labels[0] | labels[1])
    assert [part.kept for part in parts] == ["", ""]
    assert parts[0].tumour_level == pytest.approx(400, rel=0.02)
    assert parts[1].tumour_level == pytest.approx(140, rel=0.02)  # under one level for both it would be lost
    assert dice(found, tumours[0] | tumours[1]) > 0.95
    # With bright tissue between them each takes what is nearer to it; one alone takes all within reach.
    phantom.scan[phantom.ball(60, (0, 0, 0)) & (np.abs(phantom.points).max(axis=-1) < 30)] = 400
    both, _ = phantom.refined(labels[0] | labels[1])
    one, _ = phantom.refined(labels[0])
    nearer = phantom.points[..., 0] < -2
    assert not (one & ~both & nearer).any()


def test_a_label_at_the_edge_of_the_brain_stays_in_it() -> None:
    phantom = Phantom()
    tumour = phantom.ball(20, (48, 0, 0)) & phantom.brain
    phantom.scan[tumour] = 220
    found, _ = phantom.refined(phantom.ball(14, (48, 0, 0)) & phantom.brain)
    assert not (found & ~phantom.brain).any() and dice(found, tumour) > 0.93


def test_classes_keep_what_they_have() -> None:
    phantom = Phantom()
    phantom.scan[phantom.ball(20, (0, 0, 0))] = 220
    label = np.where(phantom.ball(15, (0, 0, 0)), 2, 0).astype(np.uint8)
    label[phantom.ball(6, (0, 0, 0))] = 1
    label[phantom.ball(9, (0, 0, 0)) & ~phantom.ball(6, (0, 0, 0))] = 4
    label[phantom.ball(4, (0, 0, 30))] = 0
    volumes = [phantom.space.with_array(a) for a in (phantom.scan.astype(np.float32), phantom.brain, label)]
    new, _ = refined(*volumes)
    assert new.array.dtype == np.uint8 and set(np.unique(new.array)) == {0, 1, 2, 4}
    inner = np.isin(label, (1, 4))
    assert np.array_equal(new.array[inner], label[inner])
    assert (new.array[(new.array > 0) & (label == 0)] == 2).all()


def test_a_donor_is_refined_before_the_gate_and_can_be_left_as_it_is() -> None:
    phantom = Phantom()
    tumour, label = phantom.ball(20, (10, 0, 0)), phantom.ball(15, (10, 0, 0))
    phantom.scan[tumour] = 220
    scan = phantom.space.with_array(phantom.scan.astype(np.float32))
    head = Head((scan,), phantom.brain)
    donor = checked_donor(head, scan.with_array(label), GateLimits())
    assert dice(donor.label, tumour) > 0.95 and np.array_equal(donor.cleaned, label)
    assert donor.measured["refinement"] == "refined"
    assert donor.measured["raw_volume_ml"] < donor.measured["volume_ml"]
    plain = checked_donor(head, scan.with_array(label), GateLimits(refinement=None, min_contrast=0.0))
    assert np.array_equal(plain.label, label) and plain.measured["refinement"] == "off"
    with pytest.raises(Rejected, match="3[3-7] ml is") as refused:  # of what is used: 4/3 pi 20^3 mm
        checked_donor(head, scan.with_array(label), GateLimits(max_brain_fraction=0.03))
    assert refused.value.volumes_ml["raw_volume_ml"] == pytest.approx(14.1, rel=0.03)


def test_parts_that_the_network_was_not_sure_of_are_dropped(tmp_path: Path) -> None:
    phantom = Phantom()
    parts = [phantom.ball(12, (-20, 0, 0)), phantom.ball(12, (20, 0, 0))]
    phantom.scan[parts[0] | parts[1]] = 220
    scan = phantom.space.with_array(phantom.scan.astype(np.float32))
    label = scan.with_array(parts[0] | parts[1])
    tumour = np.where(parts[0], 1 / (1 + np.exp(-4.0)), np.where(parts[1], 1 / (1 + np.exp(-2.0)), 0.01))
    stored = scan.with_array(tumour.astype(np.float32)).to_image()
    import SimpleITK as sitk

    probability = sitk.GetArrayFromImage(stored)
    np.savez_compressed(tmp_path / "a.npz", probabilities=np.stack([1 - probability, probability]))
    head = Head((scan,), phantom.brain)
    kept = checked_donor(head, label, GateLimits(min_logit=2.7), tmp_path / "a.npz")
    assert np.array_equal(kept.cleaned, parts[0]) and kept.measured["mean_logit"] == pytest.approx(
        4, abs=0.01
    )
    both = checked_donor(head, label, GateLimits(), tmp_path / "a.npz")
    assert np.array_equal(both.cleaned, parts[0] | parts[1])
    with pytest.raises(Rejected, match="mean logit 4.00, less than 4.5"):
        checked_donor(head, label, GateLimits(min_logit=4.5), tmp_path / "a.npz")
    with pytest.raises(Rejected, match="no softmax"):
        checked_donor(head, label, GateLimits(min_logit=2.7))
