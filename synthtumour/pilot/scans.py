"""The scans that a network learns from, on one canvas; some tumour-free ones are kept out of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from synthtumour.errors import InputError, require
from synthtumour.pilot.canvas import Canvas, Head, canvas_for, lengths_mm, on_canvas
from synthtumour.stage2.heads import HeadFiles, read_head
from synthtumour.streams import uniform
from synthtumour.volume.reading import read_volume

TORCH_MISSING = (
    "the pilot network needs torch and, to learn, MONAI (a CPU build is enough): "
    "pip install -r requirements-pilot.txt"
)
_KEPT_OUT = 5  # one of so many tumour-free subjects, and at least two
FEWEST_TO_KEEP_OUT = 4


@dataclass(frozen=True, eq=False)
class Scans:
    """Heads on one canvas: those to learn from, and tumour-free ones that were kept out."""

    canvas: Canvas
    healthy: list[Head]
    labelled: list[Head]
    kept_out: list[Head]
    failed: int
    said: dict[str, object]  # of the file of weights


def check_torch(*others: str) -> None:
    """Raise InputError unless torch, and `others`, are installed; imports none of them."""
    require(all(find_spec(name) is not None for name in ("torch", *others)), TORCH_MISSING)


def read_scans(
    found: Sequence[HeadFiles], spacing_mm: float, seed: int, tell: Callable[[str], None]
) -> Scans:
    """The heads in `found`, tumour-free where they have no label; `tell` names those that cannot be used."""
    read: list[tuple[HeadFiles, Head]] = []
    for files in found:
        try:
            read.append((files, _head_of(files, spacing_mm)))
        except InputError as error:
            tell(f"left out: {error}")
    require(bool(read), "none of the scans can be used, see above")
    i, j, k = np.max([head.image.shape for _, head in read], axis=0).tolist()
    canvas = Canvas((i, j, k), spacing_mm)
    heads = [(files, head.padded(canvas)) for files, head in read]
    free = [(files, head) for files, head in heads if files.label is None]
    out = _kept_out({files.subject for files, _ in free}, seed)
    labelled = [head for files, head in heads if files.label is not None and files.subject not in out]
    said = {"tumour_free_scans": len(free), "labelled_scans": len(labelled), "subjects_kept_out": sorted(out)}
    return Scans(
        canvas,
        [head for files, head in free if files.subject not in out],
        labelled,
        [head for files, head in free if files.subject in out],
        len(found) - len(read),
        said,
    )


def _kept_out(subjects: set[str], seed: int) -> set[str]:
    """A fifth of the tumour-free subjects, at least two; none of a few."""
    if len(subjects) < FEWEST_TO_KEEP_OUT:
        return set()
    count = max(2, len(subjects) // _KEPT_OUT)
    return set(sorted(subjects, key=lambda subject: uniform(seed, subject))[:count])


def _head_of(files: HeadFiles, spacing_mm: float) -> Head:
    """A head on a canvas of its own."""
    head = read_head(files, files.label is None)
    label = None
    if files.label is not None:
        stored = read_volume(files.label)
        if differences := stored.grid.differences(head.grid):
            raise InputError(f"{files.label}: on another grid than the scan: {differences}; resample it")
        label = stored.array > 0
    canvas = canvas_for([lengths_mm(head.brain, head.grid)], spacing_mm)
    return on_canvas(head.channels[0].array, head.brain, head.grid, canvas, label)
