"""The picture of a Stage 1 case."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthtumour.stage1.picture import write_picture
from synthtumour.stage1.synthesis import synthesise, untouched
from synthtumour.volume.reading import read_volume
from tests.conftest import MakeHead
from tests.pictures.conftest import YELLOW, is_colour, panel, phantom, places, rgb


def test_a_case_without_tumour_says_so_and_has_no_outline(tmp_path: Path) -> None:
    before, _, _, brain = phantom("LAS", 0.0)
    array = before.array.copy()
    array[brain.array == 0] = np.nan  # outside the brain it may be anything
    scan = before.with_array(array)
    made = untouched(scan, brain, seed=3, case="free")
    write_picture(tmp_path / "free.png", "free", scan, brain, made)
    picture = rgb(tmp_path / "free.png")
    assert not any(
        is_colour(panel(picture, row, column), YELLOW).any() for row in range(3) for column in range(3)
    )
    assert len(places(picture[:22], "no tumour")) == 1
    written = Image.new("L", (120, 20))
    ImageDraw.Draw(written).text((0, 0), "no tumour", 220, ImageFont.load_default(13))
    words = np.array(written)[:, : int(ImageFont.load_default(13).getlength("no tumour"))]
    bottom = picture[-22:-2, 4 : 4 + words.shape[1], 0]
    assert np.abs(bottom - words).max() < 40


def test_a_picture_costs_less_than_the_synthesis(make_head: MakeHead, tmp_path: Path) -> None:
    path = make_head(size_mm=(150.0, 180.0, 150.0), spacing=(1.0, 1.0, 1.0))
    scan, brain = (read_volume(path.parent / n) for n in ("flair.nii.gz", "flair_brainmask.nii.gz"))
    making, drawing = [], []
    for seed in range(6):
        begin = time.process_time()
        made = synthesise(scan, brain, seed=seed)
        between = time.process_time()
        write_picture(tmp_path / "p.png", "p", scan, brain, made)
        making.append(between - begin)
        drawing.append(time.process_time() - between)
    assert sorted(drawing)[2] < 0.8 * sorted(making)[2]
