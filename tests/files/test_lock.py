"""One run a folder, parts of a run beside each other; the second is told who is there. Real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthtumour.files.lock import hold
from tests.conftest import ROOT

HOLDING = """
import sys
from pathlib import Path
from synthtumour.files.lock import hold
with hold(Path(sys.argv[1]), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(folder: Path, *part: str, end: str = "close") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDING, str(folder), *part]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdin and process.stdout.readline() == "held\n"
    yield process
    process.kill() if end == "kill" else process.stdin.close()
    process.wait()


def refusal(folder: Path, *part: str) -> str:
    with pytest.raises(BlockingIOError) as refused, hold(folder, *part):
        pass
    return str(refused.value)


def test_the_second_run_is_told_who_is_there(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process:
        said = refusal(tmp_path)
        assert (
            f"another run is writing here (process {process.pid} on {socket.gethostname()} since 20" in said
        )
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00: .*" + re.escape(str(tmp_path)), said)
        assert str(process.pid) in refusal(tmp_path, "1-of-2")
    assert not list(tmp_path.iterdir())
    with hold(tmp_path):
        pass


def test_a_killed_run_blocks_nobody_and_its_note_is_not_believed(tmp_path: Path) -> None:
    with held_by_another(tmp_path, end="kill"):
        pass
    assert (tmp_path / "run.lock").exists()
    with held_by_another(tmp_path, "1-of-2") as part:
        assert re.findall(r"process (\d+)", refusal(tmp_path)) == [str(part.pid)]
    with hold(tmp_path):
        note = json.loads((tmp_path / "run.lock").read_text())
        assert note["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_parts_run_together_each_once_and_the_whole_alone(tmp_path: Path) -> None:
    with held_by_another(tmp_path, "1-of-2") as first, held_by_another(tmp_path, "2-of-2") as second:
        said = refusal(tmp_path)
        assert all(str(process.pid) in said for process in (first, second))
        assert re.findall(r"process (\d+)", refusal(tmp_path, "2-of-2")) == [str(first.pid), str(second.pid)]
    with held_by_another(tmp_path) as whole:
        assert str(whole.pid) in refusal(tmp_path, "1-of-2")
    assert not list(tmp_path.iterdir())


def test_a_run_on_another_host(tmp_path: Path) -> None:
    """The kernel says that it is locked, the file says by whom: this host's processes have no part in it."""
    note = {"process": 1, "host": "node7", "since": "2026-11-23 04:50:00+00:00", "command": "prompt -o D"}
    with (tmp_path / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("not yet written")
        file.flush()
        assert "it has not said which" in refusal(tmp_path)
        file.seek(0)
        file.write(json.dumps(note))
        file.flush()
        assert "process 1 on node7 since 2026-11-23 04:50:00+00:00: prompt -o D" in refusal(tmp_path)
