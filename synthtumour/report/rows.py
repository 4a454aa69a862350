"""A manifest's rows as figures and page read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = Mapping[str, object]
Names = Sequence[tuple[str, str]]  # (name, reason)
Brains = Sequence[tuple[Path, Path | None]]  # scans and their brain masks


def number(row: Row, *columns: str) -> float | None:
    """The first of `columns` that holds a number."""
    for column in columns:
        value = row.get(column)
        if isinstance(value, (int, float)) and math.isfinite(value):
            return value
    return None


def volume(row: Row) -> float | None:
    """Of the label, in ml."""
    return number(row, "volume_ml")


def contrast(row: Row) -> float | None:
    """Mean inside the label over that of the brain around it."""
    return number(row, "contrast", "contrast_mixed")


def tumours(row: Row) -> float | None:
    """How many were drawn."""
    return number(row, "tumours")


MEASURED = {"volume": volume, "contrast": contrast, "tumours": tumours}  # what the page sorts by


def short(value: float) -> str:
    """Three significant digits, and all of those before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
