"""Pictures of what was made, as PNG: one a case, and the contact sheet of a run.

The columns of a case are the image before, after, and after with the label outlined; its rows are the axial,
coronal and sagittal plane through the largest tumour, as a radiologist sees them: the patient's right is on
the left, anterior and superior are up, and in the sagittal plane anterior is on the left. All panels have the
same scale and place, so that a contact sheet can be cut from pictures that workers made.

Only the planes shown are interpolated. Pixels are grey levels and a few colours, kept as one byte: that
writes three times faster than RGB. Raises InputError when imported without Pillow.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthtumour.journal import write_bytes
from synthtumour.shape import bounding_box, largest_component
from synthtumour.volume import Grid, InputError, Volume

if TYPE_CHECKING:
    from synthtumour.pseudo_labels import Donor, Head
    from synthtumour.stage1 import Synthesis
    from synthtumour.stage2 import Mixed

try:
    from PIL import Image, ImageDraw, ImageFont
except ModuleNotFoundError as missing:
    raise InputError("--preview draws with Pillow, which is not installed: pip install pillow") from missing

# Three of Okabe and Ito's colours (2008) that differ most, also to the colour-blind: CIE distance 33.
_YELLOW, _SKY_BLUE, _VERMILLION = (240, 228, 66), (86, 180, 233), (213, 94, 0)
_GREYS = 253  # palette: grey levels, then the colours
_PALETTE = [v for n in range(_GREYS) for v in 3 * (round(255 * n / (_GREYS - 1)),)]
_PALETTE += [*_YELLOW, *_SKY_BLUE, *_VERMILLION]
_WHITE, _FAINT = _GREYS - 1, 170
_WHOLE = {1: ("label outline", 253)}
_BRATS = {1: ("core", 254), 2: ("oedema", 253), 3: ("enhancing", 255)}

_CELL, _LOW_CELL = 240, 200  # pixels: heads are longer than they are high
_GAP, _HEADING, _CAPTION = 4, 22, 48
_MARGIN_MM = 7.0  # at least so much is shown around the brain
_LEAST_FOR_TISSUE = 0.6  # of the greys, however bright the tumour
_TEXT, _SMALL = 15, 13  # sizes of text
# Rows: the axis that is cut, its name, and the letters on the left, right, top and bottom.
_PLANES = ((2, "axial", "RLAP"), (1, "coronal", "RLSI"), (0, "sagittal", "APSI"))
_TOPS = (_HEADING, _HEADING + _CELL + _GAP, _HEADING + _CELL + _LOW_CELL + 2 * _GAP)

_SHEET_CASES, _SHEET_COLUMNS, _SHEET_TEXT = 54, 6, 38  # less than 3000 pixels high
_SIDES = {"train": "training", "val": "validation"}


def write_stage1_preview(path: Path, name: str, scan: Volume, brain: Volume, made: Synthesis) -> None:
    """Write the picture of a Stage 1 case `made` from `scan`, called `name`, as PNG."""
    record = made.record
    rendering, count = record["rendering"], len(record["tumours"])
    many = f" in {count} tumours" if count > 1 else ""
    task = {"train": "training task", "val": "validation task"}[rendering["task"]]
    volume = volume_text(record["measured"]["volume_ml"])
    facts = f"{volume}{many}, {task}, preset {record['preset']}, seed {record['seed']}"
    columns = columns_of("before", scan, "after", made.image, made.label.array, brain.array)
    path.write_bytes(_png(preview_picture(columns, (name, facts), rendering.get("labels") == "brats")))


def write_stage2_preview(
    path: Path, name: str, facts: str, donor: Donor, recipient: Head, mixed: Mixed
) -> None:
    """Write the picture of a Stage 2 case as PNG: first channels, and the donor's tumour where it grew."""
    before, after, home = recipient.channels[0], mixed.channels[0], donor.head.channels[0]
    columns = columns_of("recipient", before, "mixed", after, mixed.label.array, recipient.brain)
    look = _look(home, home, donor.label > 0, donor.head.brain)
    columns.append(Column("donor:", home.array, donor.label, look))
    path.write_bytes(_png(preview_picture(columns, (name, facts))))


@dataclass(frozen=True, eq=False)
class Column:
    """One image of a picture, with the outlines of `label` if there is one, seen as in `look`."""

    heading: str
    image: np.ndarray
    label: np.ndarray | None
    look: _Look


def columns_of(
    first: str, before: Volume, second: str, after: Volume, label: np.ndarray, brain: np.ndarray
) -> list[Column]:
    """The image before, after, and after with the outlines of `label`; all are on one grid."""
    look = _look(before, after, label > 0, brain > 0)
    return [
        Column(first, before.array, None, look),
        Column(second, after.array, None, look),
        Column("", after.array, label, look) if label.any() else Column("no tumour", after.array, None, look),
    ]


def preview_picture(columns: Sequence[Column], caption: tuple[str, str], brats: bool = False) -> Image.Image:
    """The three planes of every column; labels have BraTS's values if `brats`, else 0 and 1.

    `caption` is the case's name and, below it, what is known of it.
    """
    values = _BRATS if brats else _WHOLE
    width = len(columns) * (_CELL + _GAP) - _GAP
    canvas = np.zeros((_TOPS[2] + _LOW_CELL + _CAPTION, width), np.uint8)
    outlines = []
    for number, column in enumerate(columns):
        for (axis, _, _), top in zip(_PLANES, _TOPS, strict=True):
            cell = _Cell(axis, column.look)
            where = slice(top, top + cell.height), _across(number)
            canvas[where] = cell.greys(column.image)
            if column.label is not None:
                outlines.append((where, *cell.outlines(column.label, values)))
    headings = tuple((column.heading, column.label is not None) for column in columns)
    over, through = _lettering(headings, tuple(values.values()))
    picture: Image.Image = Image.fromarray(over + (canvas * through).astype(np.uint8))
    _write_measures(picture, columns, caption)
    drawn = np.array(picture)
    for where, halo, colours in outlines:
        panel = drawn[where]
        panel[halo], panel[colours > 0] = 0, colours[colours > 0]
    return _with_palette(Image.fromarray(drawn))


@dataclass(frozen=True, eq=False)
class _Look:
    """What is shown of a head: which planes, how large, and which intensities are black and white."""

    grid: Grid
    planes: list[int]  # along each axis
    middle: np.ndarray  # of the brain, continuous voxel index (3,), counted from the edge of the first voxel
    pixels_per_mm: float
    black: float
    white: float
    tissue: (
        float  # the brightest of the brain itself: from black to here greys are even, from here to white too
    )
    tissue_grey: float  # its part of the greys, so that tumours are not flat white and the brain is not dark


def _look(before: Volume, after: Volume, marked: np.ndarray, brain: np.ndarray) -> _Look:
    """The planes through the largest tumour, or the widest of a brain without one, with all of the brain."""
    grid = before.grid
    planes = _widest_planes(marked if marked.any() else brain)
    box = bounding_box(brain)
    extent = np.array([s.stop - s.start for s in box]) * grid.spacing_mm + 2 * _MARGIN_MM
    pixels_per_mm = min(_CELL / extent[0], _CELL / extent[1], _LOW_CELL / extent[2])
    middle = np.array([(s.start + s.stop) / 2 for s in box])

    def shown(array: np.ndarray, where: np.ndarray) -> np.ndarray:
        cuts = [_plane(array, *place)[_plane(where, *place)] for place in enumerate(planes)]
        return np.concatenate(cuts).astype(np.float64)

    tissue, tumour = shown(before.array, brain), shown(after.array, marked)
    black, brightest = map(float, np.percentile(tissue, (0.5, 99.5)))
    brightest = max(brightest, black + 1e-6 * max(abs(black), 1.0))
    white = max(brightest, float(np.percentile(tumour, 99.5)) if tumour.size else brightest)
    share = max((brightest - black) / (white - black), _LEAST_FOR_TISSUE)
    return _Look(grid, planes, middle, float(pixels_per_mm), black, white, brightest, share)


class _Cell:
    """Where a plane of the grid lies in the pixels of a panel whose middle is that of the brain."""

    def __init__(self, axis: int, look: _Look) -> None:
        self._axis, self._look = axis, look
        self.width, self.height = _CELL, _CELL if axis == 2 else _LOW_CELL
        self._source, self._target = [], []  # edges in voxels and in pixels, along the plane's two axes
        for side, n in zip((self.width, self.height), (n for n in range(3) if n != axis), strict=True):
            pixels = float(look.grid.spacing_mm[n]) * look.pixels_per_mm  # of one voxel
            # Both axes are turned round: up is anterior or superior, right is left or posterior.
            first = side / 2 - (look.grid.shape[n] - look.middle[n]) * pixels
            start, stop = max(0.0, first), min(float(side), first + look.grid.shape[n] * pixels)
            self._source.append(((start - first) / pixels, (stop - first) / pixels))
            self._target.append((round(start), max(round(stop), round(start) + 1)))

    def greys(self, image: np.ndarray) -> np.ndarray:
        """The plane of `image` as grey levels of the palette."""
        look = self._look
        plane = self._interpolated(_plane(image, self._axis, look.planes[self._axis]), look.black)
        levels = [look.black, look.tissue, max(look.white, np.nextafter(look.tissue, np.inf))]
        return np.interp(plane, levels, [0, look.tissue_grey * _WHITE, _WHITE]).astype(np.uint8)

    def outlines(
        self, label: np.ndarray, values: Mapping[int, tuple[str, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The outlines in the plane: a bool array of a dark halo, and palette indices, 0 elsewhere."""
        plane = _plane(label, self._axis, self._look.planes[self._axis])
        parts = [self._interpolated(plane == value) for value in values]
        likeliest, most = np.zeros(parts[0].shape, np.uint8), 1 - np.sum(parts, axis=0)
        for number, part in enumerate(parts, 1):  # argmax along the first axis takes five times as long
            likeliest[part > most] = number
            most = np.maximum(most, part)
        colours = np.zeros(likeliest.shape, np.uint8)
        for number, (_, colour) in enumerate(values.values(), 1):
            inside = likeliest == number
            edge = inside & _spread(~inside)
            colours[inside & _spread(edge)] = colour  # two pixels wide
        return _spread(colours > 0), colours

    def _interpolated(self, plane: np.ndarray, around: float = 0.0) -> np.ndarray:
        """A plane (float32) at the panel's pixels, `around` where there is none."""
        plane = plane.T[::-1, ::-1].astype(np.float32, order="C")
        plane = np.nan_to_num(plane, posinf=0.0, neginf=0.0)  # outside the brain they are allowed
        (left, right), (top, bottom) = self._source
        (x0, x1), (y0, y1) = self._target
        out = np.full((self.height, self.width), around, np.float32)
        box = (left, top, right, bottom)
        size = x1 - x0, y1 - y0
        out[y0:y1, x0:x1] = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box))
        return out


def _widest_planes(marked: np.ndarray) -> list[int]:
    """Along each axis the plane that cuts most of the largest part of `marked`, which must not be empty."""
    box = bounding_box(marked)
    part = largest_component(marked[box])
    found = []
    for axis, around in enumerate(box):
        area = np.count_nonzero(part, axis=tuple(n for n in range(3) if n != axis))
        widest = np.flatnonzero(area == area.max())
        found.append(around.start + int(widest[len(widest) // 2]))
    return found


def _plane(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    return array[(slice(None),) * axis + (index,)]  # numpy's take() would copy all of the array


def _spread(mask: np.ndarray) -> np.ndarray:
    """A bool array and its neighbours above, below and beside."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


# ---------------------------------------------------------------- the contact sheet


def write_contact_sheet(path: Path, rows: Sequence[Mapping[str, object]], pictures: Path, title: str) -> None:
    """Write the `contact_sheet` as PNG; one that shows the same is left alone."""
    write_bytes(_png(contact_sheet(rows, pictures, title)), path)


def contact_sheet(rows: Sequence[Mapping[str, object]], pictures: Path, title: str) -> Image.Image:
    """The outlined axial plane of some of the cases in `rows`, evenly chosen from each side of the split.

    `rows` are a manifest's (case, status, split, volume_ml), `pictures` is the folder of what was drawn of
    those that were made. Raises InputError for one that cannot be read.
    """
    there = [row for row in rows if row["status"] == "made"]
    sides = {side: [row for row in there if row["split"] == side] for side in _SIDES}
    sides = {side: cases for side, cases in sides.items() if cases}
    chosen = {
        side: _evenly(cases, _share(len(cases), len(there), len(sides))) for side, cases in sides.items()
    }
    columns = min(_SHEET_COLUMNS, max(3, *map(len, chosen.values())))
    step = _CELL + _SHEET_TEXT
    heights = {
        side: _HEADING + _GAP + step * math.ceil(len(cases) / columns) for side, cases in chosen.items()
    }
    size = columns * (_CELL + _GAP) - _GAP, _HEADING + sum(heights.values())
    sheet = Image.new("L", size)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 4), _shortened(title, _TEXT, size[0] - 2 * _GAP), _WHITE, _font(_TEXT))
    top = _HEADING
    for side, cases in chosen.items():
        shown = f"{len(cases)} of {len(sides[side])}"
        draw.rectangle((0, top, size[0], top + _HEADING), fill=45)
        draw.text((_GAP, top + 4), f"{_SIDES[side]}: {shown} cases", _WHITE, _font(_TEXT))
        for number, row in enumerate(cases):
            x = number % columns * (_CELL + _GAP)
            y = top + _HEADING + _GAP + number // columns * step
            sheet.paste(_thumbnail(pictures / f"{row['case']}.png"), (x, y))
            said = f"{side}, {volume_text(float(str(row['volume_ml'])))}"
            draw.text(
                (x + _GAP, y + _CELL),
                _shortened(str(row["case"]), _SMALL, _CELL - _GAP),
                _WHITE,
                _font(_SMALL),
            )
            draw.text((x + _GAP, y + _CELL + 15), said, 200, _font(_SMALL))
        top += heights[side]
    return _with_palette(sheet)


def _share(count: int, total: int, sides: int) -> int:
    """How many of a side's `count` cases are shown: as large a part as of the `total`, and at least one."""
    most = _SHEET_CASES - (sides - 1)
    return count if total <= _SHEET_CASES else min(count, most, max(1, round(_SHEET_CASES * count / total)))


def _evenly(rows: Sequence[Mapping[str, object]], number: int) -> list[Mapping[str, object]]:
    return [rows[n * len(rows) // number] for n in range(number)]


def _thumbnail(picture: Path) -> Image.Image:
    """The outlined axial plane of a case's picture, in palette indices."""
    left = _across(2).start
    try:
        with Image.open(picture) as opened:
            indices = np.array(opened.crop((left, _TOPS[0], left + _CELL, _TOPS[0] + _CELL)))
    except OSError as error:
        raise InputError(f"{picture}: cannot be read ({error}); run the same command again") from error
    return Image.fromarray(indices)


# ---------------------------------------------------------------- text


def volume_text(volume_ml: float) -> str:
    if not volume_ml:
        return "no tumour"
    return f"{volume_ml:.1f} ml" if volume_ml >= 1 else f"{volume_ml:.3f} ml"


@lru_cache(maxsize=8)
def _lettering(
    headings: tuple[tuple[str, bool], ...], legend: tuple[tuple[str, int], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """What all pictures with these columns (heading, with a legend) say, as grey levels, and how much of the
    image shows through it (0 to 1): drawing it for every case took a third of the time.
    """
    size = _across(len(headings) - 1).stop, _TOPS[2] + _LOW_CELL + _CAPTION
    on_black, on_white = (Image.new("L", size, grey) for grey in (0, 255))
    for picture in (on_black, on_white):
        draw = ImageDraw.Draw(picture)
        for number, (heading, with_legend) in enumerate(headings):
            across = _across(number)
            x = across.start + _GAP
            entries = [(heading, 0)] if heading else []
            for text, colour in (*entries, *(legend if with_legend else ())):
                if colour:
                    draw.rectangle((x, 9, x + 12, 12), fill=colour)
                    x += 17
                draw.text((x, 3), text, _WHITE, _font(_SMALL))
                x += int(_font(_SMALL).getlength(text)) + 9
            for (_, name, letters), top in zip(_PLANES, _TOPS, strict=True):
                _letters(draw, letters, across, top, _CELL if name == "axial" else _LOW_CELL)
        for (_, name, _), top in zip(_PLANES, _TOPS, strict=True):
            draw.text((_GAP, top + 2), name, _FAINT, _font(_SMALL), stroke_width=1, stroke_fill=0)
    over = np.array(on_black)
    return over, (np.array(on_white) - over).astype(np.float32) / 255


def _write_measures(picture: Image.Image, columns: Sequence[Column], caption: tuple[str, str]) -> None:
    """Scale bars and caption of a case, on a picture of palette indices."""
    draw = ImageDraw.Draw(picture)
    for number, column in enumerate(columns):
        _scale_bar(draw, _across(number).stop, _TOPS[0] + _CELL, column.look.pixels_per_mm)
    for text, size, grey, y in ((caption[0], _TEXT, _WHITE, 5), (caption[1], _SMALL, 220, 26)):
        fitting = _shortened(text, size, picture.width - 2 * _GAP)
        draw.text((_GAP, picture.height - _CAPTION + y), fitting, grey, _font(size))


def _letters(draw: ImageDraw.ImageDraw, letters: str, across: slice, top: int, height: int) -> None:
    middle, centre = top + height / 2, (across.start + across.stop) / 2
    left_and_right = ((across.start + 2, middle, "lm"), (across.stop - 2, middle, "rm"))
    above_and_below = ((centre, top + 1, "mt"), (centre, top + height - 2, "mb"))
    for letter, (x, y, anchor) in zip(letters, left_and_right + above_and_below, strict=True):
        draw.text((x, y), letter, _WHITE, _font(_SMALL), anchor, stroke_width=1, stroke_fill=0)


def _scale_bar(draw: ImageDraw.ImageDraw, right: int, bottom: int, pixels_per_mm: float) -> None:
    """A bar of 1, 2 or 5 times a power of ten mm in the lower right corner of a panel."""
    most = 0.3 * _CELL / pixels_per_mm
    power = 10.0 ** math.floor(math.log10(most))
    length = power * max(n for n in (1, 2, 5) if n * power <= most)
    x, y = right - 6, bottom - 6
    draw.rectangle((x - round(length * pixels_per_mm) - 1, y - 4, x, y), fill=_WHITE, outline=0)
    draw.text((x, y - 6), f"{length:g} mm", _WHITE, _font(12), "rb", stroke_width=1, stroke_fill=0)


def _shortened(text: str, size: int, width: int) -> str:
    """`text` in ASCII, with dots in its middle if it is wider than `width` pixels."""
    text = _ascii(text)
    whole, kept = text, len(text)
    while kept > 4 and _font(size).getlength(text) > width:
        kept -= 1
        text = f"{whole[: (kept + 1) // 2]}...{whole[len(whole) - kept // 2 :]}"
    return text


def _ascii(text: str) -> str:
    """`text` in the letters that Pillow's own font has: accents go, anything else becomes its code."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)
    return printable.encode("ascii", "backslashreplace").decode()


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _across(column: int) -> slice:
    return slice(column * (_CELL + _GAP), column * (_CELL + _GAP) + _CELL)


def _with_palette(picture: Image.Image) -> Image.Image:
    picture.putpalette(_PALETTE)
    return picture


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)  # 3 % longer than by 4, in half the time
    return content.getvalue()
