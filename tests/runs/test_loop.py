"""Tasks and workers: shares, failures, crashes, interruption, an executor of one's own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runs.conftest import groups_in, logged, manifest, run, start


def test_one_group_is_split_among_the_workers(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 1, variants=6, sleep=0.2), workers=2)
    lines = (tmp_path / "made/log.txt").read_text().splitlines()
    assert len(lines) == 6
    assert len({line.split()[1] for line in lines}) == 2


def test_what_a_long_group_has_made_gets_its_names_meanwhile(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 1, variants=60), workers=1)
    assert int(manifest(tmp_path)[-1]["there"]) >= 60 - 3 * 16  # the case in hand's task and two before it


def test_failures_and_a_crash_do_not_stop_the_others(tmp_path: Path) -> None:
    what = {1: "broken", 3: "fail", 4: "crash"}
    report = run(tmp_path, groups_in(tmp_path, 8, variants=2, what=what), workers=2)
    assert (report.made, report.exit_code) == (10, 1)
    reasons = dict(report.failed)
    assert set(reasons) == {f"c{n}_{v}" for n in what for v in range(2)}
    assert reasons["c1_0"] == reasons["c1_1"] == "broken: cannot be read"
    assert "does not fit" in reasons["c3_0"] and "conftest.py" in reasons["c3_0"]
    assert "died" in reasons["c4_1"]
    by_name = {row["case"]: row for row in manifest(tmp_path)}
    assert by_name["c3_0"]["status"] == "failed" and by_name["c3_0"]["reason"] == reasons["c3_0"]
    assert by_name["c7_1"]["count"] == "3"  # not 3.0, which a column with gaps would make of it


def test_an_executor_of_one_s_own(tmp_path: Path) -> None:
    class Counting(Executor):
        """A thread pool that notes how many tasks it held at once."""

        def __init__(self) -> None:
            self.pool, self.held, self.most = ThreadPoolExecutor(2), 0, 0

        def submit(self, call: Callable[..., object], /, *args: object, **kwargs: object) -> Future:
            self.held += 1
            self.most = max(self.most, self.held)
            future = self.pool.submit(call, *args, **kwargs)
            future.add_done_callback(lambda _: self._release())
            return future

        def _release(self) -> None:
            self.held -= 1

    executor = Counting()
    report = run(tmp_path, groups_in(tmp_path, 40, sleep=0.01), workers=2, executor=executor)
    assert report.made == 40
    assert executor.most == 4  # however many cases there are
    executor.pool.submit(int).result()  # the caller's executor is still open


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_stops_soon_and_keeps_what_was_finished(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "out"
    process = start(folder, tmp_path / "script.py")
    process.send_signal(number)
    assert process.wait(timeout=600) == 128 + number
    status = [row["status"] for row in manifest(folder)]
    there = {path.stem for path in (folder / "made").glob("c*")}
    assert {row["case"] for row in manifest(folder) if row["status"] == "made"} == there
    assert status.count("made") >= 4 and status.count("not made") > 0
    report = run(folder, groups_in(folder, 24, sleep=0.3), workers=2)
    assert (report.made, report.kept) == (status.count("not made"), status.count("made"))
    assert len(logged(folder)) == 24  # nothing twice
