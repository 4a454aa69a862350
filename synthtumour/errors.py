"""What cannot be used, and one line about what went wrong."""

from __future__ import annotations

import traceback
from pathlib import Path

_LONGEST_REASON = 1000


class InputError(ValueError):
    """What the user gave cannot be used: the message says what, which file, and what to do."""


def reason_of(error: Exception) -> str:
    """One line about what went wrong and, if nobody has thought of it, where, and what to do about it."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    what = f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}{where}"
    if isinstance(error, MemoryError):
        return f"not enough memory for it; {what}"
    return f"unexpected {what}; run again with --debug for the traceback, and report it"


def require(condition: bool, message: str) -> None:
    """Raise InputError with this message unless the condition holds."""
    if not condition:
        raise InputError(message)
