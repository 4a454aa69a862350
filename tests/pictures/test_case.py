"""The picture of a case: what it shows and where, whatever way a scan is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synthtumour.pictures.case import BRATS, REFINED, Column, columns_of, look_of, preview_picture
from tests.conftest import ROOT, MakeHead
from tests.pictures.conftest import (
    OKABE_ITO,
    SKY_BLUE,
    VERMILION,
    YELLOW,
    is_colour,
    panel,
    phantom,
    picture_of,
    places,
    rgb,
)


@pytest.mark.parametrize("oblique_deg", [0.0, 12.0])
def test_the_tumour_lies_towards_its_letters_however_the_scan_is_stored(oblique_deg: float) -> None:
    pictures = [picture_of(phantom(orientation, oblique_deg)) for orientation in ("RAS", "LPS", "LAS", "PIR")]
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 1
    # right and anterior; right and superior; anterior and superior: all towards the upper left
    for row, (left, right, top, bottom) in enumerate(("RLAP", "RLSI", "APSI")):
        bright = panel(pictures[0], row, 1)[..., 0] > 240
        y, x = np.argwhere(is_colour(panel(pictures[0], row, 2), YELLOW)).mean(axis=0)
        shown = panel(pictures[0], row, 0)
        middle = np.array(shown.shape[:2]) / 2
        assert y < middle[0] - 15 and x < middle[1] - 15 and bright[int(y), int(x)]
        sides = ((left, (0, -1)), (right, (0, 1)), (top, (-1, 0)), (bottom, (1, 0)))
        for letter, towards in sides:
            offsets = [place - middle for place in places(shown, letter)]
            assert any(o @ towards > 80 and np.abs(o).min() < 12 for o in offsets), (letter, offsets)


def test_before_after_and_outline_are_apart() -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    picture = picture_of((before, after, label, brain))
    for row in range(3):
        first, second, third = (panel(picture, row, column) for column in range(3))
        changed = np.abs(second - first).max(axis=-1) > 60
        assert changed.sum() > 500  # the ball of 24 mm at more than 1 pixel a mm
        assert not any(is_colour(p, YELLOW).any() for p in (first, second))
        outline = is_colour(third, YELLOW)
        assert outline.sum() > 80 and changed[outline].mean() > 0.9
        # dark on both sides of the outline, so that it shows on the bright ball too
        assert ((third == 0).all(axis=-1) & changed).sum() > 40


def test_brats_values_have_colours_that_the_colour_blind_tell_apart() -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    labels = label.array.astype(np.uint8) * 2
    i, j, k = (int(n) for n in np.argwhere(labels).mean(axis=0))
    labels[i - 3 : i + 3, j - 3 : j + 3, k - 2 : k + 2] = 3
    labels[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1
    columns = columns_of("before", before, "after", after, labels, brain.array, BRATS)
    picture = panel(rgb(preview_picture(columns, ("phantom", ""))), 0, 2)
    assert all(is_colour(picture, colour).sum() > 10 for colour in (YELLOW, SKY_BLUE, VERMILION))
    assert {YELLOW, SKY_BLUE, VERMILION} < OKABE_ITO


def test_without_pillow_a_preview_is_refused_before_any_work(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head("in/s0")
    (tmp_path / "without/PIL").mkdir(parents=True)
    (tmp_path / "without/PIL/__init__.py").write_text("raise ModuleNotFoundError('No module named PIL')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "without")}
    for script, *arguments in (
        (
            "resect_multi_tumor.py",
            scan,
            tmp_path / "i.nii",
            tmp_path / "l.nii",
            "--preview",
            tmp_path / "p.png",
        ),
        ("prompt_multi_tumor.py", "-i", tmp_path / "in", "-o", tmp_path / "Dataset001_X", "--preview"),
        ("stage2_mixed_with_pseudo_label.py", "--preview")
        + tuple(f"--{name}={tmp_path}" for name in ("imagesTr_path", "labelsTr_path", "healthyimgTr")),
    ):
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "pip install pillow" in done.stderr, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"in", "without"}


def test_a_label_from_before_is_outlined_below_the_refined_one() -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    i, j, k = (int(n) for n in np.argwhere(label.array > 0).mean(axis=0))
    smaller = np.zeros(label.array.shape, np.uint8)
    smaller[i - 2 : i + 3, j - 2 : j + 3, k - 1 : k + 2] = 1
    look = look_of(before, after, label.array > 0, brain.array > 0)
    columns = [
        Column("", after.array, label.array, look, REFINED, smaller),
        Column("", after.array, label.array, look, REFINED, label.array),  # nothing was changed
        Column("", after.array, None, look, REFINED, smaller),
    ]
    drawn = rgb(preview_picture(columns, ("phantom", "")))
    for row in range(3):
        yellow, blue = (is_colour(panel(drawn, row, 0), colour) for colour in (YELLOW, SKY_BLUE))
        inner, outer = np.argwhere(blue), np.argwhere(yellow)
        assert 20 < len(inner) < len(outer)
        assert (inner.min(axis=0) > outer.min(axis=0)).all() and (inner.max(axis=0) < outer.max(axis=0)).all()
        same = panel(drawn, row, 1)
        assert np.array_equal(is_colour(same, YELLOW), yellow) and not is_colour(same, SKY_BLUE).any()
        alone = panel(drawn, row, 2)
        assert np.array_equal(is_colour(alone, SKY_BLUE), blue) and not is_colour(alone, YELLOW).any()
