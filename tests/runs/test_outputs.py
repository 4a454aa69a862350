"""Files of others are never replaced; what is byte for byte the run's is taken up."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from synthtumour.runs.cases import Report
from synthtumour.runs.settings import JOURNAL_FILE
from tests.runs.conftest import groups_in, run


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


def test_a_file_that_is_not_what_the_run_makes_fails_its_case_alone(tmp_path: Path) -> None:
    run_here(tmp_path)
    lines = (tmp_path / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL_FILE).write_bytes(lines[0])
    made = files(tmp_path)
    mine = tmp_path / "made/c1_0.txt"
    mine.write_bytes(b"m" + mine.read_bytes()[1:])  # of the same length
    link = tmp_path / "made/c2_0.txt"
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    for _ in range(2):  # a second run does not take them for its own either
        report = run_here(tmp_path)
        assert [name for name, _ in report.failed] == ["c1_0", "c2_0"] and report.exit_code == 1
        assert all("not made by this run" in reason for _, reason in report.failed)
        assert mine.read_bytes()[:1] == b"m" and link.is_symlink()
    mine.unlink()
    link.unlink()
    assert run_here(tmp_path).exit_code == 0 and files(tmp_path) == made
