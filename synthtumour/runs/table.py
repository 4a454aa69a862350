"""Tables as CSV, a row at a time: pandas took many times the memory for the same bytes."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from synthtumour.files.staging import staged_outputs


def write_table(
    rows: Sequence[Mapping[str, object]],
    columns: Mapping[str, str],
    path: Path,
    decimal: Collection[str] = (),
) -> None:
    """Write a row each of `rows`, whole or not at all; a file that says the same is left alone.

    `columns` are the keys of the rows by their headings. What is missing, None or no number is an empty cell;
    a whole number in one of the columns `decimal` is written as 1.0. UTF-8, quotes where they are needed, a
    line feed after each line: as pandas writes objects.
    """
    if path.is_file():
        with path.open("rb") as file:
            there = _There(file)
            _write(rows, columns, there, decimal)
            if there.is_same and not file.read(1):
                return
    with (
        staged_outputs([path]) as partial,
        partial[path].open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        _write(rows, columns, out, decimal)


def _write(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], file: object, decimal: Collection[str]
) -> None:
    table = csv.writer(file, lineterminator="\n")  # type: ignore[arg-type]
    table.writerow(columns)
    keys = [(key, heading in decimal) for heading, key in columns.items()]
    for row in rows:
        table.writerow([_cell(row.get(key), as_decimal) for key, as_decimal in keys])


def _cell(value: object, as_decimal: bool) -> object:
    if value is None or value != value:
        return ""
    return float(value) if as_decimal and isinstance(value, int) else value


class _There:
    """Takes what would be written, and holds it against what is in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.is_same = file, True

    def write(self, text: str) -> None:
        content = text.encode("utf-8", "surrogateescape")
        self.is_same = self.is_same and self._file.read(len(content)) == content
