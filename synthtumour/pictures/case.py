"""The picture of one case, as PNG.

The columns of a case are the image before, after, and after with the label outlined; its rows are the axial,
coronal and sagittal plane through the largest tumour, as a radiologist sees them: the patient's right is on
the left, anterior and superior are up, and in the sagittal plane anterior is on the left. All panels have the
same scale and place, so that a contact sheet can be cut from pictures that workers made. Only the planes
shown are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from synthtumour.pictures.layout import (
    CAPTION,
    CELL,
    GAP,
    LOW_CELL,
    PLANES,
    SKY_BLUE,
    TOPS,
    VERMILION,
    WHITE,
    YELLOW,
    across_column,
    with_palette,
)
from synthtumour.pictures.lettering import lettering, write_measures
from synthtumour.volume.grid import Grid, bounding_box, largest_component
from synthtumour.volume.volume import Volume

# By the values of a label, what their outlines are called and their colour.
Legend = Mapping[int, tuple[str, int]]
WHOLE: Legend = {1: ("label outline", YELLOW)}
BRATS: Legend = {1: ("core", SKY_BLUE), 2: ("oedema", YELLOW), 3: ("enhancing", VERMILION)}
BRAIN: Legend = {1: ("brain mask", SKY_BLUE)}
BEFORE: Legend = {1: ("label before", SKY_BLUE)}
REFINED: Legend = {1: ("refined", YELLOW)}
_MARGIN_MM = 7.0  # at least so much is shown around the brain
_LEAST_FOR_TISSUE = 0.6  # of the greys, however bright the tumour


@dataclass(frozen=True, eq=False)
class Column:
    """One image of a picture, with the outlines of `label` if there is one, seen as in `look`.

    `under` is a label of which a thin outline is drawn below those, called and coloured as in BEFORE.
    """

    heading: str
    image: np.ndarray
    label: np.ndarray | None
    look: Look
    legend: Legend = field(default_factory=lambda: WHOLE)
    under: np.ndarray | None = None

    @property
    def entries(self) -> tuple[tuple[str, int], ...]:
        """Of the outlines that it may have, what they are called and their colour."""
        below = () if self.under is None else tuple(BEFORE.values())
        return below if self.label is None else (*below, *self.legend.values())


def columns_of(
    first: str,
    before: Volume,
    second: str,
    after: Volume,
    label: np.ndarray,
    brain: np.ndarray,
    legend: Legend = WHOLE,
) -> list[Column]:
    """The image before, after, and after with the outlines of `label`; all are on one grid."""
    look = look_of(before, after, label > 0, brain > 0)
    return [
        Column(first, before.array, None, look),
        Column(second, after.array, None, look),
        Column("", after.array, label, look, legend)
        if label.any()
        else Column("no tumour", after.array, None, look),
    ]


def preview_picture(columns: Sequence[Column], caption: tuple[str, str]) -> Image.Image:
    """The three planes of every column; `caption` is the case's name and, below it, what is known of it."""
    width = len(columns) * (CELL + GAP) - GAP
    canvas = np.zeros((TOPS[2] + LOW_CELL + CAPTION, width), np.uint8)
    outlines = []
    for number, column in enumerate(columns):
        for (axis, _, _), top in zip(PLANES, TOPS, strict=True):
            cell = _Cell(axis, column.look)
            where = slice(top, top + cell.height), across_column(number)
            canvas[where] = cell.greys(column.image)
            if column.under is not None:
                outlines.append((where, *cell.outlines(column.under > 0, BEFORE, thin=True)))
            if column.label is not None:
                outlines.append((where, *cell.outlines(column.label, column.legend)))
    over, through = lettering(tuple((column.heading, column.entries) for column in columns))
    picture: Image.Image = Image.fromarray(over + (canvas * through).astype(np.uint8))
    write_measures(picture, [column.look.pixels_per_mm for column in columns], caption)
    drawn = np.array(picture)
    for where, halo, colours in outlines:
        panel = drawn[where]
        panel[halo], panel[colours > 0] = 0, colours[colours > 0]
    return with_palette(Image.fromarray(drawn))


@dataclass(frozen=True, eq=False)
class Look:
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


def look_of(before: Volume, after: Volume, marked: np.ndarray, brain: np.ndarray) -> Look:
    """The planes through the largest tumour, or the widest of a brain without one, with all of the brain."""
    grid = before.grid
    planes = _widest_planes(marked if marked.any() else brain)
    box = bounding_box(brain)
    extent = np.array([s.stop - s.start for s in box]) * grid.spacing_mm + 2 * _MARGIN_MM
    pixels_per_mm = min(CELL / extent[0], CELL / extent[1], LOW_CELL / extent[2])
    middle = np.array([(s.start + s.stop) / 2 for s in box])

    def shown(array: np.ndarray, where: np.ndarray) -> np.ndarray:
        cuts = [_plane(array, *place)[_plane(where, *place)] for place in enumerate(planes)]
        return np.concatenate(cuts).astype(np.float64)

    tissue, tumour = shown(before.array, brain), shown(after.array, marked)
    black, brightest = map(float, np.percentile(tissue, (0.5, 99.5)))
    brightest = max(brightest, black + 1e-6 * max(abs(black), 1.0))
    white = max(brightest, float(np.percentile(tumour, 99.5)) if tumour.size else brightest)
    share = max((brightest - black) / (white - black), _LEAST_FOR_TISSUE)
    return Look(grid, planes, middle, float(pixels_per_mm), black, white, brightest, share)


class _Cell:
    """Where a plane of the grid lies in the pixels of a panel whose middle is that of the brain."""

    def __init__(self, axis: int, look: Look) -> None:
        self._axis, self._look = axis, look
        self.width, self.height = CELL, CELL if axis == 2 else LOW_CELL
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
        return np.interp(plane, levels, [0, look.tissue_grey * WHITE, WHITE]).astype(np.uint8)

    def outlines(
        self, label: np.ndarray, legend: Legend, thin: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The outlines in the plane: a bool array of a dark halo, and palette indices, 0 elsewhere.

        They are two pixels wide, or one if `thin`.
        """
        plane = _plane(label, self._axis, self._look.planes[self._axis])
        parts = [self._interpolated(plane == value) for value in legend]
        likeliest, most = np.zeros(parts[0].shape, np.uint8), 1 - np.sum(parts, axis=0)
        for number, part in enumerate(parts, 1):  # argmax along the first axis takes five times as long
            likeliest[part > most] = number
            most = np.maximum(most, part)
        colours = np.zeros(likeliest.shape, np.uint8)
        for number, (_, colour) in enumerate(legend.values(), 1):
            inside = likeliest == number
            edge = inside & _spread(~inside)
            colours[edge if thin else inside & _spread(edge)] = colour
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
