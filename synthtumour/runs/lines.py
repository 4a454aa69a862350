"""The lines of a journal, which is only appended to; those of other programs are passed over."""

from __future__ import annotations

import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.runs.staging import CARRY_ON

Place = tuple[int, int, int]  # of a line: the descriptor of its file, where it begins there, its length


class Lines:
    """The file of a journal, open for appending."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self.descriptor = file.fileno()

    def append(self, line: object, sync: bool = False) -> Place:
        """Write a line, to be on the disk if `sync`; return where it is. InputError if the disk refuses."""
        content = json.dumps(line).encode() + b"\n"
        at = os.fstat(self.descriptor).st_size
        self.write(content, sync)
        return self.descriptor, at, len(content)

    def write(self, content: bytes, sync: bool = False) -> None:
        try:
            while content:
                content = content[self._file.write(content) :]
            if sync:
                os.fsync(self.descriptor)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}); {CARRY_ON}") from error


def line_at(place: Place) -> dict[str, Any]:
    """What the line at `place` says."""
    descriptor, at, length = place
    return json.loads(os.pread(descriptor, length, at))


def entry_in(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if it was cut off or is not of this program."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if _is_entry(entry) else None


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    started, drawing = entry.get("started", {}), entry.get("drawing", {})
    if not isinstance(started, dict) or not isinstance(drawing, dict):
        return False
    if not all(map(_are_outputs, (entry.get("outputs", {}), *started.values(), *drawing.values()))):
        return False
    return (
        all(isinstance(entry.get(key, ""), str) for key in ("case", "removed", "digest", "reason"))
        and all(_are_paths(entry.get(key, [])) for key in ("reserved", "staging"))
        and ("case" not in entry or (entry.get("status") in ("made", "failed") and "outputs" in entry))
        and (entry.get("status") != "made" or "digest" in entry)
        and isinstance(entry.get("made", {}), dict)
        and isinstance(entry.get("shards", 0), int)
        and isinstance(entry.get("inputs", []), list)
        and all(_is_state(state) for state in entry.get("inputs", []))
        and isinstance(entry.get("warnings", []), list)
        and all(isinstance(text, str) for text in entry.get("warnings", []))
    )


def _are_outputs(outputs: object) -> bool:
    return isinstance(outputs, dict) and _are_paths([*outputs]) and all(map(_is_state, outputs.values()))


def _are_paths(paths: object) -> bool:
    """Whether these are names of files relative to the run's folder."""
    return isinstance(paths, list) and all(
        isinstance(path, str) and path and not os.path.isabs(path) and "\0" not in path for path in paths
    )


def _is_state(state: object) -> bool:
    """Whether this can be a `file_state`, or that of a file that was not there."""
    return state is None or (
        isinstance(state, list) and len(state) >= 2 and all(isinstance(number, int) for number in state)
    )
