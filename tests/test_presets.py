"""The numbers of the published tool, and presets by name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from synthtumour.presets import GLIOMA, PRESETS, preset_of


def test_paper_has_the_published_numbers() -> None:
    """Zhang et al., Medical Image Analysis 2025."""
    paper = PRESETS["paper"]
    assert (paper.min_volume_mm3, paper.max_volume_mm3) == (20_000, 80_000)
    assert (paper.intensity_range, paper.core_intensity_range) == ((1.5, 5.0), (0.8, 1.2))
    assert (paper.core_probability, paper.max_axis_ratio) == (0.1, 2.0)
    assert (paper.blur_sigma_mm, paper.buffer_sigma_mm, paper.label_threshold) == (5.0, 1.0, 0.1)


def test_a_preset_is_named_or_given() -> None:
    for name, preset in PRESETS.items():
        assert preset_of(name) is preset and preset.name == name
    own = replace(PRESETS["paper"], core_probability=1.0)
    assert preset_of(own) is own
    with pytest.raises(ValueError, match=r"preset 'papre': must be one of \['diverse', 'paper'\]"):
        preset_of("papre")


def test_nobody_changes_a_preset_for_everybody() -> None:
    with pytest.raises(FrozenInstanceError):
        PRESETS["paper"].core_probability = 1.0  # type: ignore[misc]


def test_the_kinds_of_core_share_all_cores() -> None:
    assert sum(kind.share for kind in GLIOMA.cores) == pytest.approx(1)
