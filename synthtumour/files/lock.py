"""Keeps two runs out of one folder, and says who is in it.

A run alone locks `run.lock` for itself. The parts of a run that is shared out (`3-of-8`) lock it together,
and each `run-3-of-8.lock` for itself: so no part runs twice, none beside a run alone, and none while somebody
puts the whole together (`hold` without a part). In the file that is its own a run says which process it is,
on which host, since when and with which command; the file goes when the run ends.

The locks are the kernel's (flock), which a network file system carries to other hosts. A run that was killed
has lost them at once, so a file that it leaves behind blocks nobody, and is not believed. On a file system
without locks it is up to the user to have one run in a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

_LOCK_FILE = "run.lock"
_PATIENCE_S = 0.5  # for a run that is just leaving, or one that looks who is here


@contextlib.contextmanager
def hold(folder: Path, part: str = "", command: Sequence[str] = ()) -> Iterator[None]:
    """Hold `folder` for this run alone, or as `part` of a run beside its other parts.

    `command` is what the run says of itself: that of the process unless given.
    Raises BlockingIOError that names the runs in the way, or another OSError if the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(folder / _LOCK_FILE, bool(part)))
            if part:
                descriptor = stack.enter_context(locked(folder / f"run-{part}.lock"))
        except BlockingIOError as error:
            holders = "; ".join(_holders(folder)) or "it has not said which"
            raise BlockingIOError(error.errno, f"another run is writing here ({holders})") from error
        with contextlib.suppress(OSError):  # on a full disk the lock holds without words
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_who_this_is(command)).encode())
        yield


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[int]:
    """The descriptor of `path`, locked; BlockingIOError if it is held. Whoever leaves last removes it."""
    patient_until = time.monotonic() + _PATIENCE_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
            os.close(descriptor)  # another run has removed it since it was opened
        except FileNotFoundError:
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > patient_until:
                raise
            time.sleep(0.05)
        except OSError:
            break  # a file system without locks
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # parts may go on holding it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        os.close(descriptor)


def _holders(folder: Path) -> Iterator[str]:
    """What those that hold a lock in `folder` have written of themselves."""
    for path in (folder / _LOCK_FILE, *sorted(folder.glob("run-*.lock"))):
        with contextlib.suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    note = json.loads(file.read())
                    who = f"process {note['process']} on {note['host']} since {note['since']}"
                    yield f"{who}: {note['command']}"


def _who_this_is(command: Sequence[str]) -> dict[str, object]:
    now = datetime.now(timezone.utc)
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": now.isoformat(" ", "seconds"),
        "command": shlex.join(command or sys.argv),
    }
