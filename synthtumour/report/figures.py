"""The figures of report.html: SVG by matplotlib, in the page's own colours, each with its numbers as a table.

A row is a row of manifest.csv, `sides` the rows of cases that were made, by the side of the split.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from scipy import ndimage

from synthtumour.brain.masks import region_of_stripped_scan
from synthtumour.errors import InputError
from synthtumour.report.rows import Brains, Row, contrast, number, short, tumours, volume
from synthtumour.text import counted, evenly
from synthtumour.volume.grid import brain_box
from synthtumour.volume.reading import read_volume

Sides = Mapping[str, Sequence[Row]]
# Okabe and Ito's colours. page.css has them again, in shades for a light and a dark ground.
_INK, _GROUND = "#1b1f24", "#ffffff"
_COLOURS = {"Training": "#0072b2", "Refined": "#0072b2", "Validation": "#d55e00"}
_VARIABLES = {
    _INK: "currentColor",
    _GROUND: "var(--ground)",
    _COLOURS["Training"]: "var(--train)",
    _COLOURS["Validation"]: "var(--val)",
}
# With bars filled or hatched, sides are told apart without colours too.
_MARKERS = {"Training": "o", "Refined": "o", "Validation": "^"}
_BINS = 14
_POINTS = 400  # drawn in each projection
_BRAINS = 8  # looked at
_LATTICE = 56  # points along each axis of a brain's box
_ROOM = 1.16  # what the drawing shows, in sides of the box
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "hatch.linewidth": 0.7,
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
}


@dataclass(frozen=True)
class Figure:
    """One question, answered for each side by drawings (SVG elements), and the same as a table."""

    title: str
    caption: str
    panels: list[tuple[str, list[Markup]]]  # side and its drawings
    head: list[str]
    table: list[list[str]]


def figures(sides: Sides, brains: Brains) -> list[Figure]:
    """Volume, contrast, number and place of the tumours, as far as the rows tell them."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(_STYLE)
        made = (_volumes(sides), _contrasts(sides), _how_many(sides), _centres(sides, brains))
        return [figure for figure in made if figure is not None]


def in_numbers(sides: Sides) -> list[list[str]]:
    """Lines of a table that compares the sides: what, and a cell a side."""

    def spread(values: list[float], unit: str = "") -> str:
        if not values:
            return "–"
        low, first, middle, last, high = (short(q) for q in np.percentile(values, (0, 25, 50, 75, 100)))
        return f"{middle}{unit} ({first} to {last}; {low} to {high})"

    def subjects(rows: Sequence[Row]) -> str:
        named = {row.get("subject") or row.get("recipient_subject") for row in rows} - {None}
        return str(len(named) or "–")

    kinds = sorted({kind for rows in sides.values() for kind in _kinds(rows)})
    return [
        ["cases", *(str(len(rows)) for rows in sides.values())],
        *([f"… {kind}", *(str(_kinds(rows).count(kind)) for rows in sides.values())] for kind in kinds),
        ["subjects", *map(subjects, sides.values())],
        ["without a tumour", *(str(_of(rows, volume).count(0)) for rows in sides.values())],
        ["volume of the label", *(spread(_above_0(rows), " ml") for rows in sides.values())],
        ["contrast", *(spread(_of(rows, contrast)) for rows in sides.values())],
    ]


def _volumes(sides: Sides) -> Figure | None:
    values = {side: _above_0(rows) for side, rows in sides.items()}
    all_of_them = [value for of_side in values.values() for value in of_side]
    log = max(all_of_them, default=0) > 4 * min(all_of_them, default=0)
    without = sum(_of(rows, volume).count(0) for rows in sides.values())
    caption = f"Volume of the label{', on a logarithmic axis' if log else ''}."
    if without:
        caption += f" It leaves out {counted(without, 'tumour-free case')}."
    return _histogram("Volume", "volume (ml)", values, caption, log)


def _contrasts(sides: Sides) -> Figure | None:
    caption = (
        "Mean inside the label over that of the brain 1 to 6 mm from it, both above black: 1 is no contrast."
    )
    values = {side: _of(rows, contrast) for side, rows in sides.items()}
    return _histogram("Contrast", "contrast", values, caption)


def _histogram(
    title: str, label: str, values: Mapping[str, list[float]], caption: str, log: bool = False
) -> Figure | None:
    """Shares of the cases in bins that are the same for both sides."""
    values = {side: of_side for side, of_side in values.items() if of_side}
    if not values:
        return None
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    ticks = _log_ticks(low, high) if log else []
    if log:
        low, high = low * 0.97, high * 1.03
        edges = np.geomspace(low, high, _BINS + 1)
    else:
        margin = 0.02 * (high - low) or 0.05
        edges = np.linspace(low - margin, high + margin, _BINS + 1)
    counts = {side: np.histogram(of_side, edges)[0] for side, of_side in values.items()}
    top = max(100 * count.max() / count.sum() for count in counts.values())
    panels = []
    for side, count in counts.items():
        middle = float(np.median(values[side]))
        drawing, axes = _axes((4.2, 2.5))
        axes.bar(edges[:-1], 100 * count / count.sum(), np.diff(edges), align="edge", **_bars(side))
        axes.axvline(middle, color=_INK, linewidth=1, linestyle="--")
        axes.set_xlim(edges[0], edges[-1])
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xticks(ticks)
            axes.set_xlim(min(low, ticks[0]), max(high, ticks[-1]))
        at, _ = axes.transAxes.inverted().transform(axes.transData.transform((middle, 0)))
        inwards = "left" if at < 0.5 else "right"
        axes.text(middle, 1.02, f"median {short(middle)}", ha=inwards, transform=axes.get_xaxis_transform())
        axes.set_xlabel(label)
        _show_shares(axes, top)
        alternative = (
            f"{title}, {side.lower()}: histogram of {counted(count.sum(), 'case')}, median {short(middle)}"
        )
        panels.append(
            (f"{side} ({counted(count.sum(), 'case')})", [_svg(drawing, f"{title}-{side}", alternative)])
        )
    table = [
        [f"{short(edges[i])} to {short(edges[i + 1])}", *(str(count[i]) for count in counts.values())]
        for i in range(_BINS)
    ]
    return Figure(title, caption, panels, [label, *counts], table)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, as many as there is room to label."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**n for n in decades for digit in ((1, 2, 5) if high < 1000 * low else (1, 3))]
    first = max(i for i, tick in enumerate(ticks) if tick <= low)
    last = min(i for i, tick in enumerate(ticks) if tick >= high)
    return ticks[first : last + 1]


def _how_many(sides: Sides) -> Figure | None:
    """How many tumours the cases have."""
    drawn = {side: Counter(map(int, _of(rows, tumours))) for side, rows in sides.items()}
    drawn = {side: count for side, count in drawn.items() if count}
    if not drawn:
        return None
    most = max(map(max, drawn.values()))
    top = max(100 * max(count.values()) / count.total() for count in drawn.values())
    panels = []
    for side, count in drawn.items():
        drawing, axes = _axes((4.2, 2.5))
        axes.bar(list(count), [100 * n / count.total() for n in count.values()], 0.8, **_bars(side))
        axes.set_xlim(-0.6, max(most, 3) + 0.6)
        axes.set_xticks(range(0, max(most, 3) + 1, max(1, most // 8)))
        axes.set_xlabel("tumours in a case")
        _show_shares(axes, top)
        listed = ", ".join(f"{n} in {counted(count[n], 'case')}" for n in sorted(count))
        svg = _svg(drawing, f"number-{side}", f"Number of tumours, {side.lower()}: {listed}")
        panels.append((f"{side} ({counted(count.total(), 'case')})", [svg]))
    table = [[str(n), *(str(count[n]) for count in drawn.values())] for n in range(most + 1)]
    caption = "As drawn: labels of several tumours may touch."
    return Figure("Number of tumours", caption, panels, ["tumours", *drawn], table)


def _bars(side: str) -> dict[str, Any]:
    if side != "Validation":
        return {"facecolor": _COLOURS[side], "edgecolor": _GROUND, "linewidth": 0.8}
    return {"facecolor": "none", "edgecolor": _COLOURS[side], "linewidth": 0.9, "hatch": "////"}


def _show_shares(axes: Any, top: float) -> None:
    axes.set_ylim(0, 1.08 * top)
    axes.set_ylabel("% of cases")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)


def _kinds(rows: Sequence[Row]) -> list[str]:
    return [str(row["kind"]) for row in rows if "kind" in row]


def _of(rows: Sequence[Row], what: Callable[[Row], float | None]) -> list[float]:
    return [value for row in rows if (value := what(row)) is not None]


def _above_0(rows: Sequence[Row]) -> list[float]:
    """The volumes of those that have a tumour."""
    return [value for value in _of(rows, volume) if value > 0]


def _centres(sides: Sides, brains: Brains) -> Figure | None:
    """Where the tumours are, each by its place in its own brain's box, over the outline of the mean brain."""
    places = {
        side: np.array([place for row in rows for place in _places(row)]) for side, rows in sides.items()
    }
    places = {side: of_side for side, of_side in places.items() if len(of_side)}
    mean = _mean_brain(brains) if places else None
    if mean is None:
        return None
    count, size_mm, silhouettes = mean
    panels = []
    for side, of_side in places.items():
        shown = np.array(evenly(of_side.tolist(), _POINTS)) * size_mm
        drawings = []
        # As in the pictures: the patient's right, and in the sagittal plane the front, are on the left.
        for axis, plane, across, up, letters in (
            (2, "axial", 0, 1, "RLAP"),
            (1, "coronal", 0, 2, "RLSI"),
            (0, "sagittal", 1, 2, "APSI"),
        ):
            edge = 0.5 * _ROOM * size_mm[[across, up]]
            x, y = 0.5 * _ROOM * size_mm[:2].max(), edge[1]  # all drawings are as wide, so that a mm is a mm
            drawing, axes = _axes((2.4, 2.4 * y / x), bare=True)
            where = {"extent": (-edge[0], edge[0], -y, y), "colors": [_INK]}
            axes.contourf(silhouettes[axis].T, [0.5, 1.1], alpha=0.08, **where)
            axes.contour(silhouettes[axis].T, [0.5], linewidths=0.9, alpha=0.7, **where)
            look = {"color": _COLOURS[side], "markersize": 4.2, "markeredgewidth": 0}
            alpha = 0.85 if len(shown) < 150 else 0.5
            axes.plot(shown[:, across], shown[:, up], _MARKERS[side], alpha=alpha, **look)
            axes.plot([x - 4, x - 54], [3 - y, 3 - y], color=_INK, linewidth=1.5)
            axes.set_xlim(x, -x)
            axes.set_ylim(-y, y)
            at = ((edge[0], 0), (-edge[0], 0), (0, y), (0, -y))
            for letter, place in zip(letters, at, strict=True):
                axes.text(*(0.94 * np.array(place)), letter, ha="center", va="center")
            alternative = f"Centres of {counted(len(of_side), 'tumour')}, {side.lower()}, {plane} projection"
            drawings.append(_svg(drawing, f"{plane}-{side}", alternative))
        panels.append((f"{side} ({counted(len(of_side), 'tumour')})", drawings))
    table = [
        [
            f"{ahead} – {behind}",
            *(_along(of_side[:, axis] * size_mm[axis], ahead) for of_side in places.values()),
        ]
        for axis, (ahead, behind) in enumerate(
            (("right", "left"), ("anterior", "posterior"), ("superior", "inferior"))
        )
    ]
    fewer = f" (at most {_POINTS} are drawn)" if max(map(len, places.values())) > _POINTS else ""
    box = " × ".join(f"{mm:.0f}" for mm in size_mm)
    caption = (
        f"One point a tumour{fewer}: its label's centre of mass or, in cases of several tumours, where each "
        "was drawn. Heads lie differently and brains differ in size: a point has the place in the mean "
        "brain's box that the tumour has in the box of its own brain (along right, anterior and superior). "
        f"Outline: where half of {count} of the run's brains reach; their mean box is {box} mm. The "
        "patient's right (R) is on the left. Bar: 50 mm."
    )
    return Figure("Centre", caption, panels, ["from the box's middle", *places], table)


def _along(mm: np.ndarray, ahead: str) -> str:
    return f"{mm.mean():+.0f} mm (SD {mm.std():.0f}), {100 * (mm > 0).mean():.0f} % {ahead}"


def _places(row: Row) -> list[list[float]]:
    """Centres of the tumours of a case as parts of its brain's box, from -0.5 to 0.5 along R, A, S."""
    if "brain_low_r_mm" not in row or not volume(row):
        return []
    several = int(tumours(row) or 1)
    stems = ["centre"] if several == 1 else [f"tumour{n}_shape_centre" for n in range(1, several + 1)]
    places = []
    for stem in stems:
        if f"{stem}_r_mm" not in row:
            continue
        at, low, high = (
            np.array([row[f"{what}_{axis}_mm"] for axis in "ras"], float)
            for what in (stem, "brain_low", "brain_high")
        )
        if stem != "centre":  # drawn in the scan, before its head was resized
            at *= number(row, "head_scale") or 1
        places.append(((at - low) / (high - low) - 0.5).tolist())
    return places


def _mean_brain(brains: Brains) -> tuple[int, np.ndarray, list[np.ndarray]] | None:
    """How many brains were looked at, the mean of their boxes (R, A, S in mm), and along each axis which part
    of them a ray through a place hits; None if no brain can be read.
    """
    steps = _ROOM * ((np.arange(_LATTICE) + 0.5) / _LATTICE - 0.5) + 0.5
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    sizes, shadows = [], []
    for image, mask in evenly(brains, _BRAINS):
        try:
            scan = read_volume(mask or image)
        except InputError:  # its cases have failed, and their rows say why
            continue
        brain = scan.array > 0 if mask else region_of_stripped_scan(scan)
        if brain is None or not brain.any():
            continue
        low, high = brain_box(brain, scan.grid)
        index = np.rint(scan.grid.to_index(low + lattice * (high - low))).astype(int)
        there = np.all((index >= 0) & (index < brain.shape), axis=-1)
        inside = there & brain[tuple(np.where(there[..., None], index, 0).transpose(3, 0, 1, 2))]
        shadows.append([ndimage.gaussian_filter(inside.any(axis=axis).astype(float), 1) for axis in range(3)])
        sizes.append(high - low)
    if not sizes:
        return None
    silhouettes = [np.mean(along, axis=0) for along in zip(*shadows, strict=True)]
    return len(sizes), np.mean(sizes, axis=0), silhouettes


def _axes(inches: tuple[float, float], bare: bool = False) -> tuple[Drawing, Any]:
    """An empty drawing and its axes; `bare`: nothing but what is drawn, to the edges."""
    drawing = Drawing(figsize=inches)
    # Where matplotlib's own layout, which is slow, would put them.
    axes = drawing.add_axes((0, 0, 1, 1) if bare else (0.12, 0.19, 0.86, 0.71))
    if bare:
        axes.set_axis_off()
    return drawing, axes


def _svg(drawing: Drawing, name: str, alternative: str) -> Markup:
    """A drawing as an SVG element of an HTML page: the page's colours and fonts, ids of its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawing.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    _, view_box, inside = re.split(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', buffer.getvalue(), maxsplit=1)
    ids = re.sub(r"\W", "", name)
    inside = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{ids}-", inside.replace("xlink:href", "href"))
    for colour, variable in _VARIABLES.items():
        inside = inside.replace(colour, variable)
    return Markup(f'<svg role="img" aria-label="{escape(alternative)}" {view_box}>{inside}')
