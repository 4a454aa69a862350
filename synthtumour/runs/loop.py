"""Hands tasks to the workers, and takes what comes back: failures, dead workers, interruption."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from functools import partial
from typing import TYPE_CHECKING, Any

from synthtumour.errors import InputError
from synthtumour.runs.cases import Group
from synthtumour.runs.journal import Journal
from synthtumour.runs.pool import Workers
from synthtumour.runs.staging import CARRY_ON
from synthtumour.runs.worker import Entries, Task
from synthtumour.signals import interruption
from synthtumour.text import printable

if TYPE_CHECKING:
    from synthtumour.runs.progress import Progress

_LONGEST_TASK = 16  # cases; loading their scan again for the next ones is a small part of the work
_POLL_S = 0.2
_TRIES = 2  # of a case alone, after a worker that had it has died
_GRACE_S = 5.0  # an interrupted run waits this long for the cases in hand, then ends the workers


def tasks_of(groups: list[Group], workers: int) -> deque[Group]:
    """One task a group; split where there are fewer than workers, so that all are busy, and where it is long.

    A case gets its name when its task has ended: that is how much of it a kill can lose.
    """
    parts = math.ceil(workers / max(len(groups), 1))
    tasks: deque[Group] = deque()
    for group in groups:
        size = min(math.ceil(len(group.cases) / parts), _LONGEST_TASK)
        for first in range(0, len(group.cases), size):
            tasks.append(Group(group.source, group.cases[first : first + size]))
    return tasks


def work_through(
    tasks: deque[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    at_once: Callable[[], int],
    start: Callable[[], Workers],
    show: Callable[[], Progress],
    debug: bool,
) -> int:
    """Make the cases of `tasks`, two a worker handed out at a time; the signal that interrupted it or 0."""
    trouble: InputError | None = None
    with interruption() as wish, contextlib.closing(start()) as pool, show() as progress:
        loop = _Loop(tasks, partial(pool.submit, load, make), journal, pool, progress, debug)
        try:
            while loop.has_work and not wish.asked:
                loop.hand_out(at_once())
                loop.take_in()
        except InputError as error:  # a full disk, or an executor that is lost
            trouble = error
        if wish.asked or trouble:
            trouble = loop.wind_up(trouble)
    if trouble:
        raise trouble
    return wish.asked


class _Loop:
    """The tasks that wait, and those that run.

    When a worker dies (out of memory, a crash in a library) the pool breaks and takes down all that is
    running. Each of those cases is tried again, alone, so that only the guilty one fails; and more than once,
    because a machine that is short of memory may end any process.
    """

    def __init__(
        self,
        tasks: deque[Group],
        submit: Callable[[Task], Future[Entries]],
        journal: Journal,
        pool: Workers,
        progress: Progress,
        debug: bool,
    ) -> None:
        self._tasks, self._suspects = tasks, deque[Group]()
        self._submit, self._journal, self._pool = submit, journal, pool
        self._progress, self._debug = progress, debug
        self._running: dict[Future[Entries], Task] = {}
        self._alone: Future[Entries] | None = None
        self._tried: Counter[str] = Counter()
        self._broken = False

    @property
    def has_work(self) -> bool:
        return bool(self._tasks or self._suspects or self._running)

    def hand_out(self, at_once: int) -> None:
        """Give the workers what they can take, or one suspect alone."""
        if self._broken and not self._running:
            self._pool.restart()
            self._broken = False
        if self._suspects and not self._running:
            self._alone = self._start(self._suspects.popleft())
        while self._tasks and not (self._suspects or self._alone or self._broken):
            if len(self._running) >= 2 * at_once:
                break
            self._start(self._tasks.popleft())

    def _start(self, group: Group) -> Future[Entries]:
        task = Task(group.source, group.cases, tuple(self._journal.start(group.cases)))
        future = self._submit(task)
        self._running[future] = task
        return future

    def take_in(self) -> None:
        """Wait a moment for tasks to end, and note what became of them."""
        finished, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            task = self._running.pop(future)
            try:
                entries = future.result()
            except CancelledError:  # an executor elsewhere has lost it, which no case is to blame for
                self._tasks.append(Group(task.source, task.cases))
            except Exception as error:  # of the worker: what is wrong with a case is in its entry
                self._try_again(task, error, future is self._alone)
            else:
                self._note(task, entries)
            if future is self._alone:
                self._alone = None

    def _try_again(self, task: Task, error: Exception, was_alone: bool) -> None:
        elsewhere = self._pool.is_elsewhere
        self._broken = self._broken or (isinstance(error, BrokenExecutor) and not elsewhere)
        self._tried.update(case.name for case in task.cases if was_alone)
        guilty = self._tried[task.cases[0].name] == _TRIES
        if elsewhere:  # which has tried it more than once
            guilty = len(task.cases) == 1
        if guilty:
            self._note(task, [{"status": "failed", "reason": _executor_failure(error)}])
        else:
            singly = [Group(task.source, (case,)) for case in task.cases]
            (self._tasks if elsewhere else self._suspects).extend(singly)

    def _note(self, task: Task, entries: list[dict[str, Any]]) -> None:
        # There are fewer entries than cases if the worker was told to stop.
        for case, staged, entry in zip(task.cases, task.staged, entries, strict=False):
            where = entry.pop("traceback", "")
            for line in [f"{case.name}:", *where.splitlines()] if self._debug and where else ():
                self._progress.write(printable(line))
            if full := entry.get("disk_full"):
                self._journal.end_task(task.staged)  # room to note what else is finished
                raise InputError(f"{full}; free some space, and {CARRY_ON}")
            self._progress.count(case.name, self._journal.finish(case, staged, entry))
        self._journal.end_task(task.staged)

    def wind_up(self, trouble: InputError | None) -> InputError | None:
        """Give the cases in hand a moment, then end the workers; the first trouble there was."""
        self._progress.stopping()
        for future in wait(self._pool.stop(self._running), timeout=_GRACE_S).done:
            try:
                self._note(self._running[future], future.result())
            except InputError as error:
                trouble = trouble or error
            except Exception:  # its worker died; it will be made when the run is carried on
                pass
        self._pool.kill(self._running)
        return trouble


def _executor_failure(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    # By name, as Dask, whose word for a dead worker this is, need not be installed.
    if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":
        return f"its worker process died, out of memory perhaps ({str(error) or type(error).__name__})"
    first_line = str(error).strip().partition("\n")[0]
    return f"could not be run ({type(error).__name__}: {first_line})"
