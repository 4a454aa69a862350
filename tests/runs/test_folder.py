"""A run that waits for another says for whom; a folder that goes in between is made again."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.files.lock import hold
from synthtumour.runs import folder as module
from synthtumour.runs.folder import held
from synthtumour.runs.journal import Journal


def test_a_run_that_waits_says_for_whom_and_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with hold(tmp_path, command=("that.py", "--input", "a b")):
            journal = Journal(tmp_path, {}, wait=said.append)
            waiting = pool.submit(journal.__enter__)
            while not said and not waiting.done():
                time.sleep(0.01)
        waiting.result(timeout=10)
        journal.__exit__()
    (line,) = said
    assert line.startswith("waiting") and str(os.getpid()) in line and "that.py --input 'a b'" in line


def test_a_folder_that_another_run_removes_in_between_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def removed_first(folder: Path, *how: object):  # by a run that began with this one, and failed
        tries.append(folder)
        if len(tries) < 3:
            folder.rmdir()
        return hold(folder, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "hold", removed_first)
    with held(tmp_path / "a/b"):
        assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["run.lock"]
    assert len(tries) == 3 and not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with (
        pytest.raises(InputError, match="cannot be written .*; move it"),
        held(tmp_path / "a/b", remedy="move it"),
    ):
        pass
