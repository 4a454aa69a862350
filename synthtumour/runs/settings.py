"""run.json: what a run was asked to do, and with which packages."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.staging import STAGING, dotted, read_json, write_json

RUN_FILE, JOURNAL_FILE, MANIFEST_FILE = "run.json", "journal.jsonl", "manifest.csv"
_PACKAGES = ("numpy", "scipy", "SimpleITK", "pandas", "tqdm")
_BYTES_HANG_ON = ("numpy", "scipy", "SimpleITK")


class RunFile:
    """run.json in `folder`, and what an earlier run has written there; InputError if that is none of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / RUN_FILE
        self._earlier: dict[str, Any] | None = None
        if self.path.exists():
            try:
                self._earlier = read_json(self.path)
            except ValueError as error:
                raise InputError(
                    f"{self.path}: not written by this program; choose another folder"
                ) from error

    def check(self, settings: Mapping[str, object], overwrite: bool) -> None:
        """Raise InputError for a run of another program, or one with other settings unless `overwrite`."""
        if self._earlier is None:
            return
        if self._earlier.get("program") != settings.get("program"):
            raise InputError(
                f"{self.folder}: holds a run of {self._earlier.get('program')}, which --overwrite does not "
                "replace either; choose another folder"
            )
        asked = dotted(_as_json(settings))
        there = dotted({k: v for k, v in self._earlier.items() if k != "packages"})
        differences = [
            f"{key.replace('options.', '--')} was {there.get(key, 'unset')}, now {asked.get(key, 'unset')}"
            for key in sorted({*asked, *there})
            if asked.get(key) != there.get(key)
        ]
        if differences and not overwrite:
            raise InputError(
                f"{self.folder}: made with other options ({'; '.join(differences)}); use those, another "
                "output folder, or --overwrite"
            )

    def write(self, settings: Mapping[str, object]) -> None:
        """Say that this is a run with these settings."""
        self._earlier = {**_as_json(settings), "packages": _packages()}
        write_json(self._earlier, self.path)

    def settle_on(self, settings: Mapping[str, object]) -> None:
        """Write it unless another shard has: the first says what all are to do, and with what."""
        packages = _packages()
        if self._earlier is None:
            self._write_first({**_as_json(settings), "packages": packages})
            self._earlier = json.loads(self.path.read_text(encoding="utf-8", errors="surrogateescape"))
            self.check(settings, overwrite=False)
        assert self._earlier is not None
        for name in _BYTES_HANG_ON:
            if (there := self._earlier.get("packages", {}).get(name)) != packages[name]:
                raise InputError(
                    f"{self.folder}: the other shards have {name} {there}, here it is {packages[name]}; "
                    "install the same, as the bytes may differ"
                )

    def _write_first(self, content: Mapping[str, object]) -> None:
        temporary = self.folder / f"{STAGING}{secrets.token_hex(8)}.json"
        try:
            write_json(content, temporary)
            try:
                os.link(temporary, self.path)  # unlike a rename it never replaces what is there
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                os.replace(temporary, self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error
        finally:
            temporary.unlink(missing_ok=True)


def is_run(folder: Path, about: Mapping[str, object]) -> bool:
    """Whether an earlier run in `folder` was about the same."""
    try:
        earlier = read_json(folder / RUN_FILE)
    except (OSError, ValueError):
        return False
    return all(earlier.get(key) == value for key, value in about.items())


def _packages() -> dict[str, str]:
    return {"python": sys.version.split()[0], **{name: metadata.version(name) for name in _PACKAGES}}


def _as_json(content: Mapping[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(content))
