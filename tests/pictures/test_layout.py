"""Panels and palette of a picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from synthtumour.pictures import layout
from tests.pictures.conftest import HEIGHT, LEFT, OKABE_ITO, TOP


def test_panels_lie_where_the_tests_of_pictures_look_for_them() -> None:
    assert [layout.across_column(n) for n in range(3)] == [slice(left, left + 240) for left in LEFT]
    assert layout.TOPS == TOP and (layout.CELL, layout.LOW_CELL, layout.LOW_CELL) == HEIGHT


def test_grey_levels_and_colours_that_the_colour_blind_tell_apart() -> None:
    indices = np.arange(256, dtype=np.uint8)[np.newaxis]
    made = layout.png(layout.with_palette(Image.fromarray(indices, mode="P")))
    shown = np.array(Image.open(io.BytesIO(made)).convert("RGB"))[0]
    greys = shown[: layout.WHITE + 1]
    assert (greys == greys[:, :1]).all() and (np.diff(greys[:, 0].astype(int)) >= 1).all()
    assert greys[0].tolist() == [0] * 3 and greys[-1].tolist() == [255] * 3
    colours = {tuple(shown[n].tolist()) for n in (layout.YELLOW, layout.SKY_BLUE, layout.VERMILION)}
    assert colours < OKABE_ITO and len(colours) == 3
