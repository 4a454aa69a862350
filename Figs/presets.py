"""Figs/presets.png: what the presets make of one simulated scan, each as image and with its outline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from Figs.panels import Page, axial, fullest, save
from synthtumour.brain.masks import prepare_brain
from synthtumour.files.names import brain_mask_beside
from synthtumour.presets import PRESETS, Preset
from synthtumour.stage1.synthesis import Synthesis, synthesise
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

SCAN = "sim-01"
TILE_IN = (1.44, 1.66)
WHITE = 2.0  # of the window of all tiles, in the 99.5th percentiles of the brain before

PAPER = PRESETS["paper"]
# Tumours alone, and cores more often than the preset has them, so that a ring comes soon.
DIVERSE = replace(PRESETS["diverse"], distractor_probability=0.0, core_probability=0.5)
PUSHED = replace(DIVERSE, mass_effect_mm=(8.0, 8.0))

Fits = Callable[[Synthesis], bool]
Row = list[tuple[str, int, Synthesis]]  # what it is, its seed, the case


def _one(made: Synthesis, kind: str | None, least_ml: float, most_ml: float) -> bool:
    """Whether there is one tumour of such a volume and core, a core being large and dark in a bright rim."""
    (first, *others), volume_ml = made.record["tumours"], made.record["measured"]["volume_ml"]
    if others or not least_ml < volume_ml < most_ml:
        return False
    core = first["core"]
    if kind is None or core is None or core["kind"] != kind:
        return kind is core is None
    return bool(core["rim_mm"] > 0 and core["fraction"] > 0.2 and core["level"] < 0.8)


def _foci_in_one_slice(made: Synthesis) -> bool:
    """Whether the slice shown goes through two tumours or more, well apart."""
    label = made.label.array
    across = np.flatnonzero(label[:, :, fullest(label)].any(axis=1))
    return len(made.record["tumours"]) > 1 and np.diff(across).max() > 10


# Of preset diverse, where the (first) tumour starts (RAS, mm) and what it is: the first seed that draws one.
DRAWN: dict[str, tuple[tuple[float, float, float], Fits]] = {
    "oedema": ((-28, -45, 24), lambda made: _one(made, None, 20, 60)),
    "a ring about necrosis": ((30, -30, 24), lambda made: _one(made, "necrotic", 25, 100)),
    "large oedema": ((28, 15, 22), lambda made: _one(made, None, 80, 150)),
    "a cyst": ((-26, 25, 20), lambda made: _one(made, "cyst", 15, 60)),
    "several foci": ((28, 20, 20), _foci_in_one_slice),
}


def make_rows(scan: Volume, brain: Volume) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for task, title in (("train", "paper, training task"), ("val", "paper, validation task")):
        rows[title] = [
            (said, seed, synthesise(scan, brain, PAPER, seed=seed, task=task))
            for said, seed in (("bright", 9), ("with a core", 16), ("faint", 12))
        ]
    cases: dict[str, tuple[int, Synthesis]] = {}
    for said, (centre, fits) in DRAWN.items():
        made = ((n, synthesise(scan, brain, DIVERSE, seed=n, centre_ras_mm=centre)) for n in count())
        cases[said] = next(case for case in made if fits(case[1]))
    first, more = list(DRAWN)[:3], list(DRAWN)[3:]

    def again(said: str, preset: Preset, task: str) -> tuple[int, Synthesis]:
        seed, centre = cases[said][0], DRAWN[said][0]
        return seed, synthesise(scan, brain, preset, seed=seed, task=task, centre_ras_mm=centre)

    rows["diverse, training task"] = [(said, *cases[said]) for said in first]
    rows["diverse, validation task"] = [(said, *again(said, DIVERSE, "val")) for said in first]
    rows["diverse, training task, more of it"] = [
        *((said, *cases[said]) for said in more),
        ("mass effect 8 mm", *again("large oedema", PUSHED, "train")),
    ]
    return rows


def draw(demo: Path, path: Path) -> None:
    """Draw the presets with a scan of `demo`."""
    source = demo / SCAN / "flair.nii.gz"
    scan = read_volume(source)
    brain = prepare_brain(scan, source, brain_mask_beside(source))
    rows = make_rows(scan, brain)
    white = WHITE * float(np.percentile(scan.array[brain.array > 0], 99.5))
    i, j, _ = (slice(axis.min() - 2, axis.max() + 3) for axis in np.nonzero(brain.array))
    width, height = TILE_IN
    page = Page(height_in=0.05 + len(rows) * (height + 0.5))
    for r, (title, row) in enumerate(rows.items()):
        top = 0.05 + r * (height + 0.5)
        page.canvas.text(0.1, top, title, size=10, weight="bold", va="top")
        for c, (said, seed, made) in enumerate(row):
            left, volume_ml = 0.1 + c * (2 * width + 0.09), made.record["measured"]["volume_ml"]
            told = f"{said}, {volume_ml:.0f} ml, seed {seed}"
            page.canvas.text(left, top + 0.2, told, size=9, va="top")
            k = fullest(made.label.array)
            image, label = (axial(volume.array[i, j], k) for volume in (made.image, made.label))
            page.plane((left, top + 0.4), (width - 0.02, height), image, white)
            page.plane((left + width, top + 0.4), (width - 0.02, height), image, white, label)
    save(page.figure, path, dpi=150)
