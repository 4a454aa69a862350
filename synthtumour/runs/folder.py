"""A folder held against other runs: made if it is not there, locked, removed again if it stays empty."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synthtumour.errors import InputError
from synthtumour.files.lock import hold

_SAY_EVERY_S = 600.0  # that this run waits for another
_GONE = 20  # times in a row that another run has removed the empty folder in between


@contextlib.contextmanager
def held(
    folder: Path,
    part: str = "",
    command: Sequence[str] = (),
    wait: Callable[[str], None] | None = None,
    remedy: str = "choose another output folder",
) -> Iterator[None]:
    """Hold `folder` as `files.lock.hold` does; with the folders above it, it is made if it is not there.

    With `wait` it waits for a run that is in the way, and tells that what it waits for, now and then.
    Raises InputError for a run in the way, or a folder that cannot be written: then the `remedy` is said.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, [p for p in (folder, *folder.parents) if not p.exists()])
        try:
            _lock(stack, folder, part, command, wait)
        except BlockingIOError as error:
            raise InputError(f"{folder}: {error.strerror}; wait for it to end") from error
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror}); {remedy}") from error
        yield


def _lock(
    stack: contextlib.ExitStack,
    folder: Path,
    part: str,
    command: Sequence[str],
    wait: Callable[[str], None] | None,
) -> None:
    gone, said = 0, time.monotonic() - _SAY_EVERY_S
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(folder, part, command))
            return
        except FileNotFoundError:  # a run that began with this one has ended, and removed what was empty
            gone += 1
            if gone == _GONE:
                raise
        except BlockingIOError as error:
            if wait is None:
                raise
            if time.monotonic() - said >= _SAY_EVERY_S:
                wait(f"waiting for it to end: {error.strerror}, in {folder}")
                said = time.monotonic()
            time.sleep(0.5)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
