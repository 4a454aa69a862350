"""A run that is shared out: which part of the groups is whose (`--shard 3/8`).

Whole groups, so that a scan is read once; about as many cases for each part; and the same parts wherever,
whenever and in whatever order the input is listed.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthtumour.errors import InputError

if TYPE_CHECKING:
    from synthtumour.runs.cases import Group

_JOURNAL = re.compile(r"journal\.shard-(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True)
class Shard:
    """Part `number`, from 1 on, of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def lock(self) -> str:
        return f"{self.number}-of-{self.count}"

    @property
    def journal(self) -> str:
        width = max(2, len(str(self.count)))
        return f"journal.shard-{self.number:0{width}d}-of-{self.count:0{width}d}.jsonl"


def shard_from(text: str) -> Shard:
    """`3/8` as an option has it."""
    match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else None
    if shard is None or not 1 <= shard.number <= shard.count:
        raise InputError(
            f"--shard {text}: give i/n, i from 1 to n, as in 1/8; the tasks of an array that counts from 0 "
            "take $((SLURM_ARRAY_TASK_ID + 1))/8"
        )
    return shard


def shard_of_each(groups: Sequence[Group], count: int) -> dict[str, int]:
    """The shard, 1 to `count`, of every case by its name."""
    parts = [(0, number) for number in range(1, count + 1)]  # cases so far; the least goes first
    shards = {}
    for group in sorted(groups, key=lambda group: (-len(group.cases), group.cases[0].name)):
        cases, number = parts[0]
        heapq.heapreplace(parts, (cases + len(group.cases), number))
        shards.update({case.name: number for case in group.cases})
    return shards


def shard_journals(folder: Path) -> dict[Path, Shard]:
    """The journals of shards that are in `folder`, in the order of their numbers."""
    found = {
        path: Shard(int(match[1]), int(match[2]))
        for path in folder.glob("journal.shard-*")
        if (match := _JOURNAL.fullmatch(path.name))
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].count, item[1].number)))
