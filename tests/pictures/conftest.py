"""A phantom, its picture, and where things are in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

from synthtumour.pictures.case import columns_of, preview_picture
from synthtumour.volume.volume import Volume

YELLOW, SKY_BLUE, VERMILION = (240, 228, 66), (86, 180, 233), (213, 94, 0)


OKABE_ITO = {(230, 159, 0), SKY_BLUE, (0, 158, 115), YELLOW, (0, 114, 178), VERMILION, (204, 121, 167)}


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


def places(image: np.ndarray, text: str, size: int = 13) -> np.ndarray:
    """Where (row, column) of its middle the text is written, as Pillow draws it by itself."""
    font = ImageFont.load_default(size)
    written = Image.new("L", (int(font.getlength(text)) + 12, 2 * size))
    ImageDraw.Draw(written).text((6, 2), text, 252, font)
    pattern = np.array(written) > 200
    rows, columns = np.nonzero(pattern)
    pattern = pattern[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0] > 200, pattern.shape)
    found = np.argwhere((windows == pattern).mean(axis=(2, 3)) > 0.97)
    return found + np.array(pattern.shape) / 2
