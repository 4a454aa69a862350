"""One line about what went wrong."""

from __future__ import annotations

import pytest

from synthtumour.errors import InputError, reason_of, require


def reason_for(raise_it: str) -> str:
    try:
        exec(compile(raise_it, "somewhere.py", "exec"), {"InputError": InputError})
    except Exception as error:
        return reason_of(error)
    raise AssertionError("nothing was raised")


def test_what_was_thought_of_says_itself() -> None:
    assert reason_for("raise InputError('a.nii: cut short')") == "a.nii: cut short"
    assert reason_for("open('/gone/away')") == "/gone/away: No such file or directory"


def test_what_was_not_thought_of_says_where_and_what_to_do() -> None:
    said = reason_for("\n\n1 / 0")
    assert said.startswith("unexpected ZeroDivisionError: division by zero (at somewhere.py:3)")
    assert said.endswith("run again with --debug for the traceback, and report it")
    assert reason_for("raise MemoryError('8 EiB')").startswith("not enough memory for it; MemoryError: 8 EiB")


def test_a_reason_has_an_end() -> None:
    assert len(reason_for("raise KeyError('x' * 10**6)")) < 1200


def test_require() -> None:
    require(True, "never said")
    with pytest.raises(InputError, match="^--variants 0$"):
        require(False, "--variants 0")
