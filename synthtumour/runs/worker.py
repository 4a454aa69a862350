"""What a worker does: loads a source, makes its cases one by one, and says what became of each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError, reason_of
from synthtumour.files.checks import check_file
from synthtumour.files.staging import sync
from synthtumour.files.state import file_state, is_same
from synthtumour.runs.cases import DISK_FULL, Case

Entries = list[dict[str, Any]]  # one a case of a task


@dataclass(frozen=True)
class Task:
    """A group as a worker gets it: `staged` are its cases with the names that they are written under."""

    source: object
    cases: tuple[Case, ...]
    staged: tuple[Case, ...]


_stop: Event | None = None


def begin_worker(alive: Connection, stop: Event) -> None:
    global _stop
    _stop = stop
    # Ctrl-C reaches the whole process group: the parent decides, so that files are left whole.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()


def _end_with_parent(alive: Connection) -> None:
    """Block until the parent closes its end of the pipe, as it also does by being killed; then end."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def _is_stopped() -> bool:
    return _stop is not None and _stop.is_set()


def make_cases(
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    task: Task,
    is_stopped: Callable[[], bool] = _is_stopped,
) -> Entries:
    """One entry a case of `task`, in order; fewer when told to stop. Runs in a worker."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    entries: list[dict[str, Any]] = []
    loaded: object = None
    inputs: dict[Path, list[int] | None] = {}
    for case, staged in zip(task.cases, task.staged, strict=True):
        if is_stopped():
            break
        begin = time.perf_counter()
        entry: dict[str, Any] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if case is task.cases[0]:
                    inputs = {path: _state(path) for one in task.cases for path in one.inputs}
                    loaded = _load(load, task.source)
                if isinstance(loaded, _Failure):
                    raise loaded.error
                for folder in {output.parent for output in staged.outputs}:
                    folder.mkdir(exist_ok=True)  # not its parents: they are gone when the run is
                made = json.loads(json.dumps(make(loaded, staged)))  # here, where it can fail
                lost = {output for output in staged.drawn if not output.exists()}  # which is warned of
                for output in staged.outputs:
                    if output not in lost:
                        sync(output)
                for path in case.inputs:
                    state = inputs[path]  # None where it cannot be read: then it is read anew each time
                    if state and not is_same(path, state):
                        raise InputError(f"{path}: changed while it was in use; run the same command again")
                crcs = [None if output in lost else file_state(output)[1] for output in staged.outputs]
                states = [inputs[path] for path in case.inputs]
                entry = {"status": "made", "made": made, "inputs": states, "crcs": crcs}
            except Exception as error:  # whatever is wrong with one case, the others go on
                where = "".join(traceback.format_exception(error))
                reason = _with_final_names(reason_of(error), case, staged)
                entry = {"status": "failed", "reason": reason, "traceback": where}
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    entry["disk_full"] = reason
        told = {str(w.message) for w in caught if issubclass(w.category, UserWarning)}
        said = sorted(_with_final_names(text, case, staged) for text in told)
        entries.append({**entry, "warnings": said, "seconds": round(time.perf_counter() - begin, 3)})
        if "disk_full" in entry:
            break
    return entries


def _state(path: Path) -> list[int] | None:
    try:
        check_file(path)  # a pipe would wait for ever
        return file_state(path)
    except (OSError, InputError):  # `load` says it better
        return None


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _load(load: Callable[..., object], source: object) -> object:
    try:
        return load(source)
    except Exception as error:  # fails every case of the group, each with this reason
        return _Failure(error)


def _with_final_names(reason: str, case: Case, staged: Case) -> str:
    """`reason` with the names that the files were to have."""
    for output, temporary in zip(case.outputs, staged.outputs, strict=True):
        reason = reason.replace(str(temporary), str(output))
    return reason
