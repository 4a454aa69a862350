"""A Dask cluster that is there already, in place of the pool of processes: the executor of a run.

Nothing is started or shut down here. The scheduler, which unpickles the tasks that it passes on, and the
workers have to have this very code and the same packages, and the workers to see the same files under the
same names: all of that is asked of each of them before anything is made. Needs the packages of
requirements-dask.txt, so only `--dask` imports this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import distributed
from threadpoolctl import threadpool_limits

from synthtumour.errors import InputError
from synthtumour.files.staging import STAGING
from synthtumour.text import counted

# What bytes, or the talk between the machines, depend on; Python itself by its first two numbers.
_PACKAGES = ("numpy", "scipy", "SimpleITK", "distributed")
_ANSWER_S = 20.0  # a scheduler or worker that says nothing for so long is taken for dead
_NO_WORKER_S = 60.0  # a cluster is without workers for a moment while they are started anew
_REFRESH_S = 2.0
_SAME = "install the same there (docs/clusters.md)"


@contextlib.contextmanager
def cluster_at(address: str, reads: Iterable[Path], writes: Iterable[Path]) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`: it and all its workers can do what is asked of them.

    The workers have to see the files `reads`, and files made in the folders `writes`, there yet or not.
    Raises InputError: no scheduler, no worker, other code or packages there, files not seen.
    """
    _quiet()
    # The process of a client that was given another sort of address does not come to its end.
    if not re.fullmatch(r"((tcp|tls|ucx|ws|wss)://)?[^/\s]+:\d+/?", address):
        raise InputError(f"--dask {address!r}: not the address of a scheduler, as in tcp://HOST:8786")
    try:
        client = distributed.Client(address, timeout=_ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"--dask {address}: no Dask scheduler answers there ({_first_line(error)}); give the address "
            "that 'dask scheduler' prints, tcp://HOST:8786"
        ) from error
    try:
        cluster = Cluster(client, address)
        _check(cluster, reads, writes)
        yield cluster
    finally:
        with contextlib.suppress(Exception):  # a scheduler that is gone needs no good-bye
            client.close(timeout=5)


class Cluster(Executor):
    """Hands work to the client's executor: one case at a time in each worker process, one thread a case."""

    def __init__(self, client: distributed.Client, address: str) -> None:
        self.client, self.address = client, address
        self._executor = client.get_executor(pure=False)  # else a case made again would be an old result
        self._run, self._here = uuid.uuid4().hex, _setup()
        self._count, self._counted, self._seen = 0, -_REFRESH_S, time.monotonic()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._require_scheduler()
        return self._executor.submit(_on_worker, self._run, self._here, function, *args, **kwargs)

    def workers(self) -> int:
        """Worker processes there are now, at least 1; InputError when there have been none for a minute."""
        if time.monotonic() - self._counted > _REFRESH_S and self.client.status == "running":
            self._count = len(self.addresses())
            self._counted = time.monotonic()
            if self._count:
                self._seen = self._counted
        if time.monotonic() - self._seen > _NO_WORKER_S:
            raise InputError(
                f"--dask {self.address}: has had no worker for {_NO_WORKER_S:.0f} s; start some (dask worker "
                f"{self.address}), and the same command carries on"
            )
        return max(self._count, 1)

    def stop(self) -> None:
        """End this run's tasks on the workers: those in hand after their case, the others before it."""
        with contextlib.suppress(Exception):  # whatever is wrong there, the run here ends all the same
            self.ask_all(_end, self._run, timeout_s=5)

    def ask_all(
        self, function: Callable[..., Any], /, *args: object, timeout_s: float = _ANSWER_S
    ) -> dict[str, Any]:
        """What `function` returns or raises on each worker, by its address: `client.run`, with a timeout."""
        with _as_tried():
            run = self.client._run
            return self.client.sync(run, function, *args, on_error="return", callback_timeout=timeout_s)

    def ask_scheduler(self, function: Callable[..., Any], /, *args: object) -> Any:
        """What `function` returns or raises on the scheduler, as `ask_all` has it."""
        with _as_tried():
            run = self.client._run_on_scheduler
        try:
            return self.client.sync(run, function, *args, callback_timeout=_ANSWER_S)
        except (OSError, distributed.TimeoutError) as error:
            raise self._lost() from error
        except Exception as error:
            return error

    def addresses(self) -> dict[str, int]:
        """Threads of every worker, by its address."""
        self._require_scheduler()
        try:
            with _as_tried():
                return dict(self.client.sync(self.client.scheduler.ncores, callback_timeout=_ANSWER_S))
        except (OSError, distributed.TimeoutError) as error:
            raise self._lost() from error

    def _require_scheduler(self) -> None:
        if self.client.status not in ("running", "connecting"):
            raise self._lost()

    def _lost(self) -> InputError:
        return InputError(
            f"--dask {self.address}: the scheduler is gone or does not answer; what was made is kept, and "
            "the same command carries on"
        )


def _check(cluster: Cluster, reads: Iterable[Path], writes: Iterable[Path]) -> None:
    """Raise InputError unless there are workers, and the scheduler and each of them can take part."""
    address = cluster.address
    if problem := _problem(cluster.ask_scheduler(_look_round, []), cluster._here):
        raise InputError(f"--dask {address}: the scheduler there {problem}")
    threads = cluster.addresses()
    if not threads:
        raise InputError(f"--dask {address}: has no worker; start some: dask worker {address} --nthreads 1")
    with contextlib.ExitStack() as stack:
        paths = [str(path.resolve()) for path in reads]
        paths += [str(stack.enter_context(_mark(folder.resolve()))) for folder in writes]
        try:
            answers = cluster.ask_all(_look_round, paths)
        except (OSError, distributed.TimeoutError) as error:
            raise InputError(
                f"--dask {address}: a worker does not answer ({_first_line(error)}); start the workers again"
            ) from error
    problems = {name: _problem(answer, cluster._here) for name, answer in sorted(answers.items())}
    wrong = {name: problem for name, problem in problems.items() if problem}
    if wrong:
        name, problem = next(iter(wrong.items()))
        raise InputError(
            f"--dask {address}: cannot take part: {len(wrong)} of {counted(len(answers), 'worker')}: "
            f"{name} {problem}"
        )
    if idle := sum(threads.values()) - len(threads):
        warnings.warn(
            f"--dask {address}: a worker process makes one case at a time, so of its "
            f"{sum(threads.values())} threads {idle} would be idle; start the workers with --nthreads 1",
            stacklevel=2,
        )


def _problem(answer: Any, here: Mapping[str, str]) -> str | None:
    if isinstance(answer, BaseException):
        if missing := re.search(
            r"No (?:module named|package metadata was found for) '?([\w.-]+)", str(answer)
        ):
            return (
                f"does not find {missing[1]}; install it there, or start it with PYTHONPATH at the toolkit's "
                "folder (docs/clusters.md)"
            )
        return f"cannot be asked ({_first_line(answer)}); {_SAME}"
    setup, unseen = answer
    if difference := _difference(setup, here):
        return difference
    if unseen:
        return f"does not see {unseen[0]}; workers need the same files under the same names as this machine"
    return None


def _difference(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    differing = [f"{name} {there[name]}, here {here[name]}" for name in here if there[name] != here[name]]
    return f"has {'; '.join(differing)}; {_SAME}" if differing else None


@contextlib.contextmanager
def _as_tried() -> Iterator[None]:
    """Around calls that distributed does not promise to keep; InputError where they are others."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        raise InputError(
            f"--dask: distributed {metadata.version('distributed')} is not one of those that were tried, and "
            f"differs ({_first_line(error)}); pip install -r requirements-dask.txt"
        ) from error


@contextlib.contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A new empty file in `folder`, or in its nearest parent that is there; removed again."""
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    mark = place / f"{STAGING}{uuid.uuid4().hex}"
    try:
        mark.touch(exist_ok=False)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _quiet() -> None:
    """Only what is said here shall reach the user: one line, not a reconnecting client's log."""
    for name in ("distributed", "distributed.client", "distributed.comm", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


_one_at_a_time = threading.Lock()  # warnings, stderr and the number of threads are the whole process's
_ended: set[str] = set()


@lru_cache(maxsize=1)
def _setup() -> dict[str, str]:
    """Versions of all that the bytes follow from; of this package, a hash of its sources."""
    import synthtumour

    code = hashlib.sha256()
    package = Path(synthtumour.__file__).parent
    for source in sorted(package.rglob("*.py")):
        code.update(source.relative_to(package).as_posix().encode() + source.read_bytes())
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {
        "python": "{}.{}".format(*sys.version_info),
        **versions,
        "synthtumour": f"{synthtumour.__version__} with sources {code.hexdigest()[:8]}",
    }


def _look_round(paths: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The versions here, and which of `paths` are not seen."""
    return _setup(), [path for path in paths if not Path(path).exists()]


def _on_worker(run: str, here: Mapping[str, str], function: Callable[..., Any], /, *args: Any) -> Any:
    """`function(*args, stopped)`, alone in this process, if this is a worker like those that were asked."""
    if difference := _difference(_setup(), here):  # it has joined since
        raise InputError(f"{distributed.get_worker().address}: {difference}")
    with _one_at_a_time, threadpool_limits(1):
        return function(*args, lambda: run in _ended or not _is_wanted())


def _is_wanted() -> bool:
    """Whether the task in hand still has a client that waits for it: one that was killed does not."""
    worker = distributed.get_worker()
    try:
        task = worker.state.tasks.get(worker.get_current_task())
        return task is not None and task.state == "executing"
    except AttributeError:  # another distributed than those that were tried: it ends a case later
        return True


def _end(run: str) -> None:
    _ended.add(run)
