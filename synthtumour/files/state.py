"""Whether a file still is what it was: its length, CRC-32 and times of change."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path


def file_state(path: Path, crc: int | None = None) -> list[int]:
    """Length, CRC-32 and times of change of a file."""
    status = path.stat()
    if crc is None:
        crc = _crc(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return [status.st_size, crc, status.st_mtime_ns, status.st_ctime_ns]


def is_same(path: Path, state: Sequence[int]) -> bool:
    """Whether the file at `path` still has the bytes that it had in `state`."""
    try:
        status = path.stat()
        size, crc, *times = state
        if status.st_size != size:
            return False
        # Whole seconds are a file system's that keeps no more, so there can be two changes at one time.
        if times == [status.st_mtime_ns, status.st_ctime_ns] and times[1] % 10**9:
            return True
        return _crc(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns) == crc
    except OSError:
        return False


def size_of(path: Path) -> int | None:
    """The length of a file; None if there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


@lru_cache(maxsize=64)  # several cases may be made from one scan
def _crc(path: Path, *_: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            crc = zlib.crc32(block, crc)
    return crc
