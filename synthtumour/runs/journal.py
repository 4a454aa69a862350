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
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour.errors import InputError
from synthtumour.files.checks import check_regular, is_taken
from synthtumour.files.lock import hold
from synthtumour.files.state import file_state, is_same, size_of
from synthtumour.runs.lines import entry_in
from synthtumour.runs.settings import JOURNAL_FILE, MANIFEST_FILE, RUN_FILE, RunFile
from synthtumour.runs.shards import Shard, shard_journals
from synthtumour.runs.staging import CARRY_ON, VANISHED, Staging

if TYPE_CHECKING:
    from synthtumour.runs.cases import Case

_NOT_OURS = "{}: exists and was not made by this run; move it, or choose another output folder"


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
        self._ours: set[str] = set()  # files that runs in this folder have made, relative to it
        self._staging = Staging(folder)

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
                    check_regular(path)
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
        self._run_file = RunFile(self.folder)

    def _read_lines(self, path: Path, descriptor: int) -> bool:
        """Take in the lines of the journal that is open as `descriptor`; whether the last one is whole."""
        at, line = 0, b"\n"
        with path.open("rb") as file:
            for line in file:
                if entry := entry_in(line):
                    self._take_in(entry, (descriptor, at, len(line)))
                at += len(line)
        return line.endswith(b"\n")

    def _take_in(self, entry: dict[str, Any], place: tuple[int, int, int]) -> None:
        self._ours.update(entry.get("reserved", ()))
        self._staging.folders += [self.folder / folder for folder in entry.get("staging", ())]
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
            check_regular(path)
            if is_taken(path) and self._relative(path) not in self._ours:
                raise InputError(f"{path}: exists and is not of this program; choose another output folder")
        self._run_file.check(self.settings, self.overwrite)

    def admit(self, plan: Mapping[str, Case], mine: Mapping[str, Case]) -> list[str]:
        """Make the folder this run's, with what `plan` does not ask for cleared away; notes of what stays.

        `mine` are those of its cases that are this run's to make.

        Raises InputError, before anything is changed, for files and cases that are not of this run.
        """
        for case in mine.values():
            for output in case.outputs:
                if is_taken(output) and self._relative(output) not in self._ours:
                    raise InputError(_NOT_OURS.format(output))
        surplus = [name for name in self.entries if name not in plan]
        if surplus and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds {len(surplus)} case(s) of an earlier run that the input no longer "
                f"asks for ({', '.join(surplus[:3])}{', ...' if len(surplus) > 3 else ''}); use another "
                "output folder, or --overwrite to remove them"
            )
        self._staging.clear_old({output.parent for case in plan.values() for output in case.outputs})
        changed = [relative for name in surplus for relative in self.remove(name)]
        if self.shard:
            self._run_file.settle_on(self.settings)
            return []
        self._run_file.write(self.settings)
        reserved = [self._relative(path) for path in (self.folder / MANIFEST_FILE, *self.reserved)]
        if not self._ours.issuperset(reserved):
            self._append({"reserved": reserved})
            self._ours.update(reserved)
        return [f"{relative}: changed since it was made, or elsewhere; left as it is" for relative in changed]

    @contextlib.contextmanager
    def work(self, cases: Iterable[Case]) -> Iterator[None]:
        """While it lasts `cases` can be made. What the run said of the whole is withdrawn: no longer true."""
        self._staging.choose({output.parent for case in cases for output in case.outputs})
        self._append({"staging": [self._relative(folder) for folder in self._staging.folders]})
        try:
            self._staging.make()
            for path in (self.folder / MANIFEST_FILE, *self.reserved):
                path.unlink(missing_ok=True)
            yield
        finally:
            self._staging.clear()

    def start(self, cases: Sequence[Case]) -> list[Case]:
        """Say that the files of `cases` are this run's; return the cases as a worker is to write them.

        What an earlier run made of a case beside these files, a picture say, would no longer be true of it.
        Raises InputError if a folder that the cases go to has vanished.
        """
        self._staging.check()
        for case in cases:
            asked = set(map(self._relative, case.outputs))
            for relative, state in self.entries.get(case.name, {}).get("outputs", {}).items():
                path = self.folder / relative
                if relative not in asked and state and self._staging.may_hold(path) and is_same(path, state):
                    path.unlink()
        started = {case.name: dict.fromkeys(map(self._relative, case.outputs)) for case in cases}
        self._append({"started": started})
        self.entries.update({name: {"status": "started", "outputs": o} for name, o in started.items()})
        return self._staging.of_task(cases)

    def finish(self, case: Case, staged: Case, entry: dict[str, Any]) -> dict[str, Any]:
        """Give the files of a case that was made their names; note, and return, what became of it."""
        states = dict.fromkeys(map(self._relative, case.outputs))
        if entry["status"] == "made":
            try:
                for output in case.outputs:
                    if is_taken(output) and self._relative(output) not in self._ours:
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
            lost = [o for o in case.outputs if size_of(o) != entry["outputs"][self._relative(o)][0]]
            if lost:
                self._ours.difference_update(map(self._relative, lost))  # what is there now is somebody's
                how = "was changed while the run was on; move it, and" if is_taken(lost[0]) else VANISHED
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
            if not is_taken(path):
                continue
            if not self._staging.may_hold(path) or (state is not None and not is_same(path, state)):
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


def _digest(parameters: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
