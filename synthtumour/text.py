"""Words and numbers as people are shown them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def printable(text: str) -> str:
    """`text` with what a file name may hold that a terminal should not get written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_safely(text: str) -> None:
    """Print `text`, `printable`."""
    print(printable(text))


def without_names(said: str, names: Iterable[str]) -> str:
    """`said` with … for a case's own `names` and for the paths of files of that name."""
    for name in names:
        if name in said and not name.isdigit():
            said = re.sub(rf"(?<![\w-])(\S*/)?{re.escape(name)}(?![\w-])[^\s:;,)]*", "…", said)
    return said


def counted(number: int, one: str, many: str = "") -> str:
    """'1 case', '2 cases'; `many` where that is more than an s behind `one`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def in_brackets(numbers: Iterable[float]) -> str:
    """(2, 2, 3.5)"""
    return "(" + ", ".join(f"{float(n):g}" for n in numbers) + ")"


def volume_text(volume_ml: float) -> str:
    """12.3 ml, and for less than one three digits more."""
    if not volume_ml:
        return "no tumour"
    return f"{volume_ml:.1f} ml" if volume_ml >= 1 else f"{volume_ml:.3f} ml"


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of `items`, spread over all of them."""
    return list(items) if len(items) <= count else [items[i * len(items) // count] for i in range(count)]
