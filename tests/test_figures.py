"""Figs/make_figures.py: the pictures of the README."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

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
    for name in ("cases", "failures", "mixed", "overview", "presets", "segmented", "selection", "stage1"):
        check(tmp_path / f"{name}.png")
    assert pixels(tmp_path / "overview.png", ORANGE) > 2000
    assert pixels(tmp_path / "presets.png", ORANGE) > 5000


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError(\"No module named 'matplotlib'\")")
    done = make("--output", tmp_path / "out", path=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.endswith("pip install -c requirements.txt matplotlib pillow")
