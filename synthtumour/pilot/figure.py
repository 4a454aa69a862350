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
    left.set(xlabel="expert's volume, ml", ylabel="Dice", ylim=(0, 1), title=f"{len(tumours)} tumours")
    shown = [row for row in tumours if row["expert_ml"] > 0]  # others have no place on a logarithmic axis
    for column, colour, marker, name in (
        ("dice", "#0072B2", "o", "segmentation"),
        ("threshold_dice", "#D55E00", "x", "FLAIR threshold"),
    ):
        pairs = [(row["expert_ml"], row[column]) for row in shown if column in row]
        if pairs:
            left.scatter(*zip(*pairs, strict=True), color=colour, marker=marker, label=name)
            left.set_xscale("log")
    if any("threshold_dice" in row for row in shown):
        left.legend()
    right.scatter(range(1, len(free) + 1), [row["volume_ml"] for row in free], color="#0072B2")
    right.set(xlabel="tumour-free scan", ylabel="false tumour, ml", title=f"{len(free)} tumour-free")
    right.set_ylim(bottom=0)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_bytes(content.getvalue(), path)
    return f"figure: {path}"
