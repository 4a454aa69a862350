"""The three rules of the validation task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthtumour.presets import PRESETS, Preset
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, synthesised


@pytest.mark.parametrize("preset", [PLAIN, replace(PRESETS["paper"], max_volume_mm3=40_000.0)])
def test_validation_tasks_are_three_rules(head: tuple[Volume, Volume], preset: Preset) -> None:
    preset = replace(preset, core_probability=0.0)
    values = {}
    for rule in ("scaled", "flat", "rings"):
        case = synthesised(head, replace(preset, val_task=rule), task="val")
        mask = case.label.array > 0
        values[rule] = case.image.array[mask] / np.maximum(head[0].array[mask], 1)
        assert np.array_equal(case.image.array[~mask], head[0].array[~mask])
        assert case.record["rendering"]["val_task"] == rule
        if rule == "flat":
            assert len(np.unique(case.image.array[mask])) == 1
    assert np.ptp(values["scaled"]) < 0.1  # one factor everywhere, but for rounding
    assert 0.3 < (values["rings"] < 1).mean() < 0.7 and (values["rings"] > 1).any()


def test_mixed_validation_tasks_are_drawn_for_each_case(head: tuple[Volume, Volume]) -> None:
    preset = replace(PLAIN, val_task="mixed")
    rules = {
        synthesised(head, preset, task="val", case=f"c{n}").record["rendering"]["val_task"] for n in range(12)
    }
    assert rules == {"scaled", "flat", "rings"}
