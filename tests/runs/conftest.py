"""Runs whose jobs only write text files; workers import this module by its name."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.runs.cases import Case, Group, Report
from synthtumour.runs.journal import Journal
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


SCRIPT = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.runs.conftest import groups_in, run

    if __name__ == "__main__":
        folder = Path({folder!r})
        sys.exit(run(folder, groups_in(folder, 24, sleep={sleep}), workers=2).exit_code)
"""


def start(folder: Path, script: Path, sleep: float = 0.3, enough: int = 4) -> subprocess.Popen[bytes]:
    """A run of 24 cases in a process of its own, once `enough` of them are made."""
    text = SCRIPT.format(root=str(Path(__file__).resolve().parents[2]), folder=str(folder), sleep=sleep)
    script.write_text(textwrap.dedent(text))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 600
    while len(list((folder / "made").glob("c*"))) < enough:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    return process


def journal_in(folder: Path, overwrite: bool = True) -> Journal:
    return Journal(folder, {"program": "p", "options": {}}, overwrite=overwrite)


def case_in(folder: Path) -> Case:
    return Case("a", (folder / "made" / "a.txt",), {"seed": 0})
