"""The picture of a Stage 2 case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synthtumour.pictures.case import REFINED, Column, columns_of, look_of, preview_picture
from synthtumour.pictures.layout import png
from synthtumour.stage2.mix import Mixed
from synthtumour.stage2.pseudo_labels import Donor, Head


def write_picture(path: Path, name: str, facts: str, donor: Donor, recipient: Head, mixed: Mixed) -> None:
    """Write a PNG of the first channels, and of the donor's tumour where it grew."""
    before, after, home = recipient.channels[0], mixed.channels[0], donor.head.channels[0]
    columns = columns_of("recipient", before, "mixed", after, mixed.label.array, recipient.brain)
    look = look_of(home, home, donor.label > 0, donor.head.brain)
    changed = not np.array_equal(donor.cleaned, donor.label)
    how: dict[str, Any] = {"legend": REFINED, "under": donor.cleaned} if changed else {}
    columns.append(Column("donor:", home.array, donor.label, look, **how))
    path.write_bytes(png(preview_picture(columns, (name, facts))))
