"""What a power cut takes of the journal, and what a run may take up of a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from synthtumour.errors import InputError
from synthtumour.runs.cases import Report
from synthtumour.runs.settings import JOURNAL_FILE
from tests.runs.conftest import groups_in, manifest, run


class Here(Executor):
    """Runs each task at once, in this thread."""

    def __init__(self, look: Any = None) -> None:
        self._look = look

    def submit(self, function: Any, /, *args: Any, **how: Any) -> Future[Any]:
        if self._look:
            self._look(args[2])
        future: Future[Any] = Future()
        future.set_result(function(*args, **how))
        return future


def run_here(folder: Path, look: Any = None, **how: Any) -> Report:
    reserved = [folder / "dataset.json"]
    report = run(folder, groups_in(folder, 3, variants=2), reserved=reserved, executor=Here(look), **how)
    reserved[0].write_text("written when all is made")
    return report


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "made").glob("c*"))}


def cuts(journal: bytes) -> Iterator[int]:
    """The end of every line, and the middle of each."""
    at = 0
    for line in journal.splitlines(keepends=True):
        yield from (at, at + len(line) // 2, at + len(line) - 1)
        at += len(line)


def test_a_journal_cut_anywhere_is_carried_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run_here(whole)
    made, journal = files(whole), (whole / JOURNAL_FILE).read_bytes()
    assert len(made) == 6 and journal.count(b"\n") == 2 + 3 + 6
    for number, at in enumerate(cuts(journal)):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        with (folder / JOURNAL_FILE).open("r+b") as file:
            file.truncate(at)
            file.write(b"\0" * (number % 2 * 50))  # as some file systems leave it
        report = run_here(folder)
        assert (report.exit_code, report.made + report.kept) == (0, 6), journal[:at]
        assert files(folder) == made and len(manifest(folder)) == 6
        assert run_here(folder).kept == 6
        assert [path.name for path in folder.rglob(".*")] == []


def test_what_a_killed_run_has_not_taken_up_stays_somebody_s(tmp_path: Path) -> None:
    """Killed after a case was started, before it is finished: the file in its way is still not the run's."""
    run_here(tmp_path)
    lines = (tmp_path / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL_FILE).write_bytes(lines[0])
    (tmp_path / "made/c0_0.txt").write_text("mine")

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_here(tmp_path, look=killed)
    assert b'"started": {"c0_0": {}' in (tmp_path / JOURNAL_FILE).read_bytes()
    assert [name for name, _ in run_here(tmp_path).failed] == ["c0_0"]
    assert (tmp_path / "made/c0_0.txt").read_text() == "mine"


def test_without_a_run_in_the_folder_files_are_refused_before_any_work(tmp_path: Path) -> None:
    run_here(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / JOURNAL_FILE).unlink()
    with pytest.raises(InputError, match="exists and"):
        run_here(tmp_path)


def test_started_cases_are_on_the_disk_before_they_are_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = b""
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        nonlocal on_disk
        fsync(descriptor)
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(JOURNAL_FILE):
            on_disk = (tmp_path / JOURNAL_FILE).read_bytes()

    monkeypatch.setattr(os, "fsync", noting)
    handed_out = []

    def look(task: Any) -> None:
        started = [json.loads(line).get("started", {}) for line in on_disk.splitlines()]
        assert all(any(case.name in names for names in started) for case in task.cases)
        handed_out.append(len(task.cases))

    run_here(tmp_path, look)
    assert handed_out == [2, 2, 2]


def test_other_versions_are_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    run_here(tmp_path)
    now = metadata.version("numpy")
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "numpy" else real(name))
    assert run_here(tmp_path).notes == ()  # nothing was made with it
    assert json.loads((tmp_path / "run.json").read_text())["packages"]["numpy"] == now
    (tmp_path / "made/c1_1.txt").unlink()
    (note,) = run_here(tmp_path).notes
    assert f"numpy {now}, 9.9" in note
    assert json.loads((tmp_path / "run.json").read_text())["packages"]["numpy"] == f"{now}, 9.9"
    assert run_here(tmp_path).notes == (note,)
    assert run_here(tmp_path, overwrite=True).notes == ()
    assert json.loads((tmp_path / "run.json").read_text())["packages"]["numpy"] == "9.9"
