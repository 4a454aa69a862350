"""The folder of a run: what was made in it, by which run, and whether it still is what was made.

- `run.json`: what the run was asked to do (program, version, preset, options) and with which packages;
- `journal.jsonl`: one line whenever cases are started, made or failed. It is only ever appended to, so it is
  what a run that was interrupted, or killed, is resumed from;
- `manifest.csv`: one row a case in the order asked for, written when the run ends or is interrupted.

A case is done when its files are as long as they were made and have the same CRC, and its parameters are the
ones asked for. Files that the journal does not know are never replaced or removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour.lock import hold
from synthtumour.volume import InputError, staged_outputs, staging_files

if TYPE_CHECKING:
    from synthtumour.fanout import Case

RUN_FILE, JOURNAL_FILE, MANIFEST_FILE = "run.json", "journal.jsonl", "manifest.csv"
PACKAGES = ("numpy", "scipy", "SimpleITK", "pandas", "tqdm")


class Journal:
    """The run's folder, held against other runs: what was made in it, and whether it is there still.

    `settings` go into run.json; they have to equal those of an earlier run in `folder` unless `overwrite`.
    `reserved` are files that the caller writes when the cases are made: they must not be there already unless
    an earlier run is in `folder`. What the caller does under the `with` is safe from other runs.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        *,
        reserved: Iterable[Path] = (),
        overwrite: bool = False,
    ) -> None:
        self.folder = folder
        self.path = folder / JOURNAL_FILE
        self.settings = settings
        self.reserved = tuple(reserved)
        self.overwrite = overwrite
        self.entries: dict[str, dict[str, Any]] = {}
        self._earlier: dict[str, Any] | None = None  # the settings of the run that was here

    def __enter__(self) -> Journal:
        """Raises InputError if another run is in the folder, or what it holds is not this run's."""
        with contextlib.ExitStack() as stack:
            missing = [p for p in (self.folder, *self.folder.parents) if not p.exists()]
            stack.callback(self._remove_empty, missing)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold(self.folder))
                self._file = stack.enter_context(self.path.open("a+", encoding="utf-8"))
            except OSError as error:
                reason = f"cannot be written ({error.strerror}); choose another output folder"
                raise InputError(f"{self.folder}: {reason}") from error
            stack.callback(self._remove_if_unused)
            self._read()
            self._check_settings()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove_if_unused(self) -> None:
        if self._earlier is None and self.path.stat().st_size == 0:
            self.path.unlink()

    @staticmethod
    def _remove_empty(folders: Iterable[Path]) -> None:
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _read(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        if text and not text.endswith("\n"):  # the run was killed while it wrote this line
            self._file.write("\n")
            self._file.flush()
        for line in text.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                for name in entry.get("started", ()):
                    self.entries[name] = {"status": "started", "outputs": entry["started"][name]}
                if "case" in entry:
                    self.entries[entry["case"]] = entry
                if "removed" in entry:
                    self.entries.pop(entry["removed"], None)
        run_file = self.folder / RUN_FILE
        if run_file.exists():
            try:
                self._earlier = json.loads(run_file.read_text(encoding="utf-8", errors="surrogateescape"))
            except ValueError as error:
                raise InputError(f"{run_file}: not written by this program; choose another folder") from error

    def _check_settings(self) -> None:
        if self._earlier is None:
            if not self.entries:
                for path in (self.folder / MANIFEST_FILE, *self.reserved):
                    if path.exists():
                        raise InputError(
                            f"{path}: exists and is not of this program; choose another output folder"
                        )
            return
        if self._earlier.get("program") != self.settings.get("program"):
            raise InputError(
                f"{self.folder}: holds a run of {self._earlier.get('program')}, which --overwrite does not "
                "replace either; choose another folder"
            )
        asked = _flat(_as_json(self.settings))
        there = _flat({k: v for k, v in self._earlier.items() if k != "packages"})
        differences = [
            f"{key.replace('options.', '--')} was {there.get(key, 'unset')}, now {asked.get(key, 'unset')}"
            for key in sorted({*asked, *there})
            if asked.get(key) != there.get(key)
        ]
        if differences and not self.overwrite:
            raise InputError(
                f"{self.folder}: made with other options ({'; '.join(differences)}); use those, another "
                "output folder, or --overwrite"
            )

    def admit(self, plan: Mapping[str, Case]) -> list[str]:
        """Make the folder this run's, with what it no longer asks for cleared away; notes of what stays.

        Raises InputError, before anything is changed, for files and cases that are not of this run.
        """
        owned = {output for entry in self.entries.values() for output in entry["outputs"]}
        for case in plan.values():
            for output in case.outputs:
                if output.exists() and self._relative(output) not in owned:
                    raise InputError(
                        f"{output}: exists and was not made by this run; move it, or choose another output "
                        "folder"
                    )
        surplus = [name for name in self.entries if name not in plan]
        if surplus and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds {len(surplus)} case(s) of an earlier run that the input no longer "
                f"asks for ({', '.join(surplus[:3])}{', ...' if len(surplus) > 3 else ''}); use another "
                "output folder, or --overwrite to remove them"
            )
        changed = [relative for name in surplus for relative in self.remove(name)]
        for entry in list(self.entries.values()):  # what a killed run has left half written
            if entry["status"] == "started":
                for relative in entry["outputs"]:
                    remove_partial(self.folder / relative)
        packages = {name: metadata.version(name) for name in PACKAGES}
        self._earlier = {
            **_as_json(self.settings),
            "packages": {"python": sys.version.split()[0], **packages},
        }
        write_json(self._earlier, self.folder / RUN_FILE)
        return [f"{relative}: changed since an earlier run made it, left as it is" for relative in changed]

    def start(self, cases: Iterable[Case]) -> None:
        """Say, before a worker is told, that the files of `cases` are this run's."""
        started = {case.name: dict.fromkeys(map(self._relative, case.outputs)) for case in cases}
        self._append({"started": started})
        self.entries.update({name: {"status": "started", "outputs": o} for name, o in started.items()})

    def finish(self, case: Case, entry: dict[str, Any]) -> None:
        outputs = entry.pop("outputs", None) or [None] * len(case.outputs)
        if entry["status"] == "failed":  # what an earlier run made for it is not what is asked for now
            for output in case.outputs:
                output.unlink(missing_ok=True)
        states = dict(zip(map(self._relative, case.outputs), outputs, strict=True))
        line = {"case": case.name, "digest": _digest(case.parameters), "outputs": states, **entry}
        self._append(line)
        self.entries[case.name] = json.loads(json.dumps(line))

    def remove(self, name: str) -> list[str]:
        """Remove the files of a case that is no longer asked for; return those that were changed and stay."""
        changed = []
        for relative, state in self.entries[name]["outputs"].items():
            path = self.folder / relative
            if path.exists() and state is not None and not _is_whole(path, state):
                changed.append(relative)
            else:
                path.unlink(missing_ok=True)
        self._append({"removed": name})
        del self.entries[name]
        return changed

    def is_done(self, case: Case) -> bool:
        entry = self.entries.get(case.name, {})
        if entry.get("status") != "made" or entry["digest"] != _digest(case.parameters):
            return False
        states = [entry["outputs"].get(self._relative(output)) for output in case.outputs]
        return all(state and _is_whole(o, state) for o, state in zip(case.outputs, states, strict=True))

    def row(self, case: Case) -> dict[str, object]:
        entry = self.entries.get(case.name, {})
        status = entry.get("status", "started")
        known = {"case": case.name, "status": status if status in ("made", "failed") else "not made"}
        known["reason"] = entry.get("reason", "")
        rest = {"warnings": "; ".join(entry.get("warnings", ())), "seconds": entry.get("seconds", "")}
        return {**known, **case.columns, **entry.get("made", {}), **rest}

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def _append(self, line: object) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _as_json(content: Mapping[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(content))


def _digest(parameters: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()


def _flat(nested: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def output_state(path: Path) -> list[int]:
    """Length, CRC-32 and time of change of a file just made."""
    status = path.stat()
    return [status.st_size, zlib.crc32(path.read_bytes()), status.st_mtime_ns]


def _is_whole(path: Path, state: list[int]) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != state[0]:
        return False
    return status.st_mtime_ns == state[2] or zlib.crc32(path.read_bytes()) == state[1]


def remove_partial(output: Path) -> None:
    """Remove what a killed writer of `output` may have left beside it."""
    for temporary in staging_files(output):
        temporary.unlink(missing_ok=True)


def write_manifest(rows: list[dict[str, object]], path: Path) -> None:
    import pandas as pd  # type: ignore[import-untyped]

    keys = dict.fromkeys(key for row in rows for key in row)
    last = [key for key in ("warnings", "seconds", "record") if key in keys]
    # dtype=object keeps whole numbers whole in a column where a failed case has none.
    table = pd.DataFrame(rows, columns=[*(key for key in keys if key not in last), *last], dtype=object)
    with staged_outputs([path]) as partial:
        table.to_csv(partial[path], index=False, errors="surrogateescape")


def write_json(content: object, path: Path) -> None:
    """Write `content` as JSON, whole or not at all; a file that says the same is left alone."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(text.encode("utf-8", "surrogateescape"), path)


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content`, whole or not at all; a file that holds the same is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    with staged_outputs([path]) as partial:
        partial[path].write_bytes(content)


def file_state(path: Path) -> list[int]:
    """Length and time of change of an input, for `Case.parameters`: another file there is another case."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
