"""Runs a function over cases on an Executor: progress, resume, failures, interruption.

Cases that need the same source (a scan) form a `Group`: the source is loaded once and every case is made from
it. Workers write the images and return a small entry a case; only the parent writes in the run's folder
(`journal`).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from synthtumour.errors import InputError
from synthtumour.runs.cases import Case, Group, Report, report_of
from synthtumour.runs.journal import Journal
from synthtumour.runs.limits import usable_cores
from synthtumour.runs.loop import tasks_of, work_through
from synthtumour.runs.pool import Workers
from synthtumour.runs.settings import MANIFEST_FILE
from synthtumour.runs.shards import shard_of_each
from synthtumour.runs.table import write_table
from synthtumour.text import counted

if TYPE_CHECKING:
    from synthtumour.runs.progress import Progress


@dataclass(frozen=True)
class Working:
    """How a run works: in `workers` processes here (default: the usable cores), or on an `executor`.

    With an executor of one's own (a Dask client's, say) `workers` is the number of tasks it can run at once,
    a function if that changes, and `stop` asks those in hand to return. `debug` prints the traceback of every
    failed case on stderr; `tell` is that of `progress.Progress`.
    """

    workers: int | Callable[[], int] | None = None
    executor: Executor | None = None
    stop: Callable[[], None] | None = None
    debug: bool = False
    tell: str = "usual"

    @property
    def at_once(self) -> Callable[[], int]:
        """How many tasks can run at once, now."""
        if callable(self.workers):
            return self.workers
        fixed = usable_cores() if self.workers is None else self.workers
        return lambda: fixed


def run(
    groups: Sequence[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    working: Working = Working(),
    *,
    preload: Sequence[str] = (),
    whose: Mapping[str, int] | None = None,
    unit: str = "cases",
) -> Report:
    """Make every case that is not done: `make(load(group.source), case)` on a pool of processes.

    `make` writes the outputs of the case it is given, which lie in a folder for unfinished work, and returns
    what the manifest shall say of it, JSON-able; when all is there, the files are moved to where they belong.
    `load` and `make` are module-level functions, `preload` names their modules.
    `whose` says which shard makes which case where that follows from another run (`shard_of_each`).
    `unit` is that of `progress.Progress`.

    Raises InputError, before anything is made, for a folder that holds something else, or another run's
    cases unless the journal's `overwrite`, which makes all cases again and removes those no longer asked for;
    and when the disk is full or the executor is lost, with all that was finished kept.
    """
    plan = {case.name: case for group in groups for case in group.cases}
    if len(plan) != sum(len(group.cases) for group in groups):
        raise ValueError("two cases have the same name")
    whose = whose or shard_of_each(groups, journal.part_count)
    mine = {n: c for n, c in plan.items() if journal.shard is None or whose[n] == journal.shard.number}
    notes = journal.admit(plan, mine)
    kept, bare = (set(), set()) if journal.overwrite else _there(journal, mine)
    journal.doubt(mine.keys() - kept - bare)
    asked = mine.keys() - kept if not journal.finalise else set()
    todo = [
        Group(g.source, tuple(c.only_drawn() if c.name in bare else c for c in g.cases if c.name in asked))
        for g in groups
    ]
    tasks = tasks_of([group for group in todo if group.cases], working.at_once())
    interrupted, manifest = 0, journal.folder / MANIFEST_FILE
    worked = bool(tasks)  # which the run empties
    if worked:
        show = partial(_progress, len(plan), len(kept), working.tell, unit)
        try:
            interrupted = _make(tasks, load, make, journal, working, preload, show)
        except InputError:  # what is there is there, and the manifest shall say so if the disk is not full
            with contextlib.suppress(InputError):
                journal.fail_vanished(mine.values())
                if journal.shard is None:
                    write_manifest([journal.row(case) for case in plan.values()], manifest)
            raise
        vanished = journal.fail_vanished(mine.values())
        kept, bare = kept - vanished, bare - vanished
    rows = [journal.row(case) for case in mine.values()]
    if journal.shard is None and (worked or journal.finalise or not manifest.exists()):
        write_manifest(rows, manifest)
    notes += journal.mixture
    if journal.finalise:
        notes += _missing(rows, whose, journal.shards)
    drawn = sum(journal.has_pictures(mine[name]) for name in bare)
    return report_of(rows, len(kept) + len(bare), interrupted, notes, drawn)


def _there(journal: Journal, cases: Mapping[str, Case]) -> tuple[set[str], set[str]]:
    """The cases that are there, and those that are but for their pictures, by name."""
    kept, bare = set(), set()
    for name, case in cases.items():
        if journal.is_done(case):
            kept.add(name)
        elif case.drawn and journal.lacks_pictures_only(case):
            bare.add(name)
    return kept, bare


def _make(
    tasks: deque[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    working: Working,
    preload: Sequence[str],
    show: Callable[[], Progress],
) -> int:
    at_once = working.at_once
    with journal.work([case for task in tasks for case in task.cases]):
        count = min(at_once(), len(tasks))
        start = partial(Workers, count, working.executor, working.stop, preload)
        return work_through(tasks, load, make, journal, at_once, start, show, working.debug)


def _progress(total: int, kept: int, tell: str, unit: str) -> Progress:
    from synthtumour.runs.progress import Progress

    return Progress(total, kept, tell, unit)


def _missing(rows: Sequence[Mapping[str, object]], whose: Mapping[str, int], shards: int) -> list[str]:
    """What to do about the cases that are not there, a note for each shard that has some of them."""
    notes = []
    lacking = [str(row["case"]) for row in rows if row["status"] != "made"]
    for number in sorted({whose[name] for name in lacking}):
        names = [name for name in lacking if whose[name] == number]
        remedy = f"run --shard {number}/{shards} again" if shards else "run the command without --finalise"
        more = ", ..." if names[3:] else ""
        notes.append(f"{counted(len(names), 'case')} missing ({', '.join(names[:3])}{more}): {remedy}")
    return notes


def write_manifest(rows: list[dict[str, object]], path: Path) -> None:
    """One row a case; the columns that are long, or differ from run to run, come last."""
    keys = dict.fromkeys(key for row in rows for key in row)
    last = [key for key in ("warnings", "seconds", "record") if key in keys]
    write_table(rows, {key: key for key in (*(key for key in keys if key not in last), *last)}, path)
