"""What runs say while they work and when they are done: on a terminal of 80 columns, in a log, to nobody."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from synthtumour.runs import progress
from synthtumour.runs.cases import report_of
from synthtumour.runs.progress import tell_outcome
from tests.conftest import ROOT, MakeHead

COLOUR = re.compile(r"\x1b\[\d*m")


HOW = ("--variants", "2", "--workers", "1", "--min-volume", "2000", "--max-volume", "9000")


@pytest.fixture
def prompt(make_head: MakeHead, tmp_path: Path) -> list[str]:
    """A command for two subjects, one of them with a damaged scan."""
    make_head("in/good")
    damaged = make_head("in/bad\x1b[31m")
    damaged.write_bytes(damaged.read_bytes()[:3000])
    where = ["--input", "in", "--output", "out/Dataset001_X"]
    return [sys.executable, str(ROOT / "prompt_multi_tumor.py"), *where, *HOW]


def logged(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The run of `command` with its output in pipes."""
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )


def on_terminal(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """The exit code of `command` on a terminal of 80 columns, and all that it shows there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    known = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, cwd=folder, stdout=theirs, stderr=theirs, env={**known, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return process.wait(timeout=600), shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_bar_with_failures_and_colours(prompt: list[str], tmp_path: Path) -> None:
    code, shown = on_terminal(prompt, tmp_path)
    assert code == 1
    bars = [part for part in shown.split("\n\n")[0].split("\r") if part.strip()]
    assert re.search(r"4/4 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ cases/s, \x1b\[31m2 failed\x1b\[0m\]", bars[-1])
    assert all(len(COLOUR.sub("", bar).rstrip("\n")) <= 80 for bar in bars)
    assert "\x1b[32m2 made\x1b[0m, 0 kept from before, \x1b[31m2 failed\x1b[0m" in shown
    assert "\x1b[31mFAILED\x1b[0m bad" in shown and "\x1b[31m_" not in shown
    assert shown.split("\x1b[1mnext:\x1b[0m\n")[1].splitlines()[-1].strip().startswith("nnUNetv2_predict")
    code, shown = on_terminal(prompt, tmp_path, NO_COLOR="1")
    assert code == 1 and "2 failed" in shown and not COLOUR.search(shown)


def test_a_log_gets_lines_and_no_bar(prompt: list[str], tmp_path: Path) -> None:
    done = logged(prompt, tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert not re.search(r"[\r\x1b]", done.stdout)
    assert "\ncases: 2 made, 0 kept from before, 2 failed\n" in done.stdout
    again = logged([*prompt, "--verbose"], tmp_path)  # what failed is tried again
    lines = again.stderr.splitlines()
    assert len(lines) == 2 and all(re.match(r"FAILED bad\S*_v0[01](val)?: .*damaged", line) for line in lines)


def test_verbose_tells_each_case_and_quiet_what_is_wrong(prompt: list[str], tmp_path: Path) -> None:
    verbose = logged([*prompt, "-v"], tmp_path)
    made = [line for line in verbose.stderr.splitlines() if line.startswith("made ")]
    assert len(made) == 2 and len(verbose.stderr.splitlines()) == 4
    assert all(re.fullmatch(r"made good_v0[01](val)?: \d+\.\d ml, \d+\.\d\d s", line) for line in made)
    quiet = logged([*prompt, "--quiet", "--overwrite"], tmp_path)
    first, *failed = quiet.stdout.splitlines()
    assert quiet.returncode == 1 and quiet.stderr == ""
    assert first == "cases: 2 made, 0 kept from before, 2 failed"
    assert len(failed) == 1 and re.match(r"  FAILED bad\S+, bad\S+: .*damaged", failed[0])
    assert logged([*prompt, "-q", "-v"], tmp_path).returncode == 2  # not both


def test_where_all_fail_the_next_command_is_the_same(prompt: list[str], tmp_path: Path) -> None:
    done = logged([*prompt, "--subjects", "bad\x1b[31m"], tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:][0] == "next:"
    assert done.stdout.splitlines()[-1].startswith(f"  python {prompt[1]} --input in --output ")


def test_one_scan_ends_on_a_terminal_with_the_command_that_makes_it_again(
    make_head: MakeHead, tmp_path: Path
) -> None:
    scan = make_head("a head")
    command = [sys.executable, str(ROOT / "resect_multi_tumor.py"), str(scan), "i.nii.gz", "l.nii.gz"]
    _, shown = on_terminal([*command, "--max-volume", "20000"], tmp_path)
    said = shown.splitlines()
    assert len(said) == 2 and said[1].startswith("again: python ")
    made = [(tmp_path / name).read_bytes() for name in ("i.nii.gz", "l.nii.gz")]
    typed = shlex.split(said[1].removeprefix("again: python "))
    assert logged([sys.executable, *typed], tmp_path).returncode == 0
    assert [(tmp_path / name).read_bytes() for name in ("i.nii.gz", "l.nii.gz")] == made
    assert logged([*command, "--quiet"], tmp_path).stdout == ""


def test_long_runs_leave_a_line_in_the_log_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"status": "made", "made": {}, "seconds": 1.0}
    with progress.Progress(10, 4) as shown:
        shown.count("a", entry)
        monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
        shown.count("b", {"status": "failed", "reason": "none"})
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"6 of 10 cases, 1 failed, [\d.]+ cases/s", line)


def rows(count: int, reason: str, warnings: str = "") -> list[dict[str, object]]:
    return [
        {
            "case": f"c{n}",
            "status": "failed" if reason else "made",
            "source": f"s{n}/flair.nii.gz",
            "mask": "",
            "reason": reason.format(n=n, ml=n / 10),
            "warnings": warnings.format(n=n),
        }
        for n in range(count)
    ]


def test_thousands_of_failures_are_a_line_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    said = [
        *rows(5000, "/in/s{n}/flair.nii.gz: a header that says nothing"),
        *rows(2000, "its brain of {ml} ml is too small"),
        *rows(2, "the disk is gone"),
        *rows(4000, "", "s{n}/flair.nii.gz: has 3 dark slices"),
    ]
    tell_outcome(report_of(said, 0), "usual")
    _, count, *lines = capsys.readouterr().out.splitlines()
    assert count == "cases: 4000 made, 0 kept from before, 7002 failed"
    assert lines == [
        "  FAILED c0, c1, c2, ... (5000 in all): a header that says nothing",
        "  FAILED c0, c1, c2, ... (2000 in all): its brain of 0.0 ml is too small (and the like)",
        "  FAILED c0, c1: the disk is gone",
        "  warning c0, c1, c2, ... (4000 in all): has 3 dark slices",
    ]


def test_one_failure_is_told_in_full_and_odd_ones_have_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    tell_outcome(report_of(rows(1, "/in/s0/flair.nii.gz: damaged"), 0), "quiet")
    assert "  FAILED c0: /in/s0/flair.nii.gz: damaged" in capsys.readouterr().out
    letters = ["".join(chr(97 + int(d)) for d in str(n)) for n in range(500)]
    odd = [row for letter in letters for row in rows(1, f"odd in its own way, {letter}")]
    tell_outcome(report_of(odd, 0), "usual")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 20 + 1 and "480 more reasons" in lines[-1]
