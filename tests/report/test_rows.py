"""Rows of a manifest as figures and page read them."""

from __future__ import annotations

import math

import pytest

from synthtumour.report.rows import contrast, number, short, tumours, volume


def test_the_first_column_with_a_number() -> None:
    assert number({"a": "", "b": 2.5}, "a", "b", "c") == 2.5
    assert number({"a": 1, "b": 2.5}, "a", "b") == 1
    for nothing in ({}, {"a": ""}, {"a": None}, {"a": "7"}, {"a": math.nan}, {"a": math.inf}):
        assert number(nothing, "a") is None


def test_both_stages_have_a_contrast() -> None:
    assert contrast({"contrast": 1.5}) == contrast({"contrast_mixed": 1.5}) == 1.5
    assert (volume({"volume_ml": 3.25}), tumours({"tumours": 2})) == (3.25, 2)


@pytest.mark.parametrize(
    ("value", "text"), [(1.23456, "1.23"), (0.0012345, "0.00123"), (123.4, "123"), (1234567.0, "1234567")]
)
def test_three_digits_and_all_before_the_point(value: float, text: str) -> None:
    assert short(value) == text
