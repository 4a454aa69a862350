"""Figs/results.png: Dice against false tumour, as benchmarks/two_stage.py measured them, and cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from Figs.panels import BLUE, GREEN, ORANGE, STRIP_IN, Case, Page, place_strip, save

COLOURS = {"threshold": "black", "junior": ORANGE, "senior": BLUE, "second senior": GREEN}
_CURVES_IN = 3.6


def draw(points: Path, path: Path, panels: Mapping[str, Case]) -> None:
    """Draw the CSV file that two_stage.py wrote, and under it the cases."""
    rows = pd.read_csv(points, keep_default_na=False)
    page = Page(_CURVES_IN + STRIP_IN * bool(panels))
    ax = page.axes(0.7, 0.15, 5.4, _CURVES_IN - 0.75)
    for number, (row, colour) in enumerate(COLOURS.items()):
        own = rows[rows["row"] == row]
        curve, gated = own[own["level"] != "gate"], own[own["level"] == "gate"]
        refined = rows[rows["row"] == f"{row} refined"]
        line = "--" if row == "threshold" else "-"
        for part, mark, size, said in (
            (curve, line, 0, row if row == "threshold" else f"{row}, every limit"),
            (curve[curve["usual"] == 1], "s", 5, ""),
            (gated, "o", 12 - 2 * number, f"{row}, confidence gate"),
            (refined, "*", 20 - 4 * number, f"{row}, gate and refined"),
        ):
            if len(part):
                label = said or None
                ax.plot(
                    part["false_ml"],
                    part["dice"],
                    mark,
                    color=colour,
                    ms=size,
                    mec="white",
                    lw=1.8,
                    label=label,
                )
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    usual = rows[rows["usual"] == 1]  # the ends of the curves may be cut off
    ax.set_xlim(-0.1, max(300, 2 * usual["false_ml"].max()))
    ax.set_ylim(min(0.4, usual["dice"].min() - 0.05), max(0.9, usual["dice"].max() + 0.03))
    ax.set_xlabel("false tumour, ml per tumour-free scan", size=10)
    ax.set_ylabel("Dice, mean over scans of tumours", size=10)
    ax.tick_params(labelsize=9)
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=9, frameon=False)
    place_strip(page, panels, _CURVES_IN)
    save(page.figure, path)
