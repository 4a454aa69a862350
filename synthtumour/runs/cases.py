"""Units of work, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One unit of work: its unique `name`, the files it makes, and all that their bytes follow from.

    A case that was made with other `parameters`, or from other bytes in `inputs`, is made again.
    """

    name: str
    outputs: tuple[Path, ...]
    parameters: Mapping[str, object]  # JSON-able
    inputs: tuple[Path, ...] = ()
    columns: Mapping[str, object] = field(default_factory=dict)  # what the manifest says of it beforehand


@dataclass(frozen=True)
class Group:
    """Cases made from one `source`, which is loaded once for all of them."""

    source: object  # picklable and small: paths, not arrays
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Report:
    """What became of every case of a run, in the order asked for."""

    rows: list[dict[str, object]]  # one a case: name, status, reason, columns, what `make` returned, seconds
    made: int
    kept: int
    failed: list[tuple[str, str]]  # name and reason
    missing: int = 0  # neither made nor failed
    interrupted: int = 0  # the signal that stopped the run
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when every case is there, 1 when any is not, as a shell has it when the run was interrupted."""
        return 128 + self.interrupted if self.interrupted else int(bool(self.failed or self.missing))


def report_of(
    rows: list[dict[str, object]], kept: int, interrupted: int = 0, notes: Sequence[str] = ()
) -> Report:
    """The report of a run with these rows, of which `kept` are an earlier run's."""
    failed = [(str(row["case"]), str(row["reason"])) for row in rows if row["status"] == "failed"]
    missing = sum(row["status"] == "not made" for row in rows)
    made = len(rows) - len(failed) - missing - kept
    return Report(rows, made, kept, failed, missing, interrupted, tuple(notes))
