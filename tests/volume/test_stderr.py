"""Stderr is back after every read, from however many threads at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.volume.reading import read_volume, silent_stderr
from tests.conftest import MakeHead


def stderr() -> tuple[int, int]:
    status = os.fstat(2)
    return status.st_dev, status.st_ino


def test_the_last_thread_gives_stderr_back(tmp_path: Path) -> None:
    before, hidden = stderr(), os.stat(os.devnull)
    first, second = silent_stderr(), silent_stderr()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert stderr() == (hidden.st_dev, hidden.st_ino)  # the second still reads
    second.__exit__(None, None, None)
    assert stderr() == before


def test_many_threads_read_at_once(make_head: MakeHead, tmp_path: Path) -> None:
    before, scan = stderr(), make_head()
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan.read_bytes()[:3000])

    def read(path: Path) -> bool:
        try:
            return read_volume(path).array.any()
        except InputError:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read, [scan, cut] * 24)) == [True, False] * 24
    assert stderr() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_process_that_is_forked_meanwhile_has_its_stderr() -> None:
    before = stderr()
    with silent_stderr():
        child = os.fork()
        if child == 0:
            os._exit(stderr() != before)
        assert os.waitpid(child, 0)[1] == 0
    assert stderr() == before


def test_reading_without_stderr(make_head: MakeHead) -> None:
    scan, kept = make_head(), os.dup(2)
    try:
        os.close(2)
        assert read_volume(scan).array.any()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
