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
next. Images are on the disk (fsync) before they have their names, which costs some 10 ms a case. So is the
line that says which cases are started, before they are. A power cut takes the lines that were written after
it, and what they said was made is made again. Where it took more, a file that the journal does not know is
taken up if it is byte for byte what is made for its name, in a folder whose run.json is of the same run; its
case fails otherwise.

A case lacks nothing but its pictures if all its other files are there: then only they are drawn (`drawing`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.checks import check_regular
from synthtumour.files.state import is_same, size_of
from synthtumour.runs.cases import NO_PICTURE, Case
from synthtumour.runs.folder import held, sync_folder
from synthtumour.runs.lines import Lines, Place, entry_in, line_at
from synthtumour.runs.outputs import Outputs
from synthtumour.runs.settings import JOURNAL_FILE, MANIFEST_FILE, RUN_FILE, RunFile
from synthtumour.runs.shards import Shard, shard_journals
from synthtumour.runs.staging import VANISHED, Staging


class Journal:
    """The run's folder, held against other runs: what was made in it, and whether it is there still.

    `settings` go into run.json; they have to equal those of an earlier run in `folder` unless `overwrite`.
    `reserved` are files that the caller writes when the cases are made: they must not be there already unless
    an earlier run is in `folder`. What the caller does under the `with` is safe from other runs.
    A `shard` is in the folder beside others; `finalise` says that nothing is to be made. For a run that is in
    the folder now it waits if `wait` is given, and tells that what it waits for, now and then. `command` is
    what it says of itself to others.
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
        wait: Callable[[str], None] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.path = folder / (shard.journal if shard else JOURNAL_FILE)
        self.shard, self.finalise, self._wait, self._command = shard, finalise, wait, command
        self.shards = 0  # how many the run is, or was, shared out among
        self.settings = settings
        self._reserved = (folder / MANIFEST_FILE, *reserved)
        self.overwrite = overwrite
        # Of every case its status, its files and where its line is: what was drawn stays on the disk, so that
        # memory does not grow by much with the cases.
        self.entries: dict[str, dict[str, Any]] = {}
        self._outputs = Outputs(folder)
        self._carries_on = False
        self._staging = Staging(folder)

    def __enter__(self) -> Journal:
        """Raises InputError if another run is in the folder, or what it holds is not this run's."""
        if self.finalise and not (self.folder / RUN_FILE).is_file():
            raise InputError(f"{self.folder}: holds no run to finalise; make the cases first")
        with contextlib.ExitStack() as stack:
            part = self.shard.lock if self.shard else ""
            stack.enter_context(held(self.folder, part, self._command, self._wait))
            for path in (self.path, self.folder / JOURNAL_FILE, *shard_journals(self.folder)):
                check_regular(path)
            try:
                # Unbuffered, so that what a full disk does not take is not tried again on closing.
                self._lines = Lines(self.path, stack.enter_context(self.path.open("ab+", buffering=0)))
            except OSError as error:
                reason = f"cannot be written ({error.strerror}); choose another output folder"
                raise InputError(f"{self.path}: {reason}") from error
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
            self._lines.write(b"\n" + path.read_bytes() + b"\n")
            self._lines.append({"shards": shard.count}, sync=True)
            path.unlink()

    def _read(self, stack: contextlib.ExitStack) -> None:
        if self.shard and (whole := self.folder / JOURNAL_FILE).is_file():
            file = stack.enter_context(whole.open("rb"))
            self._read_lines(whole, file.fileno())
        if not self._read_lines(self.path, self._lines.descriptor):
            self._lines.write(b"\n")  # the run was killed while it wrote the last
        for entry in self.entries.values():
            if entry["status"] != "failed":
                self._outputs.ours.update(entry["outputs"])
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

    def _take_in(self, entry: dict[str, Any], place: Place) -> None:
        self._outputs.ours.update(entry.get("reserved", ()))
        self._staging.folders += [self.folder / folder for folder in entry.get("staging", ())]
        for name, outputs in entry.get("started", {}).items():
            self.entries[name] = {"status": "started", "outputs": outputs}
        if "case" in entry:
            self.entries[entry["case"]] = {
                "status": entry["status"],
                "outputs": entry["outputs"],
                "line": place,
            }
        for name, pictures in entry.get("drawing", {}).items():
            if name in self.entries:
                self.entries[name]["outputs"] |= pictures
        if "removed" in entry:
            self.entries.pop(entry["removed"], None)
        self.shards = entry.get("shards", self.shards)

    def _whole_entry(self, name: str) -> dict[str, Any]:
        """All that the journal says of a case; {} if it has not come to an end."""
        if "line" not in self.entries.get(name, ()):
            return {}
        return line_at(self.entries[name]["line"])

    def _check_settings(self) -> None:
        self._carries_on = self._run_file.check(self.settings, self.overwrite)
        self._outputs.ours |= self._run_file.reserved.intersection(map(self._relative, self._reserved))
        for path in self._reserved:
            check_regular(path)
            if self._outputs.is_foreign(path):
                raise InputError(f"{path}: exists and is not of this program; choose another output folder")

    def admit(self, plan: Mapping[str, Case], mine: Mapping[str, Case]) -> list[str]:
        """Make the folder this run's, with what `plan` does not ask for cleared away; notes of what stays.

        `mine` are those of its cases that are this run's to make.

        Raises InputError, before anything is changed, for files and cases that are not of this run.
        """
        if not self._carries_on:  # else what is made is held against what is there
            for case in mine.values():
                self._outputs.refuse_foreign(case.outputs)
        surplus = [name for name in self.entries if name not in plan]
        if surplus and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds more of an earlier run than the input asks for "
                f"({', '.join(surplus[:3])}{', ...' if len(surplus) > 3 else ''}); use another output "
                "folder, or --overwrite to remove it"
            )
        self._staging.clear_old({output.parent for case in plan.values() for output in case.outputs})
        changed = [relative for name in surplus for relative in self.remove(name)]
        if self.shard:
            self._run_file.settle_on(self.settings)
            return []
        reserved = [*map(self._relative, self._reserved)]
        self._run_file.write(self.settings, reserved)
        if not self._outputs.ours.issuperset(reserved):
            self._lines.append({"reserved": reserved}, sync=True)
            self._outputs.ours.update(reserved)
        return [f"{relative}: changed since it was made, or elsewhere; left as it is" for relative in changed]

    @contextlib.contextmanager
    def work(self, cases: Sequence[Case]) -> Iterator[None]:
        """While it lasts `cases` can be made. What the run said of the whole is withdrawn: no longer true."""
        self._staging.choose({output.parent for case in cases for output in case.outputs})
        folders = [self._relative(folder) for folder in self._staging.folders]
        self._lines.append({"staging": folders}, sync=bool(folders))
        sync_folder(self.folder)  # that run.json and the journal are there
        try:
            self._staging.make()
            if not all(case.there for case in cases):  # not for pictures alone
                if self.shard is None:
                    made = any(entry["status"] == "made" for entry in self.entries.values())
                    self._run_file.note_packages(is_first=self.overwrite or not made)
                for path in self._reserved:
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
        anew = [case for case in cases if not case.there]
        for case in anew:
            asked = set(map(self._relative, case.outputs))
            for relative, state in self.entries.get(case.name, {}).get("outputs", {}).items():
                path = self.folder / relative
                if relative not in asked and state and self._staging.may_hold(path) and is_same(path, state):
                    path.unlink()
        started, drawing = self._not_foreign(anew), self._not_foreign([case for case in cases if case.there])
        line = {"started": started, "drawing": drawing} if drawing else {"started": started}
        # On the disk before a file can have its name: what is lost of the journal is what comes later.
        self._lines.append(line, sync=any(case.outputs for case in cases))
        self._take_in(line, (0, 0, 0))
        with_text = (replace(case, made=self._whole_entry(case.name)["made"]) for case in cases if case.there)
        known = {case.name: case for case in with_text}
        return self._staging.of_task([known.get(case.name, case) for case in cases])

    def _not_foreign(self, cases: Iterable[Case]) -> dict[str, dict[str, None]]:
        """The outputs of `cases` that are, or will be, the run's own."""
        return {
            case.name: {self._relative(o): None for o in case.outputs if not self._outputs.is_foreign(o)}
            for case in cases
        }

    def finish(self, case: Case, staged: Case, entry: dict[str, Any]) -> dict[str, Any]:
        """Give the files of a case that was made their names; note, and return, what became of it."""
        if case.there:
            return self._finish_pictures(case, staged, entry)
        states = dict.fromkeys(map(self._relative, case.outputs))
        if entry["status"] == "made":
            try:
                states, warned = self._outputs.settle(case, staged, entry.pop("crcs"))
                entry = {**entry, "warnings": [*entry["warnings"], *warned]}
            except InputError as error:
                entry = {"status": "failed", "reason": str(error), "warnings": entry["warnings"]}
        if entry["status"] == "failed":  # what an earlier run made for it is not what is asked for now
            self._outputs.drop(case.outputs)
        line = {"case": case.name, "digest": _digest(case.parameters), "outputs": states, **entry}
        try:
            self._take_in(line, self._lines.append(line))
        except InputError:  # what the journal cannot say is made must not be there
            self._outputs.drop(case.outputs)
            raise
        return entry

    def _finish_pictures(self, case: Case, staged: Case, entry: dict[str, Any]) -> dict[str, Any]:
        """`finish` for a case of which only the pictures were drawn: all else stays as it was noted."""
        before = self._whole_entry(case.name)
        warned = [text for text in before["warnings"] if not text.startswith(NO_PICTURE)]
        if entry["status"] == "made":
            warned += [text for text in entry["warnings"] if text.startswith(NO_PICTURE)]
            states, more = self._outputs.settle(case, staged, entry["crcs"])
            warned += more
        else:
            states = dict.fromkeys(map(self._relative, case.outputs))
            warned.append(f"{NO_PICTURE} ({entry['reason']})")
        line = {**before, "outputs": before["outputs"] | states, "warnings": warned}
        self._take_in(line, self._lines.append(line))
        return line

    def fail_vanished(self, cases: Iterable[Case]) -> set[str]:
        """Note as failed those of `cases` whose files have gone since they were made; their names."""
        vanished = set()
        for case in cases:
            entry = self.entries.get(case.name, {"status": "started"})
            if entry["status"] != "made":
                continue
            lost = [o for o in case.files if size_of(o) != entry["outputs"][self._relative(o)][0]]
            if lost:
                self._outputs.ours.difference_update(
                    map(self._relative, lost)
                )  # what is there now is somebody's
                how = (
                    "was changed while the run was on; move it, and" if os.path.lexists(lost[0]) else VANISHED
                )
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
            if relative not in self._outputs.ours or not os.path.lexists(path):
                continue
            if not self._staging.may_hold(path) or (state is not None and not is_same(path, state)):
                changed.append(relative)
            else:
                path.unlink(missing_ok=True)
        self._lines.append({"removed": name})
        del self.entries[name]
        return changed

    def doubt(self, names: Iterable[str]) -> None:
        """Of these cases something is missing or was changed: until they are made again they are not made."""
        for name in names:
            if name in self.entries and self.entries[name]["status"] == "made":
                self.entries[name] = {"status": "started", "outputs": self.entries[name]["outputs"]}

    def is_done(self, case: Case) -> bool:
        return self._has(case, case.outputs)

    def lacks_pictures_only(self, case: Case) -> bool:
        """Whether all that a case lacks, if anything, is its pictures."""
        return bool(case.files) and self._has(case, case.files)

    def _has(self, case: Case, outputs: Iterable[Path]) -> bool:
        """Whether a case was made as is asked for, and `outputs` of it and its inputs are as they were."""
        if self.entries.get(case.name, {}).get("status") != "made":
            return False
        entry = self._whole_entry(case.name)
        states = entry.get("inputs", ())
        if entry["digest"] != _digest(case.parameters) or len(states) != len(case.inputs):
            return False
        inputs = zip(case.inputs, states, strict=True)
        return all(s and is_same(f, s) for f, s in inputs) and self._outputs.whole(outputs, entry["outputs"])

    def has_pictures(self, case: Case) -> bool:
        """Whether the journal has noted them."""
        outputs = self.entries[case.name]["outputs"]
        return all(outputs.get(self._relative(path)) for path in case.drawn)

    @property
    def mixture(self) -> list[str]:
        """A note if the cases were made with several versions of a package."""
        return self._run_file.mixture

    def row(self, case: Case) -> dict[str, object]:
        entry = self._whole_entry(case.name)
        status = entry.get("status", "started")
        known = {"case": case.name, "status": status if status in ("made", "failed") else "not made"}
        known["reason"] = entry.get("reason", "")
        rest = {"warnings": "; ".join(entry.get("warnings", ())), "seconds": entry.get("seconds", "")}
        # The same keys for all rows: each case's own copies would be half of the memory that the rows take.
        made = {sys.intern(key): value for key, value in entry.get("made", {}).items()}
        return {**known, **case.columns, **made, **rest, **known}

    def _relative(self, path: Path) -> str:
        return self._outputs.relative(path)


def _digest(parameters: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
