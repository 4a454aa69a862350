"""contact_sheet.png beside a run's manifest: some of its pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthtumour.errors import reason_of
from synthtumour.report.page import SHEET_FILE
from synthtumour.report.rows import Row


def write_sheet(folder: Path, pictures: str, rows: Sequence[Row], title: str) -> list[str]:
    """Write the contact sheet of the run in `folder`, whose `pictures` are in the folder of that name there.

    One line about what went wrong, if it did: the cases are whole without it.
    """
    sheet = folder / SHEET_FILE
    try:
        from synthtumour.pictures.sheet import write_contact_sheet

        shown = [row for row in rows if row["status"] == "made"]
        shown = [row for row in shown if (folder / pictures / f"{row['case']}.png").is_file()]
        if shown:
            write_contact_sheet(sheet, shown, folder / pictures, title)
    except Exception as error:
        return [f"no contact sheet: {sheet}: {reason_of(error)}"]
    return []
