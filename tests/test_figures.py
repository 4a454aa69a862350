"""Figs/ and benchmarks/selection_curve.py: the pictures of the README, and what one of them shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from benchmarks import selection_curve

SCRIPT = ROOT / "Figs" / "make_figures.py"
ORANGE = (0xE6, 0x9F, 0x00)  # every outline


def make(*options: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def pixels(path: Path, colour: tuple[int, int, int]) -> int:
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(picture - colour).max(axis=-1) < 16).sum())


def check(path: Path) -> None:
    """Small enough for a README, and of the size of the one that is there."""
    assert path.stat().st_size < 500_000
    assert Image.open(path).size == Image.open(ROOT / "Figs" / path.name).size


def test_the_measured_curve_is_drawn(tmp_path: Path) -> None:
    done = make("--only", "selection", "--output", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check(tmp_path / "selection.png")
    for colour in ((0x00, 0x9E, 0x73), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # plain, shifted, real
        assert pixels(tmp_path / "selection.png", colour) > 2000


@pytest.mark.peer
def test_all_figures_are_made_by_one_command(tmp_path: Path) -> None:
    done = make("--output", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("overview", "presets", "selection", "stage1"):
        check(tmp_path / f"{name}.png")
    assert pixels(tmp_path / "overview.png", ORANGE) > 2000
    assert pixels(tmp_path / "presets.png", ORANGE) > 5000


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError(\"No module named 'matplotlib'\")")
    done = make("--output", tmp_path / "out", path=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.endswith("pip install -c requirements.txt matplotlib pillow")


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
