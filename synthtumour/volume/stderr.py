"""What ITK's C libraries print on stderr themselves, hidden."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


class _Stderr:
    """File descriptor 2, which all threads share: the first to hide it keeps it, the last gives it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hidden_by = 0
        self._kept: int | None = None
        os.register_at_fork(  # a child has only the thread that forked, which hides nothing
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._back_in_child,
        )

    def hide(self) -> None:
        with self._lock:
            if self._hidden_by == 0:
                with contextlib.suppress(OSError):  # there may be none
                    self._kept = os.dup(2)
                    with open(os.devnull, "wb") as nowhere:
                        os.dup2(nowhere.fileno(), 2)
            self._hidden_by += 1

    def give_back(self) -> None:
        with self._lock:
            self._hidden_by -= 1
            if self._hidden_by == 0:
                self._restore()

    def _restore(self) -> None:
        if self._kept is not None:
            os.dup2(self._kept, 2)
            os.close(self._kept)
            self._kept = None

    def _back_in_child(self) -> None:
        self._hidden_by = 0
        self._restore()
        self._lock.release()


_STDERR = _Stderr()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Hide what ITK's C libraries print, in all threads: the exception that follows is what a user needs."""
    _STDERR.hide()
    try:
        yield
    finally:
        _STDERR.give_back()
