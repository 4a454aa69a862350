"""What is written in pictures."""

from __future__ import annotations

import numpy as np
import pytest

from synthtumour.pictures.case import columns_of, preview_picture
from tests.pictures.conftest import YELLOW, is_colour, panel, phantom, picture_of, places, rgb


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    before, after, label, brain = phantom("LPS", 0.0)
    picture = picture_of((before, after, label, brain))
    bar = (panel(picture, 0, 0)[231:233] == 255).all(axis=(0, 2))
    ball = is_colour(panel(picture, 0, 2), YELLOW)
    pixels, voxels = np.flatnonzero(ball.any(axis=0)), np.flatnonzero(label.array.any(axis=(1, 2)))
    ball_mm = 2.0 * (voxels[-1] - voxels[0] + 1)
    assert bar.sum() / 50 == pytest.approx((pixels[-1] - pixels[0] + 1) / ball_mm, rel=0.05)
    assert len(places(panel(picture, 0, 0), "50 mm", 12)) == 1


@pytest.mark.parametrize(
    "name", ["Žofie_腦瘤", "\udce9t\udce9", "a\nb\x1b[31m", "x" * 300, "", "-rf; *"], ids=ascii
)
def test_any_name_can_be_written(name: str) -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    picture = rgb(preview_picture(columns, (name, "1.0 ml")))
    assert picture.shape == (718, 728, 3)
    assert (picture[670:690].max() > 200) == bool(name)
