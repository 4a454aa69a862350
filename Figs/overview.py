"""Figs/overview.png: the two stages, drawn with what the scripts make of the simulated scans of DemoData.

The networks are boxes; the curve is the one that benchmarks/selection_curve.py measured. No real tumour is
shown: one of preset diverse stands in for it, and its own label for the junior's pseudo-label.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from matplotlib.patches import FancyBboxPatch

from Figs.panels import BLUE, RED, Page, axial, fullest, middle_of, run_script, save
from synthtumour.volume.reading import read_volume

TILE_IN = (1.25, 1.47)
TILE_MM = (160, 188)
TRAINING, VALIDATION, DONOR = "sim-01", "sim-03", "sim-02"
STAGE1_SEED, DONOR_SEED = 3, 10  # the former puts sim-03 on the validation side
WHITE = 1.5  # of a window, in 99.5th percentiles of the brain, if the tumour is not brighter


def draw(demo: Path, curve: Path, path: Path) -> None:
    """Draw the stages with the scans in `demo`, and the CSV file that selection_curve.py wrote."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        make_cases(demo, work)
        page = Page(height_in=7.0)
        draw_stage1(page, demo, work / "Dataset101_Overview")
        draw_curve(page, (5.3, 2.75), curve)
        draw_stage2(page, demo, work)
    save(page.figure, path)


def make_cases(demo: Path, work: Path) -> None:
    """Run the three scripts: a Stage 1 dataset, the stand-in for a real tumour scan, mixed cases."""
    real = work / "Real"
    for part in ("imagesTr", "labelsTr"):
        (real / part).mkdir(parents=True)
    for script, *options in (
        (
            "prompt_multi_tumor.py",
            *("--input", demo, "--output", work / "Dataset101_Overview"),
            *("--val-fraction", 0.34, "--seed", STAGE1_SEED, "--workers", 1),
            *("--without-tumour", 0, "--num-tumours", 1, "--distractors", 0),
        ),
        (
            "resect_multi_tumor.py",
            *(demo / DONOR / "flair.nii.gz", real / f"imagesTr/{DONOR}_0000.nii.gz"),
            *(real / f"labelsTr/{DONOR}.nii.gz", "--seed", DONOR_SEED),
            *("--preset", "diverse", "--distractors", 0, "--num-tumours", 1, "--center-ras", 30, 30, 24),
            *("--min-volume", 60_000, "--max-volume", 70_000, "--core-probability", 1),
        ),
        (
            "stage2_mixed_with_pseudo_label.py",
            *("--imagesTr_path", real / "imagesTr", "--labelsTr_path", real / "labelsTr"),
            *("--healthyimgTr", demo, "--mask_check_path", work / "check", "-num", 4, "--workers", 1),
        ),
    ):
        run_script(script, *options)


# ---------------------------------------------------------------- the stages


def draw_stage1(page: Page, demo: Path, dataset: Path) -> None:
    header(page, 0.08, "Stage 1: synthetic tumours in tumour-free scans", BLUE)
    for subject, case, y, said in (
        (TRAINING, TRAINING, 0.75, "training task"),
        (VALIDATION, f"{VALIDATION}val", 2.75, "validation task:\nanother intensity rule"),
    ):
        before = read_volume(demo / subject / "flair.nii.gz").array
        after = read_volume(dataset / f"imagesTr/{case}_0000.nii.gz").array
        label = read_volume(dataset / f"labelsTr/{case}.nii.gz").array
        k, white = fullest(label), white_of(after, label)
        tile(page, 0.1, y, "tumour-free scan", (before, k, white))
        tile(page, 2.0, y, said, (after, k, white), label)
        arrow(page, (1.43, y + 0.73), (1.92, y + 0.73))
    network(
        *(page, 4.75, 0.75, (4.15, 1.1), "junior nnU-Net"),
        "learns from the training task alone. The checkpoint\nthat does best on the validation task "
        "is kept: it should not\nhave memorised the texture that it learnt from",
        BLUE,
    )
    arrow(page, (3.33, 1.3), (4.67, 1.3), "learns from", BLUE)
    arrow(page, (3.33, 3.48), (4.67, 3.48), "is scored on", BLUE, "--")
    arrow(page, (6.83, 2.62), (6.83, 1.93), "", BLUE, "--")
    page.canvas.text(6.95, 2.27, "chooses the checkpoint", size=9, va="center", color=BLUE)


def draw_curve(page: Page, corner: tuple[float, float], curve: Path) -> None:
    """The measured score on the validation task against iterations, and the checkpoint that it chooses."""
    rows = pd.read_csv(curve, keep_default_na=False)
    best = rows[rows["chosen_by"].str.contains("best shifted validation")].iloc[0]
    ax = page.axes(*corner, 3.6, 1.3)
    ax.plot(rows["iterations"], rows["shifted"], color=BLUE, lw=1.6)
    ax.plot(best["iterations"], best["shifted"], "*", color=BLUE, ms=13, clip_on=False)
    ax.set_xlabel("iterations (measured: benchmarks/SELECTION.md)", size=9, labelpad=1)
    ax.set_ylabel("Dice", size=9)
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def draw_stage2(page: Page, demo: Path, work: Path) -> None:
    header(page, 4.62, "Stage 2: real tumours, labelled by the junior, in other brains", RED)
    real, y, middle = work / "Real", 5.15, 5.88
    pairs = pd.read_csv(work / "check/CarveMixID.csv")
    mixed, recipient = pairs.loc[pairs["id2"] != DONOR, ["id", "id2"]].iloc[0]
    donor, label, before, after, mixed_label = (
        read_volume(scan).array
        for scan in (
            real / f"imagesTr/{DONOR}_0000.nii.gz",
            real / f"labelsTr/{DONOR}.nii.gz",
            demo / recipient / "flair.nii.gz",
            real / f"imagesTrMix/{mixed}_0000.nii.gz",
            real / f"labelsTrMix/{mixed}.nii.gz",
        )
    )
    k, white = fullest(label), white_of(donor, label)
    tile(page, 0.1, y, "tumour scan, no label", (donor, k, white))
    tile(page, 2.0, y, "pseudo-label", (donor, k, white), label)
    k, white = fullest(mixed_label), white_of(after, mixed_label)
    tile(page, 3.6, y, "tumour-free scan", (before, k, white))
    tile(page, 5.5, y, "mixed case", (after, k, white), mixed_label)
    arrow(page, (1.43, middle), (1.92, middle), "junior", BLUE)
    page.canvas.text(3.425, middle, "+", size=14, ha="center", va="center")
    arrow(page, (4.93, middle), (5.42, middle), "mix")
    arrow(page, (6.83, middle), (7.27, middle), "", RED)
    network(
        *(page, 7.35, y + 0.1, (1.55, 1.2), "senior nnU-Net"),
        "learns from mixed\ncases and from real\nones with their\npseudo-labels",
        RED,
    )
    below = y + 1.68
    page.canvas.plot((2.62, 2.62, 8.12), (y + 1.53, below, below), color=RED, lw=1.6)
    arrow(page, (8.12, below), (8.12, y + 1.38), "", RED)


# ---------------------------------------------------------------- what they are drawn with


def white_of(scan: np.ndarray, label: np.ndarray) -> float:
    """Of a window that shows the brain, and the tumour inside `label`."""
    brain = np.percentile(scan[(scan > 0) & (label == 0)], 99.5)
    return float(max(WHITE * brain, np.percentile(scan[label > 0], 99)))


def header(page: Page, y: float, said: str, colour: str) -> None:
    page.canvas.text(0.1, y, said, size=12, weight="bold", color=colour, va="top")


def tile(
    page: Page,
    x: float,
    y: float,
    said: str,
    shown: tuple[np.ndarray, int, float],  # scan, slice, white of the window
    label: np.ndarray | None = None,
) -> None:
    scan, k, white = shown
    page.canvas.text(x, y - 0.06, said, size=9, va="bottom", linespacing=1.15)
    outline = None if label is None else middle_of(axial(label, k), TILE_MM)
    page.plane((x, y), TILE_IN, middle_of(axial(scan, k), TILE_MM), white, outline)


def network(
    page: Page, x: float, y: float, size: tuple[float, float], name: str, said: str, colour: str
) -> None:
    style = "round,pad=0,rounding_size=0.1"
    page.canvas.add_patch(FancyBboxPatch((x, y), *size, boxstyle=style, fc="white", ec=colour, lw=2))
    centre = x + size[0] / 2
    page.canvas.text(centre, y + 0.12, name, size=11, weight="bold", color=colour, ha="center", va="top")
    page.canvas.text(centre, y + 0.4, said, size=9, ha="center", va="top", linespacing=1.25)


def arrow(
    page: Page,
    start: tuple[float, float],
    end: tuple[float, float],
    said: str = "",
    colour: str = "black",
    line: str = "-",
) -> None:
    head = "-|>,head_width=0.25,head_length=0.5"
    look = {"arrowstyle": head, "color": colour, "lw": 1.6, "ls": line, "shrinkA": 0, "shrinkB": 0}
    page.canvas.annotate("", end, start, arrowprops=look)
    if said:
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.06
        page.canvas.text(x, y, said, size=9, ha="center", va="bottom", color=colour)
