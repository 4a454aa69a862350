"""Worker processes: how many, and that they end with their parent."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from synthtumour.runs.limits import usable_cores
from tests.runs.conftest import groups_in, logged, manifest, run, start


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
    give_up = time.monotonic() + 600  # at once on a quiet machine
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
    assert process.wait(timeout=600) == 0
    assert [row["status"] for row in manifest(folder)] == ["made"] * 24
    assert not list(folder.rglob(".*"))


def fork_servers(pid: int) -> list[int]:
    """The fork servers that `pid` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in children if b"forkserver" in Path(f"/proc/{n}/cmdline").read_bytes()]


def test_a_case_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    process = start(tmp_path / "out", tmp_path / "script.py", sleep=10**5, enough=0)
    journal = tmp_path / "out/journal.jsonl"
    while not (journal.exists() and "started" in journal.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(2)  # by now a worker has most likely begun; it is cut off before that too
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=600) == 130  # of the day that a case would take


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
