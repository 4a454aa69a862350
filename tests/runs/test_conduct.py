"""By whom a run is conducted."""

from __future__ import annotations

import sys

import pytest

from synthtumour.errors import InputError
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.shards import Shard


def test_processes_here_are_the_rule() -> None:
    with Conduct(workers=3, tell="quiet", debug=True).working((), ()) as working:
        assert (working.workers, working.tell, working.debug) == (3, "quiet", True)
        assert working.executor is None


def test_a_part_of_a_run_and_what_others_are_told_of_it() -> None:
    usual = {"shard": None, "finalise": False, "command": ()}
    assert Conduct().sharing == usual
    part = Conduct(shard=Shard(2, 8), command=("prompt", "--shard", "2/8"))
    assert part.sharing == {**usual, "shard": Shard(2, 8), "command": ("prompt", "--shard", "2/8")}


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "synthtumour.runs.dask", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    how = Conduct(dask="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="--dask needs the package .*requirements-dask.txt"):
        with how.working((), ()):
            raise AssertionError("no cluster can have been found")
