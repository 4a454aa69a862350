"""However a script ends, it says one line; nobody need listen."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from synthtumour.options import program
from tests.conftest import ROOT, TINY, TINY_VOLUMES, MakeHead, one_line, resect


def test_arguments_are_repeated_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    for extra in (["a", "b", "c", "\x1b[31mred"], ["\x1b[31mred", "b.nii.gz", "c.nii.gz"]):
        with pytest.raises(SystemExit) if len(extra) == 4 else contextlib.nullcontext():
            assert resect(*extra) == 2
        err = capsys.readouterr().err
        assert "\x1b" not in err and "\\x1b[31mred" in err


def fails_oddly(args: argparse.Namespace) -> int:
    raise ZeroDivisionError("of \x1b[31m\nthings")


def no_memory(args: argparse.Namespace) -> int:
    raise MemoryError("8 EiB")


def not_permitted(args: argparse.Namespace) -> int:
    os.listdir("/proc/self/mem")
    return 0


@pytest.mark.parametrize(
    "main, code, says",
    [
        (
            fails_oddly,
            1,
            ["unexpected ZeroDivisionError: of \\x1b[31m\\nthings", "test_program.py:", "--debug"],
        ),
        (no_memory, 1, ["not enough memory", "8 EiB"]),
        (not_permitted, 2, ["/proc/self/mem: Not a directory"]),
    ],
)
def test_whatever_happens_is_one_line(
    main: Callable, code: int, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser(prog="resect_multi_tumor.py")
    program.add_program_options(parser)
    assert program.run(main, parser, []) == code
    line = one_line(capsys)
    assert all(words in line for words in says)
    assert program.run(main, parser, ["--debug"]) == code
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and f"in {main.__name__}" in err and err.endswith(line)
    assert "\x1b" not in err


def test_whoever_reads_what_is_printed_may_go(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(**TINY)
    command = [sys.executable, ROOT / "resect_multi_tumor.py", scan, "i.nii.gz", "l.nii.gz", *TINY_VOLUMES]
    running = subprocess.Popen(
        [str(word) for word in command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdout.close()  # type: ignore[union-attr]
    assert running.stderr.read() == b""  # type: ignore[union-attr]
    assert running.wait() == 141 and (tmp_path / "l.nii.gz").is_file()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_nobody_may_listen(closed: str, make_head: MakeHead, tmp_path: Path) -> None:
    command = [ROOT / "resect_multi_tumor.py", make_head(**TINY), "i.nii.gz", "l.nii.gz", *TINY_VOLUMES]
    descriptor = {"stdout": 1, "stderr": 2}[closed]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=lambda: os.close(descriptor),
    )
    assert done.returncode == 0 and done.stderr == b"" and (tmp_path / "l.nii.gz").is_file()
