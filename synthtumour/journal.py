"""The folder of a run: what was made in it, by which run, and whether it still is what was made.

- `run.json`: what the run was asked to do (program, version, preset, options) and with which packages;
- `journal.jsonl`: one line whenever cases are started, made or failed. It is only ever appended to, so it is
  what a run that was interrupted, or killed, is resumed from;
- `journal.shard-02-of-08.jsonl`: the same of one shard (`--shard 2/8`), beside others in the folder. The next
  run that has the folder for itself, `--finalise` say, appends them to `journal.jsonl`;
- `manifest.csv`: one row a case in the order asked for, written when the run ends or is interrupted.

A case is done when its parameters are the ones asked for and all its files and inputs are the same as when it
was made: of the same length and CRC. The CRC is taken again unless both times of the file are the same to the
nanosecond. One of them (ctime) is set by the system alone, so no tool that puts back the other can hide a
change; neither is ever compared with a clock.

Files that the journal does not know are never replaced or removed. Workers write in folders of this run's
own (`.synthtumour-...`) beside where the files go, and only the process that holds the journal gives them
their names: so whatever is left of a run that was killed, here or on another host, cannot meddle with the
next. Images are on the disk (fsync) before they have their names, which costs some 10 ms a case. The journal
is not: what a power cut takes of it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour.lock import hold
from synthtumour.shards import Shard, shard_journals
from synthtumour.volume import STAGING, InputError, staged_outputs

if TYPE_CHECKING:
    from synthtumour.fanout import Case

RUN_FILE, JOURNAL_FILE, MANIFEST_FILE = "run.json", "journal.jsonl", "manifest.csv"
CARRY_ON = "the same command carries on where this run stopped"
_NOT_OURS = "{}: exists and was not made by this run; move it, or choose another output folder"
_VANISHED = "vanished while the run was on;"
_RUN_STAGING = re.compile(re.escape(STAGING) + "[0-9a-f]{16}")
_PATIENCE_S = 5.0
PACKAGES = ("numpy", "scipy", "SimpleITK", "pandas", "tqdm")


class Journal:
    """The run's folder, held against other runs: what was made in it, and whether it is there still.

    `settings` go into run.json; they have to equal those of an earlier run in `folder` unless `overwrite`.
    `reserved` are files that the caller writes when the cases are made: they must not be there already unless
    an earlier run is in `folder`. What the caller does under the `with` is safe from other runs.
    A `shard` is in the folder beside others; `finalise` says that nothing is to be made; `wait` is for a run
    that is in the folder now.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        *,
        reserved: Iterable[Path] = (),
        overwrite: bool = False,
        shard: Shard | None = None,
        finalise: bool = False,
        wait: bool = False,
    ) -> None:
        self.folder = folder
        self.path = folder / (shard.journal if shard else JOURNAL_FILE)
        self.shard, self.finalise, self._wait = shard, finalise, wait
        self.shards = 0  # how many the run is, or was, shared out among
        self.settings = settings
        self.reserved = tuple(reserved)
        self.overwrite = overwrite
        # Of every case its status, its files and where its line is: what was drawn stays on the disk, so that
        # memory does not grow by much with the cases.
        self.entries: dict[str, dict[str, Any]] = {}
        self._earlier: dict[str, Any] | None = None  # the settings of the run that was here
        self._ours: set[str] = set()  # files that runs in this folder have made, relative to it
        self._staging: list[Path] = []
        self._places: set[Path] = set()  # folders that this run writes in
        self._tasks = 0

    def __enter__(self) -> Journal:
        """Raises InputError if another run is in the folder, or what it holds is not this run's."""
        if self.finalise and not (self.folder / RUN_FILE).is_file():
            raise InputError(f"{self.folder}: holds no run to finalise; make the cases first")
        with contextlib.ExitStack() as stack:
            missing = [p for p in (self.folder, *self.folder.parents) if not p.exists()]
            stack.callback(self._remove_empty, missing)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold(self.folder, self.shard.lock if self.shard else "", self._wait))
                for path in (self.path, self.folder / JOURNAL_FILE, *shard_journals(self.folder)):
                    _check_regular(path)
                # Unbuffered, so that what a full disk does not take is not tried again on closing.
                self._file = stack.enter_context(self.path.open("ab+", buffering=0))
            except BlockingIOError as error:
                raise InputError(f"{self.folder}: {error.strerror}; wait for it to end") from error
            except OSError as error:
                reason = f"cannot be written ({error.strerror}); choose another output folder"
                raise InputError(f"{self.folder}: {reason}") from error
            stack.callback(self._remove_if_unused)
            if self.shard:
                self._check_shards(self.shard)
            else:
                self._take_in_shards()
            self._read(stack)
            self._check_settings()
            self._stack = stack.pop_all()
        return self

    @property
    def part_count(self) -> int:
        """How many parts the run is made in, or was."""
        return self.shard.count if self.shard else self.shards or 1

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove_if_unused(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # the folder may have gone meanwhile
            if self.path.stat().st_size == 0:
                self.path.unlink()

    @staticmethod
    def _remove_empty(folders: Iterable[Path]) -> None:
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _check_shards(self, shard: Shard) -> None:
        """Raise InputError if the cases are shared out otherwise already."""
        for other in shard_journals(self.folder).values():
            if other.count != shard.count:
                raise InputError(
                    f"{self.folder}: shared out among {other.count} already; use --shard i/{other.count}, or "
                    "--finalise first"
                )

    def _take_in_shards(self) -> None:
        """Append the journals of shards, none of which runs now, to this one."""
        for path, shard in shard_journals(self.folder).items():
            # A line that was cut off ends here. Killed before it is unlinked, the same is appended once more.
            self._write(b"\n" + path.read_bytes() + b"\n")
            self._append({"shards": shard.count})
            os.fsync(self._file.fileno())
            path.unlink()

    def _read(self, stack: contextlib.ExitStack) -> None:
        if self.shard and (whole := self.folder / JOURNAL_FILE).is_file():
            file = stack.enter_context(whole.open("rb"))
            self._read_lines(whole, file.fileno())
        if not self._read_lines(self.path, self._file.fileno()):  # the run was killed while it wrote the last
            self._write(b"\n")
        for entry in self.entries.values():
            if entry["status"] != "failed":
                self._ours.update(entry["outputs"])
        run_file = self.folder / RUN_FILE
        if run_file.exists():
            try:
                self._earlier = read_json(run_file)
            except ValueError as error:
                raise InputError(f"{run_file}: not written by this program; choose another folder") from error

    def _read_lines(self, path: Path, descriptor: int) -> bool:
        """Take in the lines of the journal that is open as `descriptor`; whether the last one is whole."""
        at, line = 0, b"\n"
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, RecursionError):
                    entry = json.loads(line)
                    if _is_line(entry):
                        self._take_in(entry, (descriptor, at, len(line)))
                at += len(line)
        return line.endswith(b"\n")

    def _take_in(self, entry: dict[str, Any], place: tuple[int, int, int]) -> None:
        self._ours.update(entry.get("reserved", ()))
        self._staging += [self.folder / folder for folder in entry.get("staging", ())]
        for name, outputs in entry.get("started", {}).items():
            self.entries[name] = {"status": "started", "outputs": outputs}
        if "case" in entry:
            self.entries[entry["case"]] = {
                "status": entry["status"],
                "outputs": entry["outputs"],
                "line": place,
            }
        if "removed" in entry:
            self.entries.pop(entry["removed"], None)
        self.shards = entry.get("shards", self.shards)

    def _whole_entry(self, name: str) -> dict[str, Any]:
        """All that the journal says of a case; {} if it has not come to an end."""
        if "line" not in self.entries.get(name, ()):
            return {}
        descriptor, at, length = self.entries[name]["line"]
        return json.loads(os.pread(descriptor, length, at))

    def _check_settings(self) -> None:
        for path in (self.folder / MANIFEST_FILE, *self.reserved):
            _check_regular(path)
            if _exists(path) and self._relative(path) not in self._ours:
                raise InputError(f"{path}: exists and is not of this program; choose another output folder")
        if self._earlier is None:
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

    def admit(self, plan: Mapping[str, Case], mine: Mapping[str, Case]) -> list[str]:
        """Make the folder this run's, with what `plan` does not ask for cleared away; notes of what stays.

        `mine` are those of its cases that are this run's to make.

        Raises InputError, before anything is changed, for files and cases that are not of this run.
        """
        for case in mine.values():
            for output in case.outputs:
                if _exists(output) and self._relative(output) not in self._ours:
                    raise InputError(_NOT_OURS.format(output))
        surplus = [name for name in self.entries if name not in plan]
        if surplus and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds {len(surplus)} case(s) of an earlier run that the input no longer "
                f"asks for ({', '.join(surplus[:3])}{', ...' if len(surplus) > 3 else ''}); use another "
                "output folder, or --overwrite to remove them"
            )
        # A journal that somebody has changed must not lead out of where this run writes.
        self._places = {Path(os.path.abspath(o.parent)) for case in plan.values() for o in case.outputs}
        self._staging = [folder for folder in self._staging if self._may_hold(folder)]
        self._clear_staging()
        changed = [relative for name in surplus for relative in self.remove(name)]
        packages = {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}}
        if self.shard:
            self._settle_on(packages)
            return []
        self._earlier = {**_as_json(self.settings), "packages": packages}
        write_json(self._earlier, self.folder / RUN_FILE)
        reserved = [self._relative(path) for path in (self.folder / MANIFEST_FILE, *self.reserved)]
        if not self._ours.issuperset(reserved):
            self._append({"reserved": reserved})
            self._ours.update(reserved)
        return [f"{relative}: changed since it was made, or elsewhere; left as it is" for relative in changed]

    def _may_hold(self, path: Path) -> bool:
        """Whether `path` lies where this run writes, or in the run's own folder."""
        place = Path(os.path.abspath(path.parent))
        return place in self._places or place.is_relative_to(os.path.abspath(self.folder))

    def _settle_on(self, packages: Mapping[str, str]) -> None:
        """Write run.json unless another shard has: the first says what all are to do, and with what."""
        run_file = self.folder / RUN_FILE
        if self._earlier is None:
            temporary = self.folder / f"{STAGING}{secrets.token_hex(8)}.json"
            try:
                write_json({**_as_json(self.settings), "packages": packages}, temporary)
                try:
                    os.link(temporary, run_file)  # unlike a rename it never replaces what is there
                except FileExistsError:
                    pass
                except OSError:  # a file system without links
                    os.replace(temporary, run_file)
            except OSError as error:
                raise InputError(f"{run_file}: cannot be written ({error.strerror})") from error
            finally:
                temporary.unlink(missing_ok=True)
            self._earlier = json.loads(run_file.read_text(encoding="utf-8", errors="surrogateescape"))
            self._check_settings()
        assert self._earlier is not None
        for name in ("numpy", "scipy", "SimpleITK"):
            if (there := self._earlier.get("packages", {}).get(name)) != packages[name]:
                raise InputError(
                    f"{self.folder}: the other shards have {name} {there}, here it is {packages[name]}; "
                    "install the same, as the bytes may differ"
                )

    @contextlib.contextmanager
    def work(self, cases: Iterable[Case]) -> Iterator[None]:
        """While it lasts `cases` can be made. What the run said of the whole is withdrawn: no longer true."""
        name = f"{STAGING}{secrets.token_hex(8)}"
        folders = sorted({output.parent for case in cases for output in case.outputs})
        self._staging = [folder / name for folder in folders]
        self._append({"staging": [self._relative(folder) for folder in self._staging]})
        try:
            for folder in self._staging:
                try:
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    folder.mkdir()
                except OSError as error:
                    reason = f"cannot be written ({error.strerror}); choose another output folder"
                    raise InputError(f"{folder.parent}: {reason}") from error
            for path in (self.folder / MANIFEST_FILE, *self.reserved):
                path.unlink(missing_ok=True)
            yield
        finally:
            self._clear_staging()

    def _clear_staging(self) -> None:
        for folder in self._staging:
            if _RUN_STAGING.fullmatch(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                give_up = time.monotonic() + _PATIENCE_S  # a killed run's worker may be writing yet
                while folder.exists() and time.monotonic() < give_up:
                    time.sleep(0.05)
                    shutil.rmtree(folder, ignore_errors=True)
        self._staging = []

    def start(self, cases: Sequence[Case]) -> list[Case]:
        """Say that the files of `cases` are this run's; return the cases as a worker is to write them.

        What an earlier run made of a case beside these files, a picture say, would no longer be true of it.
        Raises InputError if a folder that the cases go to has vanished.
        """
        for folder in self._staging:
            if not folder.is_dir():
                raise InputError(f"{folder.parent}: {_VANISHED} {CARRY_ON}")
        for case in cases:
            asked = set(map(self._relative, case.outputs))
            for relative, state in self.entries.get(case.name, {}).get("outputs", {}).items():
                path = self.folder / relative
                if relative not in asked and state and self._may_hold(path) and is_same(path, state):
                    path.unlink()
        started = {case.name: dict.fromkeys(map(self._relative, case.outputs)) for case in cases}
        self._append({"started": started})
        self.entries.update({name: {"status": "started", "outputs": o} for name, o in started.items()})
        self._tasks += 1
        place = Path(self._staging[0].name if self._staging else "", str(self._tasks))
        return [replace(c, outputs=tuple(o.parent / place / o.name for o in c.outputs)) for c in cases]

    def finish(self, case: Case, staged: Case, entry: dict[str, Any]) -> dict[str, Any]:
        """Give the files of a case that was made their names; note, and return, what became of it."""
        states = dict.fromkeys(map(self._relative, case.outputs))
        if entry["status"] == "made":
            try:
                for output in case.outputs:
                    if _exists(output) and self._relative(output) not in self._ours:
                        raise InputError(_NOT_OURS.format(output))
                for output, temporary in zip(case.outputs, staged.outputs, strict=True):
                    os.replace(temporary, output)
                    self._ours.add(self._relative(output))
                for output, crc in zip(case.outputs, entry.pop("crcs"), strict=True):
                    states[self._relative(output)] = file_state(output, crc)
            except InputError as error:
                entry = {"status": "failed", "reason": str(error), "warnings": entry["warnings"]}
            except OSError as error:
                reason = f"{output}: cannot be written ({error.strerror}); mend that, and run the same again"
                entry = {"status": "failed", "reason": reason, "warnings": entry["warnings"]}
        if entry["status"] == "failed":  # what an earlier run made for it is not what is asked for now
            self._drop(case)
        line = {"case": case.name, "digest": _digest(case.parameters), "outputs": states, **entry}
        try:
            self._take_in(line, self._append(line))
        except InputError:  # what the journal cannot say is made must not be there
            self._drop(case)
            raise
        return entry

    def _drop(self, case: Case) -> None:
        for output in case.outputs:
            if self._relative(output) in self._ours:
                with contextlib.suppress(OSError):  # whatever has taken its place is not the run's
                    output.unlink()
                self._ours.discard(self._relative(output))

    def fail_vanished(self, cases: Iterable[Case]) -> set[str]:
        """Note as failed those of `cases` whose files have gone since they were made; their names."""
        vanished = set()
        for case in cases:
            entry = self.entries.get(case.name, {"status": "started"})
            if entry["status"] != "made":
                continue
            lost = [o for o in case.outputs if _size(o) != entry["outputs"][self._relative(o)][0]]
            if lost:
                self._ours.difference_update(map(self._relative, lost))  # what is there now is somebody's
                how = "was changed while the run was on; move it, and" if _exists(lost[0]) else _VANISHED
                reason = f"{lost[0]}: {how} run the same command again"
                self.finish(case, case, {"status": "failed", "reason": reason})
                vanished.add(case.name)
        return vanished

    def end_task(self, staged: Iterable[Case]) -> None:
        """Remove what a worker may have left of a task that came to its end."""
        for folder in {output.parent for case in staged for output in case.outputs}:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self, name: str) -> list[str]:
        """Remove the files of a case that is no longer asked for; return those that were changed and stay."""
        changed = []
        for relative, state in self.entries[name]["outputs"].items():
            path = self.folder / relative
            if relative not in self._ours:
                continue
            if not _exists(path):
                continue
            if not self._may_hold(path) or (state is not None and not is_same(path, state)):
                changed.append(relative)
            else:
                path.unlink(missing_ok=True)
        self._append({"removed": name})
        del self.entries[name]
        return changed

    def doubt(self, names: Iterable[str]) -> None:
        """Of these cases something is missing or was changed: until they are made again they are not made."""
        for name in names:
            if name in self.entries and self.entries[name]["status"] == "made":
                self.entries[name] = {"status": "started", "outputs": self.entries[name]["outputs"]}

    def is_done(self, case: Case) -> bool:
        if self.entries.get(case.name, {}).get("status") != "made":
            return False
        entry = self._whole_entry(case.name)
        if entry["digest"] != _digest(case.parameters):
            return False
        files = [*case.inputs, *case.outputs]
        states = [*entry.get("inputs", ()), *(entry["outputs"].get(self._relative(o)) for o in case.outputs)]
        return len(files) == len(states) and all(
            s and is_same(f, s) for f, s in zip(files, states, strict=True)
        )

    def row(self, case: Case) -> dict[str, object]:
        entry = self._whole_entry(case.name)
        status = entry.get("status", "started")
        known = {"case": case.name, "status": status if status in ("made", "failed") else "not made"}
        known["reason"] = entry.get("reason", "")
        rest = {"warnings": "; ".join(entry.get("warnings", ())), "seconds": entry.get("seconds", "")}
        return {**known, **case.columns, **entry.get("made", {}), **rest, **known}

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def _append(self, line: object) -> tuple[int, int, int]:
        """Write a line; return where it is."""
        content, descriptor = json.dumps(line).encode() + b"\n", self._file.fileno()
        at = os.fstat(descriptor).st_size
        self._write(content)
        return descriptor, at, len(content)

    def _write(self, content: bytes) -> None:
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); {CARRY_ON}") from error


def _is_line(entry: object) -> bool:
    """Whether `entry` is a line of a journal that this program has written; others are passed over."""
    if not isinstance(entry, dict):
        return False
    started, outputs = entry.get("started", {}), entry.get("outputs", {})
    if not isinstance(started, dict) or not all(map(_are_outputs, (outputs, *started.values()))):
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


def _exists(path: Path) -> bool:
    """Whether the name is taken, be it by a link that leads nowhere."""
    return os.path.lexists(path)


def _check_regular(path: Path) -> None:
    """Raise InputError for a name that is taken, but by no file: one would wait for a pipe for ever."""
    if _exists(path) and not path.is_file():
        raise InputError(f"{path}: not a regular file; move it, or choose another output folder")


def _size(path: Path) -> int | None:
    """The length of a file; None if there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


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


def file_state(path: Path, crc: int | None = None) -> list[int]:
    """Length, CRC-32 and times of change of a file."""
    status = path.stat()
    if crc is None:
        crc = _crc(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return [status.st_size, crc, status.st_mtime_ns, status.st_ctime_ns]


def is_same(path: Path, state: Sequence[int]) -> bool:
    """Whether the file at `path` still has the bytes that it had in `state`."""
    try:
        status = path.stat()
        size, crc, *times = state
        if status.st_size != size:
            return False
        # Whole seconds are a file system's that keeps no more, so there can be two changes at one time.
        if times == [status.st_mtime_ns, status.st_ctime_ns] and times[1] % 10**9:
            return True
        return _crc(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns) == crc
    except OSError:
        return False


@lru_cache(maxsize=64)  # several cases may be made from one scan
def _crc(path: Path, *_: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            crc = zlib.crc32(block, crc)
    return crc


def write_manifest(rows: list[dict[str, object]], path: Path) -> None:
    import pandas as pd  # type: ignore[import-untyped]

    keys = dict.fromkeys(key for row in rows for key in row)
    last = [key for key in ("warnings", "seconds", "record") if key in keys]
    # dtype=object keeps whole numbers whole in a column where a failed case has none.
    table = pd.DataFrame(rows, columns=[*(key for key in keys if key not in last), *last], dtype=object)
    with staged_outputs([path]) as partial:
        table.to_csv(partial[path], index=False, errors="surrogateescape")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ValueError if it holds anything else, or is no regular file."""
    if not path.is_file():
        raise ValueError("not a file")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        _flat(content)  # can whoever uses it follow it to its depth?
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return content


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
