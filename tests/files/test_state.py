"""Whether a file still is what it was."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from synthtumour.files.state import file_state, is_same, size_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"what is in it")
    return path


def test_a_state_is_length_sum_and_times(file: Path) -> None:
    status = file.stat()
    assert file_state(file) == [13, zlib.crc32(b"what is in it"), status.st_mtime_ns, status.st_ctime_ns]
    assert file_state(file, crc=7)[1] == 7  # known already


def test_the_same_bytes_are_the_same_file_whatever_the_clock_says(file: Path) -> None:
    state = file_state(file)
    os.utime(file, ns=(0, 0))
    assert is_same(file, state)
    file.write_bytes(b"what is in it")
    assert is_same(file, state)


def test_other_bytes_are_another_file_whatever_the_clock_says(file: Path) -> None:
    state = file_state(file)
    file.write_bytes(b"what is in IT")
    os.utime(file, ns=(state[2], state[2]))  # of the times only ctime tells
    assert not is_same(file, state)


@pytest.mark.parametrize("content", [b"what is in", b"what is in it now", b""])
def test_another_length_is_another_file(content: bytes, file: Path) -> None:
    state = file_state(file)
    file.write_bytes(content)
    assert not is_same(file, state)


def test_a_file_that_is_gone(file: Path) -> None:
    state = file_state(file)
    assert size_of(file) == 13 and size_of(file.parent) is None
    file.unlink()
    assert not is_same(file, state) and size_of(file) is None
