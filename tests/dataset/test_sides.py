"""Who validates, and which scans stay without a tumour."""

from __future__ import annotations

import pytest

from synthtumour.dataset.sides import tumour_free, validation_subjects


def test_split_by_rank_of_a_hash() -> None:
    subjects = [f"s{n}" for n in range(60)]
    held_out = validation_subjects(subjects, 0.5, seed=0)
    assert len(held_out) == 30
    assert held_out == validation_subjects(reversed(subjects * 3), 0.5, seed=0)
    assert held_out != validation_subjects(subjects, 0.5, seed=1)
    # a larger fraction only adds subjects
    assert held_out < validation_subjects(subjects, 0.7, seed=0)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(3, 0.5, 2), (2, 0.01, 1), (2, 0.99, 1), (10, 0.2, 2), (10, 0.0, 0), (1, 0.4, 0), (60, 0.25, 15)],
)
def test_size_of_the_validation_side(count: int, fraction: float, expected: int) -> None:
    assert len(validation_subjects([f"s{n}" for n in range(count)], fraction, seed=5)) == expected


def test_tumour_free_scans() -> None:
    scans = [f"s{n}" for n in range(10)]
    assert tumour_free(scans, 0.0, 0) == set()
    assert len(tumour_free(scans, 0.3, 0)) == 3
    assert len(tumour_free(scans, 0.01, 0)) == 1
    assert tumour_free(scans, 1.0, 0) == set(scans)
