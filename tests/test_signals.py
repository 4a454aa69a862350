"""Ctrl-C and SIGTERM while a block lasts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from synthtumour.signals import handled, held_back, interruption

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def usual() -> Iterator[list[int]]:
    """The signals that came through to whoever handles them outside the block."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in BOTH}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_waits_for_the_end_of_the_block(number: int, usual: list[int]) -> None:
    with held_back():
        signal.raise_signal(number)
        assert usual == []
    assert usual == [number]


def test_it_comes_through_even_if_the_block_fails(usual: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), held_back():
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError
    assert usual == [signal.SIGTERM]


@pytest.mark.parametrize("number", BOTH)
def test_an_interruption_is_noted_and_afterwards_all_is_as_before(number: int, usual: list[int]) -> None:
    with interruption() as noted:
        assert noted.asked == 0
        signal.raise_signal(number)
        assert noted.asked == number and usual == []
    signal.raise_signal(number)
    assert usual == [number]


def test_only_the_signals_that_were_named(usual: list[int]) -> None:
    seen: list[int] = []
    with handled(seen.append, (signal.SIGTERM,)):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert (seen, usual) == ([signal.SIGTERM], [signal.SIGINT])


def test_in_another_thread_nothing_changes(usual: list[int]) -> None:
    """Only the main thread may set what signals do; the block is run all the same."""
    ran = []

    def block() -> None:
        with held_back(), interruption():
            ran.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert ran == [before]
