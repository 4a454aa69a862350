"""Folders for unfinished work, beside where the files go, which no other run shares."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from synthtumour.errors import InputError
from synthtumour.files.staging import STAGING
from synthtumour.runs.cases import Case

CARRY_ON = "the same command carries on where this run stopped"
VANISHED = "vanished while the run was on;"
_OURS = re.compile(re.escape(STAGING) + "[0-9a-f]{16}")
_PATIENCE_S = 5.0


class Staging:
    """Where the workers of the run in `folder` write; `folders` may hold those that a killed run has left."""

    def __init__(self, folder: Path) -> None:
        self.folders: list[Path] = []
        self._folder = folder
        self._places: set[Path] = set()  # folders that the run writes in
        self._tasks = 0

    def clear_old(self, places: Iterable[Path]) -> None:
        """Remove what earlier runs have left in `places`, the folders of this run, and in the run's own.

        A journal that somebody has changed must not lead out of them.
        """
        self._places = {Path(os.path.abspath(place)) for place in places}
        self.folders = [folder for folder in self.folders if self.may_hold(folder)]
        self.clear()

    def may_hold(self, path: Path) -> bool:
        """Whether `path` lies where this run writes, or in the run's own folder."""
        place = Path(os.path.abspath(path.parent))
        return place in self._places or place.is_relative_to(os.path.abspath(self._folder))

    def choose(self, places: Iterable[Path]) -> None:
        """One new name, for a folder in each of `places`."""
        name = f"{STAGING}{secrets.token_hex(8)}"
        self.folders = [place / name for place in sorted(places)]

    def make(self) -> None:
        """Make the folders that were chosen; InputError if that cannot be."""
        for folder in self.folders:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
            except OSError as error:
                reason = f"cannot be written ({error.strerror}); choose another output folder"
                raise InputError(f"{folder.parent}: {reason}") from error

    def check(self) -> None:
        """Raise InputError if a folder that the cases go to has vanished."""
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(f"{folder.parent}: {VANISHED} {CARRY_ON}")

    def of_task(self, cases: Sequence[Case]) -> list[Case]:
        """`cases` as a worker is to write them: in a folder of their task."""
        self._tasks += 1
        place = Path(self.folders[0].name if self.folders else "", str(self._tasks))
        return [replace(c, outputs=tuple(o.parent / place / o.name for o in c.outputs)) for c in cases]

    def clear(self) -> None:
        """Remove the folders, with what is in them."""
        for folder in self.folders:
            if _OURS.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                give_up = time.monotonic() + _PATIENCE_S  # a killed run's worker may be writing yet
                while folder.exists() and time.monotonic() < give_up:
                    time.sleep(0.05)
                    shutil.rmtree(folder, ignore_errors=True)
        self.folders = []
