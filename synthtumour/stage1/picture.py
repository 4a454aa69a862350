"""The picture of a Stage 1 case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synthtumour.pictures.case import BRAIN, BRATS, WHOLE, columns_of, preview_picture
from synthtumour.pictures.layout import png
from synthtumour.stage1.synthesis import Synthesis
from synthtumour.text import volume_text
from synthtumour.volume.volume import Volume

_TASKS = {"train": "training task", "val": "validation task"}


def write_picture(
    path: Path, name: str, scan: Volume, brain: Volume, made: Synthesis, with_brain: bool = False
) -> None:
    """Write the picture of a case `made` from `scan`, called `name`, as PNG.

    `with_brain`: with the outline of its mask.
    """
    record = made.record
    rendering, count = record["rendering"], len(record["tumours"])
    many = f" in {count} tumours" if count > 1 else ""
    volume = volume_text(record["measured"]["volume_ml"])
    facts = f"{volume}{many}, {_TASKS[rendering['task']]}, preset {record['preset']}, seed {record['seed']}"
    legend = BRATS if rendering.get("labels") == "brats" else WHOLE
    columns = columns_of("before", scan, "after", made.image, made.label.array, brain.array, legend)
    if with_brain:
        columns[0] = replace(columns[0], heading="before:", label=brain.array, legend=BRAIN)
    path.write_bytes(png(preview_picture(columns, (name, facts))))
