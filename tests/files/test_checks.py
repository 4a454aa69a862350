"""What may be read and written is looked at before any work."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.files.checks import check_regular
from tests.conftest import MakeHead, resect


def test_output_over_a_linked_input_is_refused(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head()
    link = tmp_path / "link.nii.gz"
    os.symlink(scan, link)
    before = scan.read_bytes()
    assert resect(scan, link, tmp_path / "l.nii.gz") == 2
    assert scan.read_bytes() == before


def test_a_file_that_another_run_removes_meanwhile_is_no_fault(tmp_path: Path) -> None:
    path, done = tmp_path / "journal", threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            path.touch()
            path.unlink()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(3000):
            check_regular(path)
    finally:
        done.set()
        other.join()
    path.mkdir()
    with pytest.raises(InputError, match="not a regular file"):
        check_regular(path)
