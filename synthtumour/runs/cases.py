"""Units of work, and what became of them."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthtumour.errors import reason_of

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_PICTURE = "its picture could not be drawn"  # how that warning begins


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
    pictures: int = 0  # so many of the last `outputs` show the others; a case is made without them too
    there: tuple[Path, ...] = ()  # of a case that lacks its pictures alone: the other files, made before ...
    made: Mapping[str, object] = field(default_factory=dict)  # ... and what `make` said of them

    @property
    def files(self) -> tuple[Path, ...]:
        """The outputs that are no pictures."""
        return self.outputs[: len(self.outputs) - self.pictures]

    @property
    def drawn(self) -> tuple[Path, ...]:
        """The outputs that are pictures."""
        return self.outputs[len(self.outputs) - self.pictures :]

    def only_drawn(self) -> Case:
        """The case with nothing to make but its pictures."""
        return replace(self, outputs=self.drawn, there=self.files)


@contextlib.contextmanager
def drawing(picture: Path) -> Iterator[None]:
    """Around the drawing of a picture: whatever fails there is a warning, but for a full disk."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        with contextlib.suppress(OSError):
            picture.unlink()
        warnings.warn(f"{NO_PICTURE} ({reason_of(error)})", stacklevel=3)


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
    drawn: int = 0  # of those kept, the ones that have their pictures of this run
    interrupted: int = 0  # the signal that stopped the run
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when every case is there, 1 when any is not, as a shell has it when the run was interrupted."""
        return 128 + self.interrupted if self.interrupted else int(bool(self.failed or self.missing))


def report_of(
    rows: list[dict[str, object]],
    kept: int,
    interrupted: int = 0,
    notes: Sequence[str] = (),
    drawn: int = 0,
) -> Report:
    """The report of a run with these rows, `kept` of them an earlier run's, some with new pictures."""
    failed = [(str(row["case"]), str(row["reason"])) for row in rows if row["status"] == "failed"]
    missing = sum(row["status"] == "not made" for row in rows)
    made = len(rows) - len(failed) - missing - kept
    return Report(rows, made, kept, failed, missing, drawn, interrupted, tuple(notes))
