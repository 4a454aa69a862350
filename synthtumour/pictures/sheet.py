"""The contact sheet of a run, cut from the pictures of its cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from synthtumour.errors import InputError
from synthtumour.files.staging import write_bytes
from synthtumour.pictures.layout import CELL, GAP, HEADING, TOPS, WHITE, across_column, png, with_palette
from synthtumour.pictures.lettering import SMALL, TEXT, font, shortened
from synthtumour.text import counted, evenly, volume_text

_SHEET_CASES, _SHEET_COLUMNS, _SHEET_TEXT = 54, 6, 38  # less than 3000 pixels high
_SIDES = {"train": "training", "val": "validation", "": "refined"}  # the last where there is no split


def write_contact_sheet(path: Path, rows: Sequence[Mapping[str, object]], pictures: Path, title: str) -> None:
    """Write the `contact_sheet` as PNG; one that shows the same is left alone."""
    write_bytes(png(contact_sheet(rows, pictures, title)), path)


def contact_sheet(rows: Sequence[Mapping[str, object]], pictures: Path, title: str) -> Image.Image:
    """The outlined axial plane of some of the cases in `rows`, evenly chosen from each side of the split.

    `rows` are a manifest's (case, status, volume_ml, split if there is one), `pictures` is the folder of what
    was drawn of those that were made. Raises InputError for one that cannot be read.
    """
    there = [row for row in rows if row["status"] == "made"]
    sides = {side: [row for row in there if row.get("split", "") == side] for side in _SIDES}
    sides = {side: cases for side, cases in sides.items() if cases}
    chosen = {
        side: evenly(cases, _share(len(cases), len(there), len(sides))) for side, cases in sides.items()
    }
    columns = min(_SHEET_COLUMNS, max(3, *map(len, chosen.values())))
    step = CELL + _SHEET_TEXT
    heights = {side: HEADING + GAP + step * math.ceil(len(cases) / columns) for side, cases in chosen.items()}
    size = columns * (CELL + GAP) - GAP, HEADING + sum(heights.values())
    sheet = Image.new("L", size)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 4), shortened(title, TEXT, size[0] - 2 * GAP), WHITE, font(TEXT))
    top = HEADING
    for side, cases in chosen.items():
        shown = f"{len(cases)} of {counted(len(sides[side]), 'case')}"
        draw.rectangle((0, top, size[0], top + HEADING), fill=45)
        draw.text((GAP, top + 4), f"{_SIDES[side]}: {shown}", WHITE, font(TEXT))
        for number, row in enumerate(cases):
            x = number % columns * (CELL + GAP)
            y = top + HEADING + GAP + number // columns * step
            sheet.paste(_thumbnail(pictures / f"{row['case']}.png"), (x, y))
            said = ", ".join(filter(None, (side, volume_text(float(str(row["volume_ml"]))))))
            draw.text(
                (x + GAP, y + CELL),
                shortened(str(row["case"]), SMALL, CELL - GAP),
                WHITE,
                font(SMALL),
            )
            draw.text((x + GAP, y + CELL + 15), said, 200, font(SMALL))
        top += heights[side]
    return with_palette(sheet)


def _share(count: int, total: int, sides: int) -> int:
    """How many of a side's `count` cases are shown: as large a part as of the `total`, and at least one."""
    most = _SHEET_CASES - (sides - 1)
    return count if total <= _SHEET_CASES else min(count, most, max(1, round(_SHEET_CASES * count / total)))


def _thumbnail(picture: Path) -> Image.Image:
    """The outlined axial plane of a case's picture, in palette indices."""
    left = across_column(2).start
    try:
        with Image.open(picture) as opened:
            indices = np.array(opened.crop((left, TOPS[0], left + CELL, TOPS[0] + CELL)))
    except OSError as error:
        raise InputError(f"{picture}: cannot be read ({error}); run the same command again") from error
    return Image.fromarray(indices)
