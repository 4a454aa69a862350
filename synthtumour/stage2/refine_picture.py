"""The picture of a refined label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthtumour.pictures.case import REFINED, Column, look_of, preview_picture
from synthtumour.pictures.layout import png
from synthtumour.stage2.pseudo_labels import Head


def write_picture(
    path: Path, name: str, facts: str, head: Head, before: np.ndarray, after: np.ndarray
) -> None:
    """Write a PNG of the first channel: bare, with the label `before`, and with both outlines."""
    scan = head.channels[0]
    old, new = before > 0, after > 0
    look = look_of(scan, scan, old | new, head.brain)
    columns = [
        Column("scan", scan.array, None, look),
        Column("", scan.array, None, look, under=old),
        Column("", scan.array, new, look, REFINED, under=old),
    ]
    path.write_bytes(png(preview_picture(columns, (name, facts))))
