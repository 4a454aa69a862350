"""Worker processes here: how many, how they start, stop, and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor

from synthtumour.errors import reason_of
from synthtumour.runs.worker import Entries, Task, begin_worker, make_cases

# Started anew, a worker costs 0.3 s of imports; the fork server pays it once for all of them and, unlike a
# plain fork, is safe beside the threads of ITK and of the executor.
_PRELOAD = ("numpy", "SimpleITK", "synthtumour.volume")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ONE_ITK_THREAD = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


class Workers:
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
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*_PRELOAD, *preload])
        self._retired: list[object] = []
        self._begin()

    def restart(self) -> None:
        """Begin anew with a pool that has lost a worker; its others end."""
        self._alive.close()
        # Some may be starting yet, and would complain if their locks were gone.
        self._retired += [self._executor, self._stop]
        self._begin()

    def _begin(self) -> None:
        _start_fork_server()
        self._stop = self._context.Event()
        reader, self._alive = self._context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._count, self._context, initializer=begin_worker, initargs=(reader, self._stop)
        )

    def submit(
        self, load: Callable[..., object], make: Callable[..., Mapping[str, object]], task: Task
    ) -> Future[Entries]:
        try:
            return self._executor.submit(make_cases, load, make, task)
        except (BrokenExecutor, EOFError, OSError) as error:
            broken = isinstance(error, BrokenExecutor)
            if self.is_elsewhere and not broken:
                raise
            future: Future[Entries] = Future()
            # No worker could be started: the fork server has died, which the next pool starts again.
            future.set_exception(error if broken else BrokenExecutor(f"none starts: {reason_of(error)}"))
            return future

    def stop(self, running: Iterable[Future[Entries]]) -> list[Future[Entries]]:
        """Ask the workers to return after the case in hand; of `running`, the tasks that will return."""
        if self._stop_elsewhere is not None:
            self._stop_elsewhere()
            return list(running)
        if not self.is_elsewhere:
            self._stop.set()
        return [future for future in running if not future.cancel()]

    def kill(self, running: Iterable[Future[Entries]]) -> None:
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
