"""benchmarks/selection_curve.py: its rules choose what they say."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks import selection_curve
from tests.conftest import ROOT


def test_rules_choose_what_they_say() -> None:
    scores = [
        {"training_loss": 0.3, "plain": {"a": 0.5}, "shifted": {"a": 0.5}, "real": {"p": 0.5, "q": 0.7}},
        {"training_loss": 0.1, "plain": {"a": 0.7}, "shifted": {"a": 0.8}, "real": {"p": 0.9, "q": 0.1}},
        {"training_loss": -0.4, "plain": {"a": 0.9}, "shifted": {"a": 0.8}, "real": {"p": 0.2, "q": 0.2}},
        {"training_loss": -0.3, "plain": {"a": 0.8}, "shifted": {"a": 0.6}, "real": {"p": 0.1, "q": 0.2}},
    ]
    curve = selection_curve.curve_of([{"iterations": 12 * n, **row} for n, row in enumerate(scores, 1)])
    assert curve["chosen_by"].tolist() == [
        "best on the real tumours",
        "best shifted validation",
        "lowest training loss; best plain validation",
        "last checkpoint",
    ]
    (line,) = (line for line in selection_curve.table(curve).splitlines() if "shifted validation" in line)
    assert line == "| best shifted validation | 24 | 0.100 | 0.700 | 0.800 | **0.500** (0.90, 0.10) |"


def test_the_curve_that_is_there_chooses_by_its_own_numbers() -> None:
    curve = pd.read_csv(ROOT / "benchmarks/selection_curve.csv", keep_default_na=False)
    for rule, number in selection_curve.chosen(curve).items():
        assert rule in curve["chosen_by"][number]
    assert curve["real"].to_numpy() == pytest.approx(curve.filter(like="real_").mean(axis=1), abs=2e-4)
