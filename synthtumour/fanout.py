"""Runs a function over cases on an Executor: progress, resume, failures, interruption.

Cases that need the same source (a scan) form a `Group`: the source is loaded once and every case is made from
it. Workers write the images and return a small entry a case; only the parent writes in the run's folder
(`journal`).
"""

from __future__ import annotations

import contextlib
import errno
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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour.arguments import printable
from synthtumour.journal import CARRY_ON, MANIFEST_FILE, Journal, file_state, is_same, write_manifest
from synthtumour.shards import shard_of_each
from synthtumour.volume import InputError, check_file, sync

if TYPE_CHECKING:
    from synthtumour.progress import Progress

# Started anew, a worker costs 0.3 s of imports; the fork server pays it once for all of them and, unlike a
# plain fork, is safe beside the threads of ITK and of the executor.
_PRELOAD = ("numpy", "SimpleITK", "synthtumour.volume")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ONE_ITK_THREAD = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
_LONGEST_REASON = 1000
_LONGEST_TASK = 16  # cases; loading their scan again for the next ones is a small part of the work
_POLL_S = 0.2
_Entries = list[dict[str, Any]]  # one a case of a task
_TRIES = 2  # of a case alone, after a worker that had it has died
_GRACE_S = 5.0  # an interrupted run waits this long for the cases in hand, then ends the workers


@dataclass(frozen=True)
class Case:
    """One unit of work: its unique `name`, the files it makes, and all that their bytes follow from.

    A case that was made with other `parameters`, or from other bytes in `inputs`, is made again.
    """

    name: str
    outputs: tuple[Path, ...]
    parameters: Mapping[str, object]  # JSON-able
    inputs: tuple[Path, ...] = ()
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
    missing: int = 0  # neither made nor failed
    interrupted: int = 0  # the signal that stopped the run
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when every case is there, 1 when any is not, as a shell has it when the run was interrupted."""
        return 128 + self.interrupted if self.interrupted else int(bool(self.failed or self.missing))


def run(
    groups: Sequence[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    *,
    workers: int | Callable[[], int] | None = None,
    executor: Executor | None = None,
    stop: Callable[[], None] | None = None,
    preload: Sequence[str] = (),
    whose: Mapping[str, int] | None = None,
    debug: bool = False,
    tell: str = "usual",
    unit: str = "cases",
) -> Report:
    """Make every case that is not done: `make(load(group.source), case)` on a pool of processes.

    `make` writes the outputs of the case it is given, which lie in a folder for unfinished work, and returns
    what the manifest shall say of it, JSON-able; when all is there, the files are moved to where they belong.
    `load` and `make` are module-level functions, `preload` names their modules.
    An `executor` of one's own (a Dask client's, say) takes the place of the pool; `workers` is then the
    number of tasks it can run at once, a function if that changes, and `stop` asks those in hand to return.
    `whose` says which shard makes which case where that follows from another run (`shard_of_each`).
    `debug` prints the traceback of every failed case on stderr.
    `tell` and `unit` are those of `progress.Progress`.

    Raises InputError, before anything is made, for a folder that holds something else, or another run's
    cases unless the journal's `overwrite`, which makes all cases again and removes those no longer asked for;
    and when the disk is full or `executor` is lost, with all that was finished kept.
    """
    fixed = usable_cores() if workers is None or callable(workers) else workers
    at_once = workers if callable(workers) else lambda: fixed
    plan = {case.name: case for group in groups for case in group.cases}
    if len(plan) != sum(len(group.cases) for group in groups):
        raise ValueError("two cases have the same name")
    whose = whose or shard_of_each(groups, journal.part_count)
    mine = {n: c for n, c in plan.items() if journal.shard is None or whose[n] == journal.shard.number}
    notes = journal.admit(plan, mine)
    kept = set() if journal.overwrite else {name for name, case in mine.items() if journal.is_done(case)}
    journal.doubt(name for name in mine if name not in kept)
    todo = [
        Group(g.source, tuple(c for c in g.cases if c.name in mine and c.name not in kept))
        for g in groups
        if not journal.finalise
    ]
    tasks = _tasks([group for group in todo if group.cases], at_once())
    interrupted, anything_new, manifest = 0, bool(tasks), journal.folder / MANIFEST_FILE
    if anything_new:
        from synthtumour.progress import Progress

        try:
            with journal.work([case for task in tasks for case in task.cases]):
                progress = partial(Progress, len(plan), len(kept), tell, unit)
                start = partial(_Workers, min(at_once(), len(tasks)), executor, stop, preload)
                interrupted = _work_through(tasks, load, make, journal, at_once, start, progress, debug)
        except InputError:  # what is there is there, and the manifest shall say so if the disk is not full
            with contextlib.suppress(InputError):
                journal.fail_vanished(mine.values())
                if journal.shard is None:
                    write_manifest([journal.row(case) for case in plan.values()], manifest)
            raise
        kept -= journal.fail_vanished(mine.values())
    rows = [journal.row(case) for case in mine.values()]
    if journal.shard is None and (anything_new or journal.finalise or not manifest.exists()):
        write_manifest(rows, manifest)
    if journal.finalise:
        notes += _missing(rows, whose, journal.shards)
    failed = [(str(row["case"]), str(row["reason"])) for row in rows if row["status"] == "failed"]
    missing = sum(row["status"] == "not made" for row in rows)
    made = len(rows) - len(failed) - missing - len(kept)
    return Report(rows, made, len(kept), failed, missing, interrupted, tuple(notes))


def _missing(rows: Sequence[Mapping[str, object]], whose: Mapping[str, int], shards: int) -> list[str]:
    """What to do about the cases that are not there, a note for each shard that has some of them."""
    notes = []
    lacking = [str(row["case"]) for row in rows if row["status"] != "made"]
    for number in sorted({whose[name] for name in lacking}):
        names = [name for name in lacking if whose[name] == number]
        remedy = f"run --shard {number}/{shards} again" if shards else "run the command without --finalise"
        more = ", ..." if names[3:] else ""
        notes.append(f"{len(names)} case(s) missing ({', '.join(names[:3])}{more}): {remedy}")
    return notes


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


def _work_through(
    tasks: deque[Group],
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    journal: Journal,
    at_once: Callable[[], int],
    start: Callable[[], _Workers],
    show: Callable[[], Progress],
    debug: bool,
) -> int:
    """Make the cases of `tasks`, two a worker handed out at a time; the signal that interrupted it or 0."""
    running: dict[Future[_Entries], _Task] = {}
    suspects: deque[Group] = deque()
    trouble: InputError | None = None
    with (
        _Interruption() as interruption,
        contextlib.closing(start()) as pool,
        show() as progress,
    ):

        def note(task: _Task, entries: list[dict[str, Any]]) -> None:
            # There are fewer entries than cases if the worker was told to stop.
            for case, staged, entry in zip(task.cases, task.staged, entries, strict=False):
                where = entry.pop("traceback", "")
                for line in [f"{case.name}:", *where.splitlines()] if debug and where else ():
                    progress.write(printable(line))
                if full := entry.get("disk_full"):
                    journal.end_task(task.staged)  # room to note what else is finished
                    raise InputError(f"{full}; free some space, and {CARRY_ON}")
                progress.count(case.name, journal.finish(case, staged, entry))
            journal.end_task(task.staged)

        def hand_out(group: Group) -> Future[_Entries]:
            task = _Task(group.source, group.cases, tuple(journal.start(group.cases)))
            future = pool.submit(load, make, task)
            running[future] = task
            return future

        # When a worker dies (out of memory, a crash in a library) the pool breaks and takes down all that is
        # running. Each of those cases is tried again, alone, so that only the guilty one fails; and more than
        # once, because a machine that is short of memory may end any process.
        alone: Future[_Entries] | None = None
        tried: Counter[str] = Counter()
        broken = False
        try:
            while (tasks or suspects or running) and not interruption.asked:
                if broken and not running:
                    pool.restart()
                    broken = False
                if suspects and not running:
                    alone = hand_out(suspects.popleft())
                while tasks and not (suspects or alone or broken) and len(running) < 2 * at_once():
                    hand_out(tasks.popleft())
                finished, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in finished:
                    task = running.pop(future)
                    try:
                        entries = future.result()
                    except CancelledError:  # an executor elsewhere has lost it, which no case is to blame for
                        tasks.append(Group(task.source, task.cases))
                    except Exception as error:  # of the worker: what is wrong with a case is in its entry
                        broken = broken or (isinstance(error, BrokenExecutor) and not pool.is_elsewhere)
                        tried.update(case.name for case in task.cases if future is alone)
                        guilty = tried[task.cases[0].name] == _TRIES
                        if pool.is_elsewhere:  # which has tried it more than once
                            guilty = len(task.cases) == 1
                        if guilty:
                            note(task, [{"status": "failed", "reason": _executor_failure(error)}])
                        else:
                            singly = [Group(task.source, (case,)) for case in task.cases]
                            (tasks if pool.is_elsewhere else suspects).extend(singly)
                    else:
                        note(task, entries)
                    if future is alone:
                        alone = None
        except InputError as error:  # a full disk, or an executor that is lost
            trouble = error
        if interruption.asked or trouble:
            progress.stopping()
            for future in wait(pool.stop(running), timeout=_GRACE_S).done:
                try:
                    note(running[future], future.result())
                except InputError as error:
                    trouble = trouble or error
                except Exception:  # its worker died; it will be made when the run is carried on
                    pass
            pool.kill(running)
    if trouble:
        raise trouble
    return interruption.asked


@dataclass(frozen=True)
class _Task:
    """A group as a worker gets it: `staged` are its cases with the names that they are written under."""

    source: object
    cases: tuple[Case, ...]
    staged: tuple[Case, ...]


def _executor_failure(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    # By name, as Dask, whose word for a dead worker this is, need not be installed.
    if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":
        return f"its worker process died, out of memory perhaps ({str(error) or type(error).__name__})"
    first_line = str(error).strip().partition("\n")[0]
    return f"could not be run ({type(error).__name__}: {first_line})"


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

    def __init__(
        self,
        count: int,
        executor: Executor | None,
        stop: Callable[[], None] | None,
        preload: Sequence[str],
    ) -> None:
        self._count, self._stop_elsewhere = count, stop
        self.is_elsewhere = executor is not None
        self._environment = {name: os.environ.get(name) for name in (*_ONE_THREAD, _ONE_ITK_THREAD)}
        if executor is not None:
            self._executor = executor
            return
        os.environ.update(dict.fromkeys(self._environment, "1"))  # libraries read these when they are loaded
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload([*_PRELOAD, *preload])
        self._forks = forks
        self._retired: list[object] = []
        self._begin()

    def restart(self) -> None:
        """Begin anew with a pool that has lost a worker; its others end."""
        self._alive.close()
        # Some may be starting yet, and would complain if their locks were gone.
        self._retired += [self._executor, self._stop]
        self._begin()

    def _begin(self) -> None:
        if self._forks:
            _start_fork_server()
        self._stop = self._context.Event()
        reader, self._alive = self._context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._count, self._context, initializer=_begin_worker, initargs=(reader, self._stop)
        )

    def submit(
        self, load: Callable[..., object], make: Callable[..., Mapping[str, object]], task: _Task
    ) -> Future[_Entries]:
        try:
            return self._executor.submit(make_cases, load, make, task)
        except (BrokenExecutor, EOFError, OSError) as error:
            broken = isinstance(error, BrokenExecutor)
            if self.is_elsewhere and not broken:
                raise
            future: Future[_Entries] = Future()
            # No worker could be started: the fork server has died, which the next pool starts again.
            future.set_exception(error if broken else BrokenExecutor(f"none starts: {reason_of(error)}"))
            return future

    def stop(self, running: Iterable[Future[_Entries]]) -> list[Future[_Entries]]:
        """Ask the workers to return after the case in hand; of `running`, the tasks that will return."""
        if self._stop_elsewhere is not None:
            self._stop_elsewhere()
            return list(running)
        if not self.is_elsewhere:
            self._stop.set()
        return [future for future in running if not future.cancel()]

    def kill(self, running: Iterable[Future[_Entries]]) -> None:
        """End the workers at once; of workers elsewhere, let go of the tasks in hand."""
        for future in running:
            future.cancel()
        if not self.is_elsewhere:
            self._alive.close()

    def close(self) -> None:
        if not self.is_elsewhere:
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


def _is_stopped() -> bool:
    return _stop is not None and _stop.is_set()


def make_cases(
    load: Callable[..., object],
    make: Callable[..., Mapping[str, object]],
    task: _Task,
    is_stopped: Callable[[], bool] = _is_stopped,
) -> _Entries:
    """One entry a case of `task`, in order; fewer when told to stop. Runs in a worker."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    entries: list[dict[str, Any]] = []
    loaded: object = None
    inputs: dict[Path, list[int] | None] = {}
    for case, staged in zip(task.cases, task.staged, strict=True):
        if is_stopped():
            break
        begin = time.perf_counter()
        entry: dict[str, Any] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if case is task.cases[0]:
                    inputs = {path: _state(path) for one in task.cases for path in one.inputs}
                    loaded = _load(load, task.source)
                if isinstance(loaded, _Failure):
                    raise loaded.error
                for folder in {output.parent for output in staged.outputs}:
                    folder.mkdir(exist_ok=True)  # not its parents: they are gone when the run is
                made = json.loads(json.dumps(make(loaded, staged)))  # here, where it can fail
                for output in staged.outputs:
                    sync(output)
                for path in case.inputs:
                    state = inputs[path]  # None where it cannot be read: then it is read anew each time
                    if state and not is_same(path, state):
                        raise InputError(f"{path}: changed while it was in use; run the same command again")
                crcs = [file_state(output)[1] for output in staged.outputs]
                states = [inputs[path] for path in case.inputs]
                entry = {"status": "made", "made": made, "inputs": states, "crcs": crcs}
            except Exception as error:  # whatever is wrong with one case, the others go on
                where = "".join(traceback.format_exception(error))
                reason = _with_final_names(reason_of(error), case, staged)
                entry = {"status": "failed", "reason": reason, "traceback": where}
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    entry["disk_full"] = reason
        said = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
        entries.append({**entry, "warnings": said, "seconds": round(time.perf_counter() - begin, 3)})
        if "disk_full" in entry:
            break
    return entries


def _state(path: Path) -> list[int] | None:
    try:
        check_file(path)  # a pipe would wait for ever
        return file_state(path)
    except (OSError, InputError):  # `load` says it better
        return None


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _load(load: Callable[..., object], source: object) -> object:
    try:
        return load(source)
    except Exception as error:  # fails every case of the group, each with this reason
        return _Failure(error)


def _with_final_names(reason: str, case: Case, staged: Case) -> str:
    """`reason` with the names that the files were to have."""
    for output, temporary in zip(case.outputs, staged.outputs, strict=True):
        reason = reason.replace(str(temporary), str(output))
    return reason


def reason_of(error: Exception) -> str:
    """One line about what went wrong and, if nobody has thought of it, where, and what to do about it."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    what = f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}{where}"
    if isinstance(error, MemoryError):
        return f"not enough memory for it; {what}"
    return f"unexpected {what}; run again with --debug for the traceback, and report it"
