"""A manifest is byte for byte what pandas wrote, and takes no memory that grows with the cases."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synthtumour.runs.run import write_manifest

ODD: list[Any] = [
    0,
    -3,
    2**70,
    1.0,
    0.1,
    1e-7,
    1e16,
    1e22,
    -0.0,
    float("nan"),
    float("inf"),
    None,
    True,
    False,
]
ODD += ["", "a,b", 'say "x"', "two\nlines", "cr\rlf\r\n", "\udcff", "é", " x ", [1, 2], "\t", "#", "\\"]


@pytest.mark.parametrize("seed", range(200))
def test_the_bytes_are_those_of_pandas(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    columns = [*(f"c{n}" for n in range(rng.randint(1, 6))), "co,lumn", "seconds", "warnings", "record"]
    rows = [{c: rng.choice(ODD) for c in columns if rng.random() < 0.8} for _ in range(rng.randint(0, 6))]
    write_manifest(rows, tmp_path / "m.csv")
    keys = dict.fromkeys(key for row in rows for key in row)
    last = [key for key in ("warnings", "seconds", "record") if key in keys]
    table = pd.DataFrame(rows, columns=[*(k for k in keys if k not in last), *last], dtype=object)
    table.to_csv(tmp_path / "pandas.csv", index=False, errors="surrogateescape")
    assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()


def test_the_same_table_is_left_alone_and_a_longer_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest([{"a": 1}, {"a": 2}], path)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_manifest([{"a": 1}, {"a": 2}], path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    write_manifest([{"a": 1}], path)
    assert path.read_bytes() == b"a\n1\n"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rows = [{f"c{n}": 0.5 for n in range(50)} for _ in range(5000)]
    tracemalloc.start()
    try:
        write_manifest(rows, tmp_path / "m.csv")
        assert tracemalloc.get_traced_memory()[1] < 1e6  # pandas: 5 MB
    finally:
        tracemalloc.stop()
