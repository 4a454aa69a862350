"""A head that is changed: its label goes with it, its other side too, and nothing else happens unasked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthtumour.pilot.canvas import Head

try:
    from synthtumour.pilot.augmentation import Change, changed, drawn_change
    from synthtumour.pilot.network import zscored
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
SHAPE = (40, 48, 32)


def nothing() -> Change:
    return Change((0.0,) * 3, (1.0,) * 3, (0.0,) * 3, False, None, None, None, 0.0, 0)


@pytest.fixture(scope="module")
def head() -> Head:
    """Noise in an ellipsoid, and a bright ball on one side of it that is its label."""
    index = np.indices(SHAPE)
    middle = (np.array(SHAPE) - 1) / 2
    brain = sum(((axis - m) / (0.42 * n)) ** 2 for axis, m, n in zip(index, middle, SHAPE, strict=True)) < 1
    ball = sum((axis - at) ** 2 for axis, at in zip(index, (27, 26, 16), strict=True)) < 5**2
    values = 300 + np.random.default_rng(0).normal(0, 20, SHAPE)
    image = np.where(ball, 700, values)
    return Head(np.where(brain, image, 0).astype(np.float32), brain, ball & brain)


def test_no_change_is_z_scoring_alone(head: Head) -> None:
    image, label = changed(head, nothing(), 2)
    scored = zscored(head.image, head.brain)
    assert image.shape == (2, *SHAPE) and image.dtype == label.dtype == np.float32
    assert np.allclose(image[0], scored, atol=1e-3)
    assert np.array_equal(label, head.label.astype(np.float32))
    assert changed(head, nothing(), 1)[0].shape == (1, *SHAPE)


def test_the_second_channel_is_the_other_side(head: Head) -> None:
    image, _ = changed(head, nothing(), 2)
    assert np.allclose(image[1], image[0][::-1], atol=1e-4)
    turned, _ = changed(head, replace(nothing(), mirrored=True), 2)
    assert np.allclose(turned, image[::-1], atol=1e-4)  # mirrored, each side is what the other was


MOVES: dict[str, dict[str, Any]] = {
    "turned": {"turned_rad": (0.2, -0.15, 0.2)},
    "smaller": {"scale": (0.85, 0.8, 0.9)},
    "larger": {"scale": (1.2, 1.15, 1.2)},
    "moved": {"moved_voxels": (2.0, -1.5, 1.0)},
    "mirrored": {"mirrored": True},
    "all": {
        "turned_rad": (0.2, 0.2, 0.2),
        "scale": (1.1, 0.9, 1.0),
        "moved_voxels": (1, 1, 1),
        "mirrored": True,
    },
}


@pytest.mark.parametrize("move", MOVES)
def test_a_bright_ball_stays_in_its_label(move: str, head: Head) -> None:
    image, label = changed(head, replace(nothing(), **MOVES[move]), 2)
    inside = label > 0
    bright = image[0] > image[0][inside].mean() / 2
    assert set(np.unique(label)) == {0.0, 1.0}
    assert 2 * (bright & inside).sum() / (bright.sum() + inside.sum()) > 0.9
    assert image[0][inside].mean() > 2.0
    other = image[1] > image[0][inside].mean() / 2
    assert other.any() and not (other & inside).any()  # the other side's ball lies on the other side


def test_it_moves_to_where_it_is_said(head: Head) -> None:
    def centre(**how: Any) -> np.ndarray:
        return np.argwhere(changed(head, replace(nothing(), **how), 1)[1]).mean(axis=0)

    there, middle = centre(), (np.array(SHAPE) - 1) / 2
    assert np.allclose(centre(mirrored=True)[0], SHAPE[0] - 1 - there[0], atol=0.01)
    assert np.linalg.norm(centre(moved_voxels=(0.0, 3.0, 0.0)) - there) == pytest.approx(3.0, abs=0.2)
    assert np.allclose(centre(scale=(1.2,) * 3) - middle, 1.2 * (there - middle), atol=0.3)
    large, small = (changed(head, replace(nothing(), scale=(s,) * 3), 1)[1].sum() for s in (1.2, 0.85))
    assert large / small == pytest.approx((1.2 / 0.85) ** 3, rel=0.1)


@pytest.mark.parametrize(
    "how",
    [
        {"gamma": 1.5},
        {"gamma": 0.7},
        {"bias": np.random.default_rng(1).normal(0, 0.15, (3, 3, 3))},
        {"blur_voxels": (0.6, 0.5, 0.4)},
        {"noise": 0.2, "noise_seed": 3},
    ],
    ids=["darker", "brighter", "bias", "blur", "noise"],
)
def test_intensities_change_and_geometry_does_not(how: dict[str, Any], head: Head) -> None:
    before, label = changed(head, nothing(), 2)
    after, same = changed(head, replace(nothing(), **how), 2)
    assert np.array_equal(label, same)
    assert not after[0][~head.brain].any() and np.isfinite(after).all()
    assert np.abs(after - before)[0][head.brain].mean() > 0.02
    assert np.corrcoef(after[0][head.brain], before[0][head.brain])[0, 1] > 0.75
    assert np.array_equal(after, changed(head, replace(nothing(), **how), 2)[0])


def test_noise_is_as_strong_as_it_is_said(head: Head) -> None:
    quiet, noisy = (changed(head, replace(nothing(), noise=n), 1)[0][0][head.brain] for n in (0.0, 0.2))
    assert (noisy - quiet).std() == pytest.approx(0.2, rel=0.05)


def test_the_same_draw_is_the_same_change_and_all_kinds_come(head: Head) -> None:
    one, other = (drawn_change(np.random.default_rng(5)) for _ in range(2))
    assert all(
        np.array_equal(*pair) for pair in zip(changed(head, one, 2), changed(head, other, 2), strict=True)
    )
    rng = np.random.default_rng(0)
    drawn = [drawn_change(rng) for _ in range(200)]
    for name, share in (("gamma", 0.5), ("bias", 0.5), ("blur_voxels", 0.3)):
        assert np.mean([getattr(d, name) is not None for d in drawn]) == pytest.approx(share, abs=0.12)
    assert np.mean([d.mirrored for d in drawn]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([d.noise > 0 for d in drawn]) == pytest.approx(0.3, abs=0.12)
    for name, low, high in (("turned_rad", -0.21, 0.21), ("scale", 0.7, 1.4), ("moved_voxels", -2, 2)):
        values = np.array([getattr(d, name) for d in drawn])
        assert values.min() >= low and values.max() <= high and (values.std(axis=0) > 0.05).all()
