"""Ctrl-C and SIGTERM, which mean something else, or wait, while a block lasts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

BOTH = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def handled(handler: Callable[[int], object], numbers: tuple[int, ...] = BOTH) -> Iterator[None]:
    """While it lasts `handler` gets these signals; in any other thread than the main one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda came, _: handler(came)) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM wait."""
    waiting: list[int] = []
    try:
        with handled(waiting.append):
            yield
    finally:
        for came in waiting:
            signal.raise_signal(came)


class Interruption:
    """`asked` is the signal that wants a run to end, or 0."""

    asked = 0

    def ask(self, number: int) -> None:
        self.asked = number


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """While it lasts, Ctrl-C and SIGTERM are noted instead of tearing the run apart."""
    noted = Interruption()
    with handled(noted.ask):
        yield noted
