"""Parts of what is marked, measured, and the gate that parts false ones from real ones."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from synthtumour.pilot.gate import LEAST_ML, Gate, Mark, chosen_gate, marks_in


def ball(shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float) -> np.ndarray:
    away = [(axis - at) ** 2 for axis, at in zip(np.indices(shape), centre, strict=True)]
    return np.sum(away, axis=0) <= radius**2


def drawn(count: int, logit: float, ml: float, seed: int) -> list[Mark]:
    rng = np.random.default_rng(seed)
    sizes = ml * np.exp(rng.normal(0, 0.1, count).clip(-0.2, 0.2))
    return [Mark(logit + rng.normal(0, 0.2), 5.0, float(size)) for size in sizes]


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


def test_what_can_be_told_apart_is() -> None:
    false = drawn(40, 0.5, 1.0, seed=1)
    small, large = drawn(15, 2.6, 8.0, seed=2), drawn(25, 3.0, 60.0, seed=3)
    gate, said = chosen_gate(false, small + large)
    assert gate is not None
    assert not any(map(gate.lets_through, false)) and all(map(gate.lets_through, small + large))
    assert said == {
        "false_marks": 40,
        "synthetic_marks": 40,
        "false_kept": 0.0,
        "synthetic_small_kept": 1.0,
        "synthetic_large_kept": 1.0,
    }
    assert all(weight > 0 for weight in gate.weights)  # surer, larger


def test_what_overlaps_loses_tumours_rather_than_keeping_false_marks() -> None:
    false, real = drawn(60, 1.0, 25.0, seed=4), drawn(60, 1.2, 25.0, seed=5)
    gate, said = chosen_gate(false, real)
    assert gate is not None
    assert said["false_kept"] <= 0.02 and 0 < said["synthetic_large_kept"] < 0.9
    kept = [gate.lets_through(mark) for mark in real]
    assert said["synthetic_large_kept"] == np.mean(kept) and "synthetic_small_kept" not in said


def test_the_gate_does_not_hang_on_the_order_of_marks_nor_on_units() -> None:
    false, real = drawn(30, 0.5, 1.0, seed=6), drawn(30, 2.5, 30.0, seed=7)
    gate, said = chosen_gate(false, real)
    again, said_again = chosen_gate(false[::-1], real[::-1])
    assert gate is not None and again is not None and said == said_again
    assert [*gate.weights, gate.intercept, gate.limit] == pytest.approx(
        [*again.weights, again.intercept, again.limit], rel=1e-3
    )
    between = Mark(1.5, 7.0, 10.0)
    assert gate.lets_through(between) == (gate.score(between) >= gate.limit)


@pytest.mark.parametrize(("false", "real"), [(4, 30), (30, 4), (0, 0)])
def test_too_few_marks_make_no_gate(false: int, real: int) -> None:
    gate, said = chosen_gate(drawn(false, 0, 1, seed=1), drawn(real, 3, 30, seed=2))
    assert gate is None and said == {"false_marks": false, "synthetic_marks": real}


def test_marks_that_are_all_alike_still_make_a_gate() -> None:
    same = Mark(1.0, 5.0, 30.0)
    gate, said = chosen_gate([same] * 6, [same] * 6)
    assert gate is not None and np.isfinite([*gate.weights, gate.intercept, gate.limit]).all()
    assert said["false_kept"] == said["synthetic_large_kept"] == 0.0


def test_a_score_is_the_sum_that_is_written_down() -> None:
    gate = Gate((1.0, 0.5), 0.25, 1.0)
    mark = Mark(2.0, 9.0, np.exp(-4.0))
    assert gate.score(mark) == pytest.approx(0.25 + 2.0 - 2.0) and not gate.lets_through(mark)
    assert Gate(**{**asdict(gate), "limit": 0.24}).lets_through(mark)
