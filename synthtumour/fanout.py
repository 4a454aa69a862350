"""Runs a function over cases on an Executor: progress, resume, failures, interruption.

Cases that need the same source (a scan) form a `Group`: the source is loaded once and every case is made from
it. Workers write the images and return a small entry a case; only the parent writes in the run's folder
(`journal`).
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from synthtumour.journal import MANIFEST_FILE, Journal, output_state, remove_partial, write_manifest
from synthtumour.volume import InputError

# Started anew, a worker costs 0.3 s of imports; the fork server pays it once for all of them and, unlike a
# plain fork, is safe beside the threads of ITK and of the executor.
_PRELOAD = ("numpy", "SimpleITK", "synthtumour.volume")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ONE_ITK_THREAD = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
_POLL_S = 0.2
_GRACE_S = 5.0  # an interrupted run waits this long for the cases in hand, then ends the workers


@dataclass(frozen=True)
class Case:
    """One unit of work: its unique `name`, the files it makes, and all that their bytes follow from."""

    name: str
    outputs: tuple[Path, ...]
    parameters: Mapping[str, object]  # JSON-able; a case made with others is made again
    columns: Mapping[str, object] = field(default_factory=dict)  # what the manifest says of it beforehand


@dataclass(frozen=True)
class Group:
    """Cases made from one `source`, which is loaded once for all of them."""

    source: object  # picklable and small: paths, not arrays
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Report:
    """What became of every case of a run, in the order asked for."""

    rows: list[dict[str, object]]  # one a case: name, status, reason, columns, what `make` returned, seconds
    made: int
    kept: int
    failed: list[tuple[str, str]]  # name and reason
    interrupted: int = 0  # the signal that stopped the run
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when every case is there, 1 when any failed, as a shell has it when the run was interrupted."""
        return 128 + self.interrupted if self.interrupted else int(bool(self.failed))


def run(
    groups: Sequence[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    preload: Sequence[str] = (),
) -> Report:
    """Make every case that is not done: `make(load(group.source), case)` on a pool of processes.

    `make` writes the case's outputs (whole or not at all: volume.write_volumes) and returns what the manifest
    shall say of it, JSON-able. `load` and `make` are module-level functions, `preload` names their modules.
    An `executor` of one's own (a Dask client's, say) takes the place of the pool; `workers` is then the
    number of tasks it can run at once.

    Raises InputError, before anything is made, for a folder that holds something else, or another run's
    cases unless the journal's `overwrite`, which makes all cases again and removes those no longer asked for.
    """
    workers = workers or usable_cores()
    plan = {case.name: case for group in groups for case in group.cases}
    if len(plan) != sum(len(group.cases) for group in groups):
        raise ValueError("two cases have the same name")
    notes = journal.admit(plan)
    kept = set() if journal.overwrite else {name for name, case in plan.items() if journal.is_done(case)}
    for output_folder in {output.parent for case in plan.values() for output in case.outputs}:
        output_folder.mkdir(parents=True, exist_ok=True)
    todo = [Group(g.source, tuple(c for c in g.cases if c.name not in kept)) for g in groups]
    tasks = _tasks([group for group in todo if group.cases], workers)
    interrupted, anything_new = 0, bool(tasks)
    if anything_new:
        interrupted = _work_through(tasks, load, make, journal, workers, executor, len(kept), preload)
    rows = [journal.row(case) for case in plan.values()]
    manifest = journal.folder / MANIFEST_FILE
    if anything_new or not manifest.exists():
        write_manifest(rows, manifest)
    failed = [(str(row["case"]), str(row["reason"])) for row in rows if row["status"] == "failed"]
    made = sum(row["status"] == "made" for row in rows) - len(kept)
    return Report(rows, made, len(kept), failed, interrupted, tuple(notes))


def usable_cores(membership: Path = Path("/proc/self/cgroup"), control: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may use: its CPU affinity, less where a cgroup (v1 or v2) holds it to fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = control / controllers if controllers else control
            # Inside a container the group's path may be the host's, which is not there: its parents are.
            for place in (root / group.lstrip("/"), *(root / group.lstrip("/")).parents):
                cores = min(cores, _quota(place))
                if place == root:
                    break
    return cores


def _quota(group: Path) -> int:
    """Whole cores a cgroup directory grants, at least 1; a very large number if it does not limit them."""
    with contextlib.suppress(OSError, ValueError):
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        if quota != "max" and int(quota) > 0:
            return max(1, int(quota) // int(period))
    return sys.maxsize


# --- the work ---


def _tasks(groups: list[Group], workers: int) -> deque[Group]:
    """One task a group; where there are fewer than workers, each is split so that all are busy."""
    parts = math.ceil(workers / max(len(groups), 1))
    tasks: deque[Group] = deque()
    for group in groups:
        size = math.ceil(len(group.cases) / parts)
        for first in range(0, len(group.cases), size):
            tasks.append(Group(group.source, group.cases[first : first + size]))
    return tasks


def _work_through(
    tasks: deque[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    workers: int,
    executor: Executor | None,
    kept: int,
    preload: Sequence[str],
) -> int:
    """Make the cases of `tasks`, two a worker handed out at a time; the signal that interrupted it or 0."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    total = sum(len(task.cases) for task in tasks)
    running: dict[Future[list[dict[str, Any]]], Group] = {}
    suspects: deque[Group] = deque()
    with (
        _Interruption() as interruption,
        contextlib.closing(_Workers(min(workers, len(tasks)), executor, preload)) as pool,
        tqdm(total=total + kept, initial=kept, unit="case", file=sys.stderr) as progress,
    ):

        def note(task: Group, entries: list[dict[str, Any]]) -> None:
            for case, entry in zip(task.cases, entries, strict=False):  # an interrupted task returns fewer
                journal.finish(case, entry)
                progress.update()

        def hand_out(task: Group) -> Future[list[dict[str, Any]]]:
            journal.start(task.cases)
            future = pool.submit(load, make, task)
            running[future] = task
            return future

        # When a worker dies (out of memory, a crash in a library) the pool breaks and takes down all that is
        # running. Each of those cases is tried again, alone, so that only the guilty one fails.
        alone: Future[list[dict[str, Any]]] | None = None
        broken = False
        while (tasks or suspects or running) and not interruption.asked:
            if broken and not running:
                pool.restart()
                broken = False
            if suspects and not running:
                alone = hand_out(suspects.popleft())
            while tasks and not (suspects or alone or broken) and len(running) < 2 * workers:
                hand_out(tasks.popleft())
            finished, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                try:
                    note(task, future.result())
                except BrokenExecutor as error:
                    broken = executor is None
                    if future is alone or executor is not None:
                        reason = f"its worker process died, out of memory perhaps ({error})"
                        note(task, [{"status": "failed", "reason": reason} for _ in task.cases])
                    else:
                        suspects.extend(Group(task.source, (case,)) for case in task.cases)
                if future is alone:
                    alone = None
        if interruption.asked:
            progress.set_description("stopping")
            pool.stop()
            waiting = [future for future in running if not future.cancel()]
            for future in wait(waiting, timeout=_GRACE_S).done:
                with contextlib.suppress(BrokenExecutor):
                    note(running[future], future.result())
            pool.kill()
    if interruption.asked:
        for task in running.values():
            for case in task.cases:
                for output in case.outputs:
                    remove_partial(output)
    return interruption.asked


class _Interruption:
    """While it lasts, Ctrl-C and SIGTERM set `asked` instead of tearing the run apart."""

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> _Interruption:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        self.asked = number


class _Workers:
    """A pool of processes that stops when asked and ends with its parent; or an executor of the caller's."""

    def __init__(self, count: int, executor: Executor | None, preload: Sequence[str]) -> None:
        self._count, self._given = count, executor
        self._environment = {name: os.environ.get(name) for name in (*_ONE_THREAD, _ONE_ITK_THREAD)}
        if executor is not None:
            self._executor = executor
            return
        os.environ.update(dict.fromkeys(self._environment, "1"))  # libraries read these when they are loaded
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload([*_PRELOAD, *preload])
            _start_fork_server()
        self.restart()

    def restart(self) -> None:
        self._stop = self._context.Event()
        reader, self._alive = self._context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._count, self._context, initializer=_begin_worker, initargs=(reader, self._stop)
        )

    def submit(
        self, load: Callable[..., object], make: Callable[..., Mapping[str, object]], task: Group
    ) -> Future[list[dict[str, Any]]]:
        try:
            return self._executor.submit(_make_cases, load, make, task)
        except BrokenExecutor as error:
            future: Future[list[dict[str, Any]]] = Future()
            future.set_exception(error)
            return future

    def stop(self) -> None:
        """Ask the workers to return after the case in hand."""
        if self._given is None:
            self._stop.set()

    def kill(self) -> None:
        """End the workers at once."""
        if self._given is None:
            self._alive.close()

    def close(self) -> None:
        if self._given is None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _start_fork_server() -> None:
    """Start it deaf to Ctrl-C and SIGTERM, as its workers then are from birth: the parent decides."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # or the fork server starts it, and that lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # what came meanwhile is delivered now


# --- in a worker ---

_stop: Event | None = None


def _begin_worker(alive: Connection, stop: Event) -> None:
    global _stop
    _stop = stop
    # Ctrl-C reaches the whole process group: the parent decides, so that files are left whole.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()


def _end_with_parent(alive: Connection) -> None:
    """Block until the parent closes its end of the pipe, as it also does by being killed; then end."""
    with contextlib.suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def _make_cases(
    load: Callable[..., object], make: Callable[..., Mapping[str, object]], task: Group
) -> list[dict[str, Any]]:
    """One entry a case of `task`, in order; fewer when told to stop. Runs in a worker."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    entries: list[dict[str, Any]] = []
    loaded: object = None
    for case in task.cases:
        if _stop is not None and _stop.is_set():
            break
        begin = time.perf_counter()
        entry: dict[str, Any] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if case is task.cases[0]:
                    loaded = _load(load, task.source)
                if isinstance(loaded, _Failure):
                    raise loaded.error
                made = json.loads(json.dumps(make(loaded, case)))  # here, where it can fail
                states = [output_state(output) for output in case.outputs]
                entry = {"status": "made", "made": made, "outputs": states}
            except Exception as error:  # whatever is wrong with one case, the others go on
                entry = {"status": "failed", "reason": _reason(error)}
        said = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
        entries.append({**entry, "warnings": said, "seconds": round(time.perf_counter() - begin, 3)})
    return entries


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _load(load: Callable[..., object], source: object) -> object:
    try:
        return load(source)
    except Exception as error:  # fails every case of the group, each with this reason
        return _Failure(error)


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (at {Path(where.filename).name}:{where.lineno})"
