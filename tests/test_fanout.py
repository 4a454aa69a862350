"""The runner over cases: failures, crashes, resume, refusals, cores. The jobs only write text files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthtumour.errors import InputError
from synthtumour.runs.cases import Case, Group, Report
from synthtumour.runs.journal import Journal
from synthtumour.runs.pool import usable_cores
from synthtumour.runs.run import Working
from synthtumour.runs.run import run as run_cases


def load(source: str) -> str:
    if source == "broken":
        raise InputError("broken: cannot be read")
    return source


def make(loaded: str, case: Case) -> Mapping[str, object]:
    what = case.parameters.get("what")
    if what == "fail":
        raise ValueError("does not fit")
    if what == "crash":
        os._exit(9)
    time.sleep(float(case.parameters.get("sleep", 0)))
    for output in case.outputs:
        output.write_text(f"{case.name} of {loaded}, {json.dumps(case.parameters)}")
    with open(case.outputs[0].parents[2] / "log.txt", "a") as log:
        log.write(f"{case.name} {os.getpid()}\n")
    there = len(list(case.outputs[0].parents[2].glob("c*")))
    return {"there": there, "volume_ml": 1.5, "count": 3, "threads": os.environ.get("OPENBLAS_NUM_THREADS")}


def groups_in(
    folder: Path, count: int, variants: int = 1, what: Mapping[int, str] = {}, **parameters: object
) -> list[Group]:
    def case(n: int, v: int) -> Case:
        extra = {"what": what[n]} if n in what else {}
        outputs = (folder / "made" / f"c{n}_{v}.txt",)
        return Case(f"c{n}_{v}", outputs, {**parameters, **extra}, columns={"subject": f"s{n}"})

    return [
        Group("broken" if what.get(n) == "broken" else f"s{n}", tuple(case(n, v) for v in range(variants)))
        for n in range(count)
    ]


def run(
    folder: Path,
    groups: list[Group],
    settings: dict[str, object] | None = None,
    reserved: Sequence[Path] = (),
    overwrite: bool = False,
    **how: Any,
) -> Report:
    settings = settings or {"options": {"seed": 0}}
    with Journal(folder, settings, reserved=reserved, overwrite=overwrite) as journal:
        return run_cases(groups, load, make, journal, Working(**how))


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logged(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "made/log.txt").read_text().splitlines()]


def test_every_case_once_and_the_manifest_in_order(tmp_path: Path) -> None:
    report = run(tmp_path, groups_in(tmp_path, 5, variants=2), workers=2)
    names = [f"c{n}_{v}" for n in range(5) for v in range(2)]
    assert (report.made, report.kept, report.failed, report.exit_code) == (10, 0, [], 0)
    assert sorted(logged(tmp_path)) == sorted(names)
    rows = manifest(tmp_path)
    assert [row["case"] for row in rows] == names
    assert rows[3]["subject"] == "s1" and rows[3]["status"] == "made" and rows[3]["count"] == "3"
    assert {row["threads"] for row in rows} == {"1"}
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["options"] == {"seed": 0} and settings["packages"]["numpy"]


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
    assert "does not fit" in reasons["c3_0"] and "test_fanout.py" in reasons["c3_0"]
    assert "died" in reasons["c4_1"]
    by_name = {row["case"]: row for row in manifest(tmp_path)}
    assert by_name["c3_0"]["status"] == "failed" and by_name["c3_0"]["reason"] == reasons["c3_0"]
    assert by_name["c7_1"]["count"] == "3"  # not 3.0, which a column with gaps would make of it


def test_failed_cases_are_tried_again_and_the_rest_kept(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 4, what={2: "fail"}), workers=1)
    report = run(tmp_path, groups_in(tmp_path, 4), workers=1)
    assert (report.made, report.kept, report.failed) == (1, 3, [])


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
    assert report.failed[0][1].startswith(f"{obstructed}: cannot be written (Is a directory); ")
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


def test_an_output_folder_that_vanishes_ends_the_run(tmp_path: Path) -> None:
    def take_away() -> None:
        while not (tmp_path / "made/c0_0.txt").exists():
            time.sleep(0.01)
        (tmp_path / "made").rename(tmp_path / "away")

    thread = threading.Thread(target=take_away)
    thread.start()
    with pytest.raises(InputError, match="made: vanished while the run was on; the same command carries on"):
        run(tmp_path, groups_in(tmp_path, 30, sleep=0.05), workers=1)
    thread.join()
    assert "made" not in {row["status"] for row in manifest(tmp_path)}


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


def test_a_finished_folder_is_not_touched(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 3), workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    report = run(tmp_path, groups_in(tmp_path, 3), workers=2)
    assert (report.made, report.kept, report.exit_code) == (0, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_run_s_folder_is_refused_until_overwrite(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 4), workers=1)
    (tmp_path / "made/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="--seed was 0, now 1"):
        run(tmp_path, groups_in(tmp_path, 4), {"options": {"seed": 1}}, workers=1)
    with pytest.raises(InputError, match=r"1 case\(s\) .*c3_0"):
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


def test_two_runs_at_once_in_one_folder(tmp_path: Path) -> None:
    second: list[BaseException] = []

    def intrude() -> None:
        while not (tmp_path / "run.json").exists():
            time.sleep(0.02)
        try:
            run(tmp_path, groups_in(tmp_path, 3), workers=1)
        except InputError as error:
            second.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    run(tmp_path, groups_in(tmp_path, 3, sleep=0.4), workers=1)
    thread.join()
    assert "another run is writing here" in str(second[0])


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


SCRIPT = """
    import sys
    from pathlib import Path
    sys.path[:0] = [{tests!r}, {root!r}]
    from test_fanout import groups_in, run

    if __name__ == "__main__":
        folder = Path({folder!r})
        sys.exit(run(folder, groups_in(folder, 24, sleep={sleep}), workers=2).exit_code)
"""


def start(folder: Path, script: Path, sleep: float = 0.3, enough: int = 4) -> subprocess.Popen[bytes]:
    """A run of 24 cases in a process of its own, once `enough` of them are made."""
    tests = Path(__file__).resolve().parent
    text = SCRIPT.format(tests=str(tests), root=str(tests.parent), folder=str(folder), sleep=sleep)
    script.write_text(textwrap.dedent(text))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 60
    while len(list((folder / "made").glob("c*"))) < enough:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    return process


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_kill_9_ends_the_workers_and_the_same_command_carries_on(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = start(folder, tmp_path / "script.py")
    process.kill()
    process.wait()
    give_up = time.monotonic() + 30  # at once on a quiet machine
    workers = {int(line.split()[1]) for line in (folder / "made/log.txt").read_text().splitlines()}
    while any(map(is_running, workers)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    assert not (folder / "manifest.csv").exists()
    assert list((folder / "made").glob(".*"))  # half made, or about to be given its name
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"case": "c23_0", "sta')  # killed in the middle of a line
    report = run(folder, groups_in(folder, 24, sleep=0.3), workers=2)
    assert report.made + report.kept == 24 and report.kept > 0
    assert len(set(logged(folder))) == 24 and len(logged(folder)) <= 24 + 4
    assert [row["status"] for row in manifest(folder)] == ["made"] * 24
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("enough", [0, 4])
def test_a_killed_fork_server_is_started_again(tmp_path: Path, enough: int) -> None:
    """While it starts (no worker is there yet), and in mid-run."""
    folder = tmp_path / "out"
    process = start(folder, tmp_path / "script.py", enough=enough)
    while not (servers := fork_servers(process.pid)):
        assert process.poll() is None
    os.kill(servers[0], signal.SIGKILL)
    assert process.wait(timeout=60) == 0
    assert [row["status"] for row in manifest(folder)] == ["made"] * 24
    assert not list(folder.rglob(".*"))


def fork_servers(pid: int) -> list[int]:
    """The fork servers that `pid` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in children if b"forkserver" in Path(f"/proc/{n}/cmdline").read_bytes()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_stops_soon_and_keeps_what_was_finished(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "out"
    process = start(folder, tmp_path / "script.py")
    begin = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert time.monotonic() - begin < 15  # a second on a quiet machine
    status = [row["status"] for row in manifest(folder)]
    there = {path.stem for path in (folder / "made").glob("c*")}
    assert {row["case"] for row in manifest(folder) if row["status"] == "made"} == there
    assert status.count("made") >= 4 and status.count("not made") > 0
    report = run(folder, groups_in(folder, 24, sleep=0.3), workers=2)
    assert (report.made, report.kept) == (status.count("not made"), status.count("made"))
    assert len(logged(folder)) == 24  # nothing twice


def test_a_case_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    process = start(tmp_path / "out", tmp_path / "script.py", sleep=60, enough=0)
    time.sleep(2)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=90) == 130
    assert time.monotonic() - begin < 30  # of the 60 it would take


def test_usable_cores_respects_cgroups(tmp_path: Path) -> None:
    mine = len(os.sched_getaffinity(0))
    membership = tmp_path / "cgroup"

    def cores(lines: str) -> int:
        membership.write_text(lines)
        return usable_cores(membership, tmp_path / "fs")

    v2 = tmp_path / "fs/slice/job"
    v2.mkdir(parents=True)
    (v2 / "cpu.max").write_text("max 100000\n")
    assert cores("0::/slice/job\n") == mine
    (v2.parent / "cpu.max").write_text("150000 100000\n")  # a parent's quota counts too
    assert cores("0::/slice/job\n") == 1
    assert cores("0::/elsewhere\n") == mine
    v1 = tmp_path / "fs/cpu,cpuacct/docker/abc"
    v1.mkdir(parents=True)
    (v1 / "cpu.cfs_quota_us").write_text("100000\n")
    (v1 / "cpu.cfs_period_us").write_text("100000\n")
    assert cores("5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n") == 1
    (v1 / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores("4:cpu,cpuacct:/docker/abc\n") == mine
    membership.unlink()
    assert usable_cores(membership, tmp_path / "fs") == mine
