"""What a label marks, against a ball of known volume, place and brightness."""

from __future__ import annotations

import numpy as np
import pytest

from synthtumour.brain.measures import black_level, contrast, measure, rim_of
from synthtumour.volume.grid import Grid

GRID = Grid((40, 40, 40), np.array([[2.0, 0, 0, -40], [0, 2, 0, -30], [0, 0, 2, 10], [0, 0, 0, 1]]))
X, Y, Z = np.indices(GRID.shape)
BRAIN = (np.abs([X - 20, Y - 20, Z - 20]) < 18).all(axis=0)
BALL = (X - 18) ** 2 + (Y - 22) ** 2 + (Z - 20) ** 2 <= 6**2
SCAN = np.where(BALL, 300.0, 100.0) * BRAIN


def test_a_ball_of_known_size_place_and_brightness() -> None:
    measured = measure(SCAN, BALL, BRAIN, GRID)
    assert measured["volume_ml"] == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.05)
    assert measured["centre_ras_mm"] == [-4, 14, 50]
    assert measured["mean_inside"] == pytest.approx(300) and measured["mean_rim"] == pytest.approx(100)
    assert measured["contrast"] == pytest.approx(3)


def test_contrast_counts_from_what_is_black() -> None:
    """100 and 300 above a black of -100: 200 and 400."""
    tissue = BRAIN & ~BALL
    assert contrast(SCAN, BALL, BALL, tissue, GRID) == pytest.approx(3)
    assert contrast(SCAN, BALL, BALL, tissue, GRID, black=-100.0) == pytest.approx(2)
    assert contrast(SCAN, BALL, BALL, tissue, GRID, black=100.0) is None  # tissue as dark as black
    assert contrast(SCAN, BALL, BALL, np.zeros_like(tissue), GRID) is None


def test_the_rim_is_a_shell_of_a_few_millimetres() -> None:
    """Not the voxels that the border crosses, and not the far ones, whatever is bright there."""
    far = (X - 18) ** 2 + (Y - 22) ** 2 + (Z - 20) ** 2 > 10**2
    assert contrast(np.where(far, 5000.0, SCAN), BALL, BALL, BRAIN & ~BALL, GRID) == pytest.approx(3)
    rim = rim_of(BALL, GRID)
    assert rim.any() and not (rim & (BALL | far)).any()


def test_nothing_marked_measures_nothing() -> None:
    measured = measure(SCAN, np.zeros_like(BALL), BRAIN, GRID)
    assert measured.pop("volume_ml") == 0 and set(measured.values()) == {None}


def test_black_is_0_or_the_darkest_thousandth() -> None:
    assert black_level(SCAN, BRAIN) == 0
    scored = np.where(BRAIN, np.random.default_rng(0).normal(size=BRAIN.shape), 0)
    assert black_level(scored, BRAIN) == pytest.approx(-3.09, abs=0.15)  # of a normal distribution
