"""Parts of what is marked, measured, and let through by a gate or not."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from synthtumour.stage2.confidence import LEAST_ML, Gate, Mark, logits_from, marks_in


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    away = [(axis - at) ** 2 for axis, at in zip(np.indices(shape), centre, strict=True)]
    return np.sum(away, axis=0) <= radius**2


@pytest.mark.parametrize("radius_mm", [9.0, 18.0, 27.0])
def test_a_ball_is_as_thick_and_as_large_as_it_is(radius_mm: float) -> None:
    spacing = 3.0
    inside = ball((32, 40, 32), (15, 20, 16), radius_mm / spacing)
    numbers, [(number, mark)] = marks_in(np.where(inside, 2.5, -1.0), spacing)
    assert np.array_equal(numbers == number, inside)
    assert abs(mark.thickness_mm - radius_mm) <= spacing
    assert mark.volume_ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.25)
    assert mark.volume_ml == pytest.approx(inside.sum() * 0.027)
    assert mark.features == (pytest.approx(2.5), np.log(mark.volume_ml))


def test_parts_are_told_apart_and_specks_are_not_looked_at() -> None:
    logits = np.full((40, 24, 24), -2.0)
    one, other = ball(logits.shape, (8, 12, 12), 5), ball(logits.shape, (30, 12, 12), 3)
    logits[one], logits[other] = 4.0, 1.0
    logits[20, 2:4, 2:4] = 9.0  # 0.11 ml
    logits[0, 0, 0:10] = 5.0  # 0.27 ml, at the very edge
    numbers, marks = marks_in(logits, 3.0)
    by_logit = {round(mark.mean_logit): (number, mark) for number, mark in marks}
    assert set(by_logit) == {1, 4, 5}
    assert np.array_equal(numbers == by_logit[4][0], one) and np.array_equal(numbers == by_logit[1][0], other)
    assert by_logit[5][1].thickness_mm == pytest.approx(3.0, abs=1.5)
    assert numbers[20, 2, 2] > 0 and all(mark.volume_ml >= LEAST_ML for _, mark in marks)


def test_parts_hang_together_by_corners() -> None:
    logits = np.full((16, 16, 16), -1.0)
    logits[2:5, 2:5, 2:5] = logits[5:8, 5:8, 5:8] = 1.0
    _, marks = marks_in(logits, 3.0)
    assert [mark.volume_ml for _, mark in marks] == pytest.approx([2 * 27 * 0.027])


def test_nothing_marked_is_no_mark() -> None:
    numbers, marks = marks_in(np.full((8, 8, 8), -0.1), 3.0)
    assert not numbers.any() and marks == []


def test_a_score_is_the_sum_that_is_written_down() -> None:
    gate = Gate((1.0, 0.5), 0.25, 1.0)
    mark = Mark(2.0, 9.0, np.exp(-4.0))
    assert gate.score(mark) == pytest.approx(0.25 + 2.0 - 2.0) and not gate.lets_through(mark)
    assert Gate(**{**asdict(gate), "limit": 0.24}).lets_through(mark)


def test_parts_are_those_that_are_marked_and_voxels_may_be_long() -> None:
    marked = ball((32, 32, 32), (15, 15, 15), 6)
    probability = np.where(marked, 0.4, 0.0)
    _, [(_, mark)] = marks_in(logits_from(probability), np.array([1.0, 2.0, 3.0]), marked)
    assert mark.mean_logit == pytest.approx(np.log(0.4 / 0.6))
    assert mark.volume_ml == pytest.approx(marked.sum() * 0.006) and mark.thickness_mm == pytest.approx(
        7, abs=1
    )


def test_logits_of_certain_probabilities_are_finite() -> None:
    certain, half = logits_from(np.array([0.0, 1.0], np.float32)), logits_from(np.array([0.5]))
    assert certain == pytest.approx([-13.8, 13.8], abs=0.1) and half == pytest.approx([0])
