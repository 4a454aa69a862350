"""Pictures: what they show and where, whatever way a scan is stored; contact sheets of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

from synthtumour.preview import columns_of, preview_picture
from synthtumour.volume import Volume

YELLOW, SKY_BLUE, VERMILLION = (240, 228, 66), (86, 180, 233), (213, 94, 0)
# Panels of a picture: 240 wide with gaps of 4; rows 240, 200 and 200 high below the headings.
LEFT, TOP, HEIGHT = (0, 244, 488), (22, 266, 470), (240, 200, 200)


def rgb(picture: Path | Image.Image) -> np.ndarray:
    opened = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.array(opened.convert("RGB")).astype(int)


def panel(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    return picture[TOP[row] : TOP[row] + HEIGHT[row], LEFT[column] : LEFT[column] + 240]


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(axis=-1)


def phantom(orientation: str, oblique_deg: float) -> tuple[Volume, Volume, Volume, Volume]:
    """Scan, the same with a bright ball, ball, brain: the ball is right, in front of and above the middle."""
    size, spacing = np.array([70, 90, 50]), np.array([2.0, 1.8, 3.0])
    turn = Rotation.from_euler("xyz", [oblique_deg, -oblique_deg, oblique_deg / 2], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :3] @ (size / 2)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) - (size - 1) / 2
    mm = index * spacing
    brain = ((mm / [60, 72, 62]) ** 2).sum(axis=-1) < 1
    ball = ((mm - [25, 35, 20]) ** 2).sum(axis=-1) < 12**2
    scan = np.where(brain, 100.0 + 10 * np.sin(mm.sum(axis=-1) / 9), 0)
    volumes = []
    for array in (scan, np.where(ball, 160.0, scan), ball.astype(np.uint8), brain.astype(np.uint8)):
        image = Volume.from_array(array.astype(np.float32), affine).to_image()
        volumes.append(Volume.from_image(sitk.DICOMOrient(image, orientation)))
    return volumes[0], volumes[1], volumes[2], volumes[3]


def picture_of(volumes: tuple[Volume, Volume, Volume, Volume]) -> np.ndarray:
    before, after, label, brain = volumes
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    return rgb(preview_picture(columns, ("phantom", "")))


def places(image: np.ndarray, letter: str) -> np.ndarray:
    """Where (row, column) the letter is written, as Pillow draws it by itself."""
    glyph = Image.new("L", (24, 24))
    ImageDraw.Draw(glyph).text(
        (12, 12), letter, 252, ImageFont.load_default(13), "mm", stroke_width=1, stroke_fill=0
    )
    pattern = np.array(glyph)
    rows, columns = np.nonzero(pattern)
    pattern = pattern[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] > 200
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0] > 200, pattern.shape)
    found = np.argwhere((windows == pattern).mean(axis=(2, 3)) > 0.97)
    return found + np.array(pattern.shape) / 2


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
