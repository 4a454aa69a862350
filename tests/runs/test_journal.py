"""What a run has made is known, and nobody else's file is touched."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthtumour.errors import InputError
from synthtumour.files.state import file_state
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.settings import JOURNAL_FILE
from tests.runs.conftest import case_in, groups_in, journal_in, logged, manifest, run


def test_a_case_that_fails_now_leaves_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 2), workers=1)
    report = run(tmp_path, groups_in(tmp_path, 2, what={1: "fail"}), workers=1)
    assert report.kept == 1 and not (tmp_path / "made/c1_0.txt").exists()


def test_done_means_whole_and_made_with_the_same_parameters(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 5), workers=1)
    made = tmp_path / "made"
    whole = (made / "c0_0.txt").read_bytes()
    (made / "c0_0.txt").write_bytes(whole[:-1])  # cut short
    (made / "c1_0.txt").write_bytes(b"x" + (made / "c1_0.txt").read_bytes()[1:])  # same length
    (made / "c2_0.txt").unlink()
    os.utime(made / "c3_0.txt", ns=(0, 0))  # copied elsewhere and back
    times = (made / "c4_0.txt").stat()
    (made / "c4_0.txt").write_bytes(b"x" + (made / "c4_0.txt").read_bytes()[1:])  # and its time put back
    os.utime(made / "c4_0.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    (made / "log.txt").unlink()
    report = run(tmp_path, groups_in(tmp_path, 5), workers=1)
    assert (report.made, report.kept) == (4, 1)
    assert sorted(logged(tmp_path)) == ["c0_0", "c1_0", "c2_0", "c4_0"]
    assert (made / "c0_0.txt").read_bytes() == whole
    other = run(tmp_path, groups_in(tmp_path, 5, scan_changed=True), workers=1)
    assert (other.made, other.kept) == (5, 0)


def test_inputs_are_the_same_if_their_bytes_are(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    scan.write_text("one")
    (group,) = groups_in(tmp_path, 1)
    groups = [Group("s0", (replace(group.cases[0], inputs=(scan,)),))]
    assert run(tmp_path, groups, workers=1).made == 1
    os.utime(scan, ns=(0, 0))  # copied anew
    assert run(tmp_path, groups, workers=1).kept == 1
    scan.write_text("two")
    os.utime(scan, ns=(0, 0))
    assert run(tmp_path, groups, workers=1).made == 1


def test_a_file_that_comes_while_the_run_is_on_is_not_replaced(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 2, sleep=0.3)
    begun = threading.Thread(target=lambda: write_when(tmp_path / "run.json", tmp_path / "made/c1_0.txt"))
    begun.start()
    report = run(tmp_path, groups, workers=1)
    begun.join()
    assert "not made by this run" in dict(report.failed)["c1_0"]
    assert (tmp_path / "made/c1_0.txt").read_text() == "mine"


def write_when(there: Path, path: Path) -> None:
    while not there.exists():
        time.sleep(0.01)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")


def test_a_folder_in_the_place_of_an_output_fails_its_case_alone(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 3), workers=1)
    obstructed = tmp_path / "made/c1_0.txt"
    obstructed.unlink()
    obstructed.mkdir()
    (tmp_path / "made/c2_0.txt").unlink()
    report = run(tmp_path, groups_in(tmp_path, 3), workers=1)
    assert (report.made, report.kept, report.exit_code) == (1, 1, 1)
    assert report.failed[0][1].startswith(f"{obstructed}: ") and "cannot be written" in report.failed[0][1]
    assert [row["status"] for row in manifest(tmp_path)] == ["made", "failed", "made"]
    obstructed.rmdir()
    assert run(tmp_path, groups_in(tmp_path, 3), workers=1).made == 1


def test_outputs_that_vanish_while_the_run_is_on_are_not_called_made(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 2, sleep=0.2), workers=1)
    gone = [tmp_path / "made/c0_0.txt", tmp_path / "made/c2_0.txt"]  # one kept, one made now
    edited = tmp_path / "made/c1_0.txt"

    def take_away() -> None:
        while not gone[1].exists():
            time.sleep(0.01)
        for path in gone:
            path.unlink()
        edited.write_text("mine")

    thread = threading.Thread(target=take_away)
    thread.start()
    report = run(tmp_path, groups_in(tmp_path, 6, sleep=0.2), workers=1)
    thread.join()
    assert (report.made, report.kept, report.exit_code) == (3, 0, 1)
    reasons = dict(report.failed)
    for path in gone:
        assert reasons[path.stem] == f"{path}: vanished while the run was on; run the same command again"
    assert "was changed while the run was on" in reasons["c1_0"] and edited.read_text() == "mine"
    failed = [row["case"] for row in manifest(tmp_path) if row["status"] == "failed"]
    assert failed == ["c0_0", "c1_0", "c2_0"]
    edited.unlink()
    assert run(tmp_path, groups_in(tmp_path, 6, sleep=0.2), workers=1).made == 3


@pytest.mark.parametrize(
    "name", ["journal.jsonl", "journal.shard-01-of-02.jsonl", "manifest.csv", "dataset.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    run(tmp_path, groups_in(tmp_path, 1), workers=1, reserved=[tmp_path / "dataset.json"])
    path.unlink(missing_ok=True)
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda p: os.symlink("/dev/full", p)}[kind](path)
    with pytest.raises(InputError, match=f"{name}: not a regular file; move it"):
        run(tmp_path, groups_in(tmp_path, 1), workers=1, reserved=[tmp_path / "dataset.json"])
    assert os.path.lexists(path) and not list(tmp_path.glob("*.lock"))


def test_another_run_s_folder_is_refused_until_overwrite(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 4), workers=1)
    (tmp_path / "made/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="--seed was 0, now 1"):
        run(tmp_path, groups_in(tmp_path, 4), {"options": {"seed": 1}}, workers=1)
    with pytest.raises(InputError, match=r"more of an earlier run .*\(c3_0\)"):
        run(tmp_path, groups_in(tmp_path, 3), workers=1)
    edited = tmp_path / "made/c3_0.txt"
    edited.write_text("edited by hand")
    report = run(tmp_path, groups_in(tmp_path, 2), {"options": {"seed": 1}}, workers=1, overwrite=True)
    assert (report.made, report.kept) == (2, 0)
    assert not (tmp_path / "made/c2_0.txt").exists()
    assert (tmp_path / "made/mine.txt").read_text() == "mine"
    assert edited.read_text() == "edited by hand" and "c3_0" in report.notes[0]
    assert [row["case"] for row in manifest(tmp_path)] == ["c0_0", "c1_0"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/c1_0.txt").write_text("mine")
    with pytest.raises(InputError, match="not made by this run"):
        run(tmp_path, groups_in(tmp_path, 3), workers=1, overwrite=overwrite)
    (tmp_path / "made/c1_0.txt").unlink()
    (tmp_path / "dataset.json").write_text("mine")
    with pytest.raises(InputError, match=r"dataset\.json: exists"):
        run(tmp_path, groups_in(tmp_path, 3), overwrite=overwrite, reserved=[tmp_path / "dataset.json"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dataset.json", "made"]


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "file/out", groups_in(tmp_path, 1), workers=1)


def test_a_journal_leads_nowhere_else(tmp_path: Path) -> None:
    """Neither a line that claims somebody's file nor one that claims a folder makes us delete it."""
    folder, home = tmp_path / "run", tmp_path / "home"
    for place in (folder, home / ".synthtumour-0123456789abcdef"):
        place.mkdir(parents=True)
        (place / "mine.txt").write_text("mine")
    (home / "mine.txt").write_text("mine")
    state = file_state(home / "mine.txt")
    lines: list[dict] = [
        {"staging": ["../home/.synthtumour-0123456789abcdef"]},
        {"started": {"x": {"../home/mine.txt": None}}},
        {"case": "y", "digest": "", "status": "made", "outputs": {"../home/mine.txt": state}},
        {"case": "z", "digest": "", "status": "made", "outputs": {str(home / "mine.txt"): state}},
        {"case": "a", "digest": "", "status": "made", "outputs": {"../home/mine.txt": state}},
    ]
    (folder / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    case = case_in(folder)
    with journal_in(folder) as journal:
        notes = journal.admit({case.name: case}, {case.name: case})
        assert not journal.is_done(case)
        with journal.work([case]):
            journal.start([case])
    assert (home / "mine.txt").read_text() == "mine"
    assert (home / ".synthtumour-0123456789abcdef/mine.txt").read_text() == "mine"
    assert [note for note in notes if "../home/mine.txt" in note]


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
