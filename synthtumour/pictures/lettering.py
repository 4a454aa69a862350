"""What is written in pictures: headings, legends, letters of the planes, scale bars, captions."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthtumour.pictures.layout import (
    CAPTION,
    CELL,
    FAINT,
    GAP,
    LOW_CELL,
    PLANES,
    TOPS,
    WHITE,
    across_column,
)

TEXT, SMALL = 15, 13  # sizes of text


@lru_cache(maxsize=8)
def lettering(
    headings: tuple[tuple[str, tuple[tuple[str, int], ...]], ...],
) -> tuple[np.ndarray, np.ndarray]:
    """What all pictures with these columns (heading, legend) say, as grey levels, and how much of the image
    shows through it (0 to 1): drawing it for every case took a third of the time.
    """
    size = across_column(len(headings) - 1).stop, TOPS[2] + LOW_CELL + CAPTION
    on_black, on_white = (Image.new("L", size, grey) for grey in (0, 255))
    for picture in (on_black, on_white):
        draw = ImageDraw.Draw(picture)
        for number, (heading, legend) in enumerate(headings):
            across = across_column(number)
            x = across.start + GAP
            entries = [(heading, 0)] if heading else []
            for text, colour in (*entries, *legend):
                if colour:
                    draw.rectangle((x, 9, x + 12, 12), fill=colour)
                    x += 17
                draw.text((x, 3), text, WHITE, font(SMALL))
                x += int(font(SMALL).getlength(text)) + 9
            for (_, name, letters), top in zip(PLANES, TOPS, strict=True):
                _letters(draw, letters, across, top, CELL if name == "axial" else LOW_CELL)
        for (_, name, _), top in zip(PLANES, TOPS, strict=True):
            draw.text((GAP, top + 2), name, FAINT, font(SMALL), stroke_width=1, stroke_fill=0)
    over = np.array(on_black)
    return over, (np.array(on_white) - over).astype(np.float32) / 255


def write_measures(picture: Image.Image, pixels_per_mm: Sequence[float], caption: tuple[str, str]) -> None:
    """Scale bars and caption of a case, on a picture of palette indices."""
    draw = ImageDraw.Draw(picture)
    for number, of_column in enumerate(pixels_per_mm):
        _scale_bar(draw, across_column(number).stop, TOPS[0] + CELL, of_column)
    for text, size, grey, y in ((caption[0], TEXT, WHITE, 5), (caption[1], SMALL, 220, 26)):
        fitting = shortened(text, size, picture.width - 2 * GAP)
        draw.text((GAP, picture.height - CAPTION + y), fitting, grey, font(size))


def _letters(draw: ImageDraw.ImageDraw, letters: str, across: slice, top: int, height: int) -> None:
    middle, centre = top + height / 2, (across.start + across.stop) / 2
    left_and_right = ((across.start + 2, middle, "lm"), (across.stop - 2, middle, "rm"))
    above_and_below = ((centre, top + 1, "mt"), (centre, top + height - 2, "mb"))
    for letter, (x, y, anchor) in zip(letters, left_and_right + above_and_below, strict=True):
        draw.text((x, y), letter, WHITE, font(SMALL), anchor, stroke_width=1, stroke_fill=0)


def _scale_bar(draw: ImageDraw.ImageDraw, right: int, bottom: int, pixels_per_mm: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten mm in the lower right corner of a panel."""
    most = 0.3 * CELL / pixels_per_mm
    power = 10.0 ** math.floor(math.log10(most))
    length = power * max(n for n in (1, 2, 5) if n * power <= most)
    x, y = right - 6, bottom - 6
    draw.rectangle((x - round(length * pixels_per_mm) - 1, y - 4, x, y), fill=WHITE, outline=0)
    draw.text((x, y - 6), f"{length:g} mm", WHITE, font(12), "rb", stroke_width=1, stroke_fill=0)


def shortened(text: str, size: int, width: int) -> str:
    """`text` in ASCII, with dots in its middle if it is wider than `width` pixels."""
    text = _ascii(text)
    whole, kept = text, len(text)
    while kept > 4 and font(size).getlength(text) > width:
        kept -= 1
        text = f"{whole[: (kept + 1) // 2]}...{whole[len(whole) - kept // 2 :]}"
    return text


def _ascii(text: str) -> str:
    """`text` in the letters that Pillow's own font has: accents go, anything else becomes its code."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)
    return printable.encode("ascii", "backslashreplace").decode()


@lru_cache(maxsize=4)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
