"""The picture of a refined label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthtumour.stage2.pseudo_labels import Head
from synthtumour.stage2.refine_picture import write_picture
from tests.pictures.conftest import SKY_BLUE, YELLOW, is_colour, panel, phantom, rgb


def test_before_alone_then_before_and_after(tmp_path: Path) -> None:
    _, scan, label, brain = phantom("RAS", 0.0)
    i, j, k = (int(n) for n in np.argwhere(label.array > 0).mean(axis=0))
    before = np.zeros(label.array.shape, np.uint8)
    before[i - 2 : i + 3, j - 2 : j + 3, k - 1 : k + 2] = 3
    write_picture(tmp_path / "a.png", "a", "", Head((scan,), brain.array > 0), before, label.array * 2)
    drawn = rgb(tmp_path / "a.png")
    for row in range(3):
        blue, yellow = (
            [is_colour(panel(drawn, row, column), colour).sum() for column in range(3)]
            for colour in (SKY_BLUE, YELLOW)
        )
        assert blue[0] == 0 and blue[1] == blue[2] > 20
        assert yellow[:2] == [0, 0] and yellow[2] > 80


def test_of_an_empty_label_the_scan_is_shown(tmp_path: Path) -> None:
    _, scan, label, brain = phantom("RAS", 0.0)
    nothing = np.zeros(label.array.shape, np.uint8)
    write_picture(tmp_path / "a.png", "a", "", Head((scan,), brain.array > 0), nothing, nothing)
    drawn = rgb(tmp_path / "a.png")
    assert not any(
        is_colour(panel(drawn, 0, column), c).any() for column in range(3) for c in (SKY_BLUE, YELLOW)
    )
    assert (panel(drawn, 0, 2) > 60).any()
