"""The picture of a Stage 1 case."""

from __future__ import annotations

from pathlib import Path

from synthtumour.pictures.case import columns_of, preview_picture
from synthtumour.pictures.layout import png
from synthtumour.stage1.synthesis import Synthesis
from synthtumour.text import volume_text
from synthtumour.volume.volume import Volume

_TASKS = {"train": "training task", "val": "validation task"}


def write_picture(path: Path, name: str, scan: Volume, brain: Volume, made: Synthesis) -> None:
    """Write the picture of a case `made` from `scan`, called `name`, as PNG."""
    record = made.record
    rendering, count = record["rendering"], len(record["tumours"])
    many = f" in {count} tumours" if count > 1 else ""
    volume = volume_text(record["measured"]["volume_ml"])
    facts = f"{volume}{many}, {_TASKS[rendering['task']]}, preset {record['preset']}, seed {record['seed']}"
    columns = columns_of("before", scan, "after", made.image, made.label.array, brain.array)
    path.write_bytes(png(preview_picture(columns, (name, facts), rendering.get("labels") == "brats")))
