"""Which files are the run's own, and how those of a case get their names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.staging import give_name
from synthtumour.files.state import file_state, is_same, size_of
from synthtumour.runs.cases import NO_PICTURE, Case

_NOT_OURS = "{}: exists and was not made by this run; move it, or choose another output folder"

States = dict[str, "list[int] | None"]  # of files, by their paths in the run's folder


class Outputs:
    """The files that runs in `folder` have made, or will: `ours`, relative to it. No other is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours: set[str] = set()

    def relative(self, path: Path) -> str:
        return os.path.relpath(path, self.folder)

    def is_foreign(self, path: Path) -> bool:
        """Whether the name is taken by what the run does not know."""
        return os.path.lexists(path) and self.relative(path) not in self.ours

    def refuse_foreign(self, paths: Iterable[Path]) -> None:
        """Raise InputError if one of `paths` is taken by what the run does not know."""
        for path in paths:
            if self.is_foreign(path):
                raise InputError(_NOT_OURS.format(path))

    def settle(self, case: Case, staged: Case, crcs: Sequence[int | None]) -> tuple[States, list[str]]:
        """Give the files of a case their names; their states, and what to warn of.

        A file that is there, and that the run does not know, stays: it is taken for the run's own if it is
        byte for byte what has been made, as it is where a power cut has taken the end of the journal.
        A picture that was not drawn, or has no place, fails nothing.

        Raises InputError, before any file has its name, for one that is not the same; and from the disk.
        """
        outputs = [*zip(case.outputs, staged.outputs, crcs, strict=True)]
        files, drawn = outputs[: len(case.files)], outputs[len(case.files) :]
        for output, temporary, crc in files:
            self._refuse_another(output, temporary, crc)
        states: States = {}
        for output, temporary, crc in files:
            states[self.relative(output)] = self._place(output, temporary, crc)
        warnings = []
        for output, temporary, crc in drawn:
            states[self.relative(output)] = None
            try:
                if crc is None:  # the worker has said why
                    self.drop([output])
                    continue
                self._refuse_another(output, temporary, crc)
                states[self.relative(output)] = self._place(output, temporary, crc)
            except InputError as error:
                warnings.append(f"{NO_PICTURE} ({error})")
        return states, warnings

    def _refuse_another(self, output: Path, temporary: Path, crc: int | None) -> None:
        """Raise InputError if `output` is not the run's own, and another file than `temporary`."""
        if not self.is_foreign(output):
            return
        size = size_of(temporary)
        whole = size is not None and crc is not None and output.is_file() and not output.is_symlink()
        if not (whole and is_same(output, [size or 0, crc or 0, 0, 0])):
            raise InputError(_NOT_OURS.format(output))

    def _place(self, output: Path, temporary: Path, crc: int | None) -> list[int]:
        try:
            if not self.is_foreign(output):
                give_name(temporary, output)
            self.ours.add(self.relative(output))
            return file_state(output, crc)
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); mend that, and run the same again"
            raise InputError(f"{output}: {reason}") from error

    def drop(self, paths: Iterable[Path]) -> None:
        """Remove those of `paths` that are the run's own."""
        for path in paths:
            if self.relative(path) in self.ours:
                with contextlib.suppress(OSError):  # whatever has taken its place is not the run's
                    path.unlink()
                self.ours.discard(self.relative(path))

    def whole(self, paths: Iterable[Path], states: dict[str, Any]) -> bool:
        """Whether all of `paths` are there as they were in `states`."""
        return all((state := states.get(self.relative(path))) and is_same(path, state) for path in paths)
