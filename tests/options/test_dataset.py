"""Options that only a Stage 1 dataset has."""

from __future__ import annotations

import argparse

import pytest

from synthtumour.options.dataset import add_dataset_options, add_layout_options, dataset_preset_from
from synthtumour.options.tumours import add_rare_tumour_options, add_tumour_options
from synthtumour.presets import PRESETS


def parsed(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_dataset_options(parser)
    add_tumour_options(parser)
    rare = parser.add_argument_group("rarely needed")
    add_layout_options(rare)
    add_rare_tumour_options(rare)
    return parser.parse_args(line)


def test_without_options_the_preset_is_as_it_is() -> None:
    assert dataset_preset_from(parsed()) == PRESETS["diverse"]
    assert dataset_preset_from(parsed("--preset", "paper")) == PRESETS["paper"]


def test_options_go_over_the_preset() -> None:
    preset = dataset_preset_from(
        parsed("--preset", "diverse", "--without-tumour", "0.4", "--head-scale", "1", "1.1")
    )
    assert preset.tumour_free_probability == 0.4 and preset.head_scale == (1.0, 1.1)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("--tumour-free-fraction", "--add-untouched", "add_untouched"),
        ("--tumour-free-probability", "--without-tumour", "without_tumour"),
    ],
)
def test_the_names_of_before_are_taken_and_not_shown(
    old: str, new: str, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert getattr(parsed(old, "0.3"), field) == getattr(parsed(new, "0.3"), field) == 0.3
    with pytest.raises(SystemExit):
        parsed("--help")
    said = capsys.readouterr().out
    assert new in said and old not in said


def test_subjects_add_up() -> None:
    assert parsed("--subjects", "a", "b", "--subjects", "c").subjects == ["a", "b", "c"]
