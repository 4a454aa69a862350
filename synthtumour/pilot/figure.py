"""The figure of scores: Dice of every scan against the size of its tumour, and false tumour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthtumour.files.staging import write_bytes


def write_figure(rows: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Write a PNG, and return the line that says so, or why there is none."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return "no figure: it needs matplotlib (pip install matplotlib)"
    import io

    tumours = [row for row in rows if row["kind"] == "tumour"]
    free = [row for row in rows if row["kind"] == "tumour-free"]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    left.scatter([row["expert_ml"] for row in tumours], [row["dice"] for row in tumours], color="#0072B2")
    left.set(xlabel="expert's volume, ml", ylabel="Dice", ylim=(0, 1), title=f"{len(tumours)} tumours")
    if any("threshold_dice" in row for row in tumours):
        pairs = [(row["expert_ml"], row["threshold_dice"]) for row in tumours if "threshold_dice" in row]
        left.scatter(*zip(*pairs, strict=True), color="#D55E00", marker="x", label="FLAIR threshold")
        left.legend()
    left.set_xscale("log")
    right.scatter(range(1, len(free) + 1), [row["volume_ml"] for row in free], color="#0072B2")
    right.set(xlabel="tumour-free scan", ylabel="false tumour, ml", title=f"{len(free)} tumour-free")
    right.set_ylim(bottom=0)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_bytes(content.getvalue(), path)
    return f"figure: {path}"
