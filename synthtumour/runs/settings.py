"""run.json: what a run was asked to do, with which packages, and what it writes beside its cases."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.staging import STAGING, dotted, read_json, write_json

RUN_FILE, JOURNAL_FILE, MANIFEST_FILE = "run.json", "journal.jsonl", "manifest.csv"
_PACKAGES = ("numpy", "scipy", "SimpleITK", "pandas", "tqdm")
_BYTES_HANG_ON = ("numpy", "scipy", "SimpleITK")
_NOT_ASKED = ("packages", "reserved")  # in run.json beside the settings
_SEVERAL = ", "  # between versions, in the order in which they were used


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

    def check(self, settings: Mapping[str, object], overwrite: bool) -> bool:
        """Whether an earlier run was asked for the same.

        Raises InputError for a run of another program, or one with other settings unless `overwrite`.
        """
        if self._earlier is None:
            return False
        if self._earlier.get("program") != settings.get("program"):
            raise InputError(
                f"{self.folder}: holds a run of {self._earlier.get('program')}, which --overwrite does not "
                "replace either; choose another folder"
            )
        asked = dotted(_as_json(settings))
        there = dotted({k: v for k, v in self._earlier.items() if k not in _NOT_ASKED})
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
        return not differences

    @property
    def reserved(self) -> set[str]:
        """What the earlier run writes beside its cases, as `write` was told."""
        names = (self._earlier or {}).get("reserved")
        return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()

    def write(self, settings: Mapping[str, object], reserved: Iterable[str]) -> None:
        """Say that this is a run with these settings, which writes `reserved` beside its cases."""
        packages = (self._earlier or {}).get("packages", _packages())
        self._earlier = {**_as_json(settings), "packages": packages, "reserved": sorted(reserved)}
        write_json(self._earlier, self.path)

    def note_packages(self, is_first: bool) -> None:
        """Say that cases are made with the packages here: too, unless they are the first."""
        assert self._earlier is not None
        packages = _packages()
        if not is_first:
            before = _versions(self._earlier)
            packages = {name: _both(before.get(name), version) for name, version in packages.items()}
        self._earlier = {**self._earlier, "packages": packages}
        write_json(self._earlier, self.path)

    @property
    def mixture(self) -> list[str]:
        """A note if the cases were made with several versions of what their bytes hang on."""
        versions = _versions(self._earlier or {})
        mixed = [f"{name} {versions[name]}" for name in _BYTES_HANG_ON if _SEVERAL in versions.get(name, "")]
        if not mixed:
            return []
        return [
            f"the cases were made with several versions ({'; '.join(mixed)}), so their last bits may differ "
            "from those of one; --overwrite makes all with what is installed now"
        ]

    def settle_on(self, settings: Mapping[str, object]) -> None:
        """Write it unless another shard has: the first says what all are to do, and with what."""
        packages = _packages()
        if self._earlier is None:
            self._write_first({**_as_json(settings), "packages": packages})
            self._earlier = read_json(self.path)
            self.check(settings, overwrite=False)
        assert self._earlier is not None
        for name in _BYTES_HANG_ON:
            there = _versions(self._earlier).get(name)
            if packages[name] not in (there or "").split(_SEVERAL):
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


def _versions(run: Mapping[str, Any]) -> dict[str, str]:
    packages = run.get("packages")
    if not isinstance(packages, dict):
        return {}
    return {name: version for name, version in packages.items() if isinstance(version, str)}


def _both(before: str | None, now: str) -> str:
    """The versions of a package that were used, each once."""
    return now if before is None else before if now in before.split(_SEVERAL) else before + _SEVERAL + now


def _as_json(content: Mapping[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(content))
