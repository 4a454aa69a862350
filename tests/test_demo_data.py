"""The script that simulates brains, as far as it goes without the atlas."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from DemoData.make_demo_data import RECIPES, Noise, draw_recipe

SCRIPT = Path(__file__).parent.parent / "DemoData" / "make_demo_data.py"


def test_a_seed_and_a_number_are_a_subject() -> None:
    assert draw_recipe(7, 1) == draw_recipe(7, 1)
    drawn = [draw_recipe(7, number) for number in range(1, 101)] + [draw_recipe(8, 1)]
    assert len({recipe.name for recipe in drawn}) == len({recipe.seed for recipe in drawn}) == len(drawn)
    assert {recipe.orientation for recipe in drawn} == {"RAS", "LPS", "PIR"}
    assert not any(recipe.band_mm for recipe in drawn)


def test_bands_change_those_that_have_them_alone() -> None:
    plain, some = ([draw_recipe(7, n, share) for n in range(1, 101)] for share in (0.0, 0.5))
    old = [recipe for recipe in some if recipe.band_mm]
    assert 30 < len(old) < 70 and all(recipe.name.endswith("b") and recipe.band_level for recipe in old)
    for one, other in zip(plain, some, strict=True):
        assert one == (replace(other, name=one.name, band_mm=0.0, band_level=0.0) if other in old else other)


def test_new_subjects_are_as_varied_as_those_of_the_demo() -> None:
    drawn = [asdict(draw_recipe(7, number)) for number in range(1, 201)]
    names = ("ventricle_growth", "csf_bias", "cortex_thickness", "white", "grey", "fluid", "noise", "spots")
    for recipe in map(asdict, RECIPES):
        for name in names:
            values = [other[name] for other in drawn]
            slack = 0.05 * (max(values) - min(values))
            assert min(values) - slack <= recipe[name] <= max(values) + slack, name


@pytest.mark.parametrize("sigma", [0.6, 3.0, 9.0, 24.0])
def test_noise_by_axes_is_the_same_noise(sigma: float) -> None:
    shape = (60, 50, 40)
    slow, quick = (Noise(np.random.default_rng(3), shape, by_axes).smooth(sigma) for by_axes in (False, True))
    assert slow.shape == quick.shape == shape
    assert 0.3 < slow.std() < 2.0  # of unit variance, but wide fields vary little in a small box
    inner = (slice(8, -8),) * 3
    assert np.abs(slow - quick)[inner].max() < 0.02 and np.abs(slow - quick).max() < 0.5


@pytest.mark.parametrize(
    "options",
    ["--subjects 2", "--subjects 0 --output o", "--workers 0", "--seed 7", "--bands 1"]
    + ["--subjects 2 --output o --seed -1", "--subjects 2 --output o --bands 2"],
)
def test_bad_options_are_told(options: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *options.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "error: --" in done.stderr
    assert not any(tmp_path.iterdir())


def test_one_head_is_not_two_subjects(tmp_path: Path) -> None:
    banded = next(recipe for recipe in (draw_recipe(7, n, 0.5) for n in range(1, 9)) if recipe.band_mm)
    (tmp_path / banded.name).mkdir()
    options = ["--subjects", "8", "--seed", "7", "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True)
    assert done.returncode == 2 and f"{banded.name}: the same head, with other --bands" in done.stderr
