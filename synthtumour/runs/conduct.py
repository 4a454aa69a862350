"""How a run over many cases is conducted: by whom, which part of it, and how much is said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour.errors import InputError

if TYPE_CHECKING:
    from synthtumour.runs.run import Working
    from synthtumour.runs.shards import Shard


@dataclass(frozen=True)
class Conduct:
    """What is asked of a run beside its cases; the bytes it makes hang on `seed` alone of this."""

    seed: int = 0
    workers: int | None = None  # processes here; None: the usable cores
    dask: str | None = None  # the address of a cluster's scheduler
    shard: Shard | None = None
    finalise: bool = False
    overwrite: bool = False
    preview: bool = False
    make_masks: bool = False  # by HD-BET, where there are none
    tell: str = "usual"  # or 'verbose' or 'quiet'
    debug: bool = False
    command: tuple[str, ...] = ()  # as it was typed

    @property
    def sharing(self) -> dict[str, Any]:
        """How the run's folder is shared, and what others are told of it, as `Journal` takes it."""
        return {"shard": self.shard, "finalise": self.finalise, "command": self.command}

    @contextlib.contextmanager
    def working(self, reads: Iterable[Path], writes: Iterable[Path]) -> Iterator[Working]:
        """Processes here or, with --dask, a cluster's, all of which see the folders `reads` and `writes`."""
        from synthtumour.runs.run import Working

        if self.dask is None:
            yield Working(self.workers, debug=self.debug, tell=self.tell)
            return
        try:
            from synthtumour.runs.dask import cluster_at
        except ModuleNotFoundError as error:
            raise InputError(
                f"--dask needs the package {error.name}: pip install -r requirements-dask.txt"
            ) from error
        with cluster_at(self.dask, reads, writes) as cluster:
            yield Working(cluster.workers, cluster, cluster.stop, self.debug, self.tell)
