"""Options of Stage 2 become Mixing and GateLimits, written with - or with _."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import pytest

from synthtumour.options.mixing import (
    add_mixing_options,
    add_rare_mixing_options,
    add_refinement_options,
    limits_from,
    mixing_from,
)
from synthtumour.presets import GateLimits, Mixing, Refinement

LINE = (
    "--align none --scale-per-axis --mirror-probability 0.25 --jitter 3 --carve distance --blend hard "
    "--buffer-sigma 2.5 --min-remaining 0.5 --min-island-ml 0.1 --max-components 2 --max-hole-ml 4 "
    "--min-volume-ml 0.5 --max-brain-fraction 0.3 --max-outside-fraction 0.1 --min-contrast 0.2 "
    "--min-confidence 0.8 --min-logit 2.7 --refine-mm 9 --refine-level 0.4"
).split()
MIXING = Mixing("none", True, 0.25, 3.0, "distance", "hard", 2.5, 0.5)
LIMITS = GateLimits(0.1, 2, 4.0, 0.5, 0.3, 0.1, 0.2, 0.8, 2.7, Refinement(reach_mm=9.0, level=0.4))


def parsed(*line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_mixing_options(parser)
    add_refinement_options(parser)
    add_rare_mixing_options(parser.add_argument_group("rarely needed"))
    return parser.parse_args(line)


def test_without_options_all_is_as_the_presets_say() -> None:
    assert mixing_from(parsed()) == Mixing() and limits_from(parsed()) == GateLimits()


@pytest.mark.parametrize("sign", ["-", "_"])
def test_every_option_is_heeded_and_may_be_written_either_way(sign: str) -> None:
    line = [f"--{word[2:].replace('-', sign)}" if word.startswith("--") else word for word in LINE]
    assert mixing_from(parsed(*line)) == MIXING and limits_from(parsed(*line)) == LIMITS
    assert limits_from(parsed("--refine", "off")).refinement is None
    for given, usual in ((MIXING, Mixing()), (LIMITS, GateLimits())):  # so that none passes by its default
        same = {name for name, value in asdict(given).items() if value == getattr(usual, name)}
        assert not same
