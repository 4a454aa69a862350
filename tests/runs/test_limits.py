"""Memory that a job may use is its cgroup's, not the machine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthtumour.brain import hdbet
from synthtumour.runs.limits import usable_memory
from synthtumour.runs.run import Working

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
JOB = 1 << 28  # bytes; less than any machine has


@pytest.mark.parametrize(
    "membership, limits, expected",
    [
        ("0::/slurm/job_1/step_0\n", {"slurm/job_1/memory.max": f"{JOB}\n"}, JOB),
        ("0::/slurm/job_1\n", {"slurm/job_1/memory.max": "max\n", "slurm/memory.high": f"{JOB}"}, JOB),
        ("0::/not/here\n", {"memory.max": f"{JOB}\n"}, JOB),  # in a container
        (
            "4:cpu,cpuacct:/a\n3:memory:/slurm/job_1\n0::/b\n",
            {
                "memory/slurm/job_1/memory.limit_in_bytes": f"{JOB}\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu,cpuacct/a/memory.limit_in_bytes": "1\n",
            },
            JOB,
        ),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_memory_of_cgroups(tmp_path: Path, membership: str, limits: dict[str, str], expected: int) -> None:
    (tmp_path / "cgroup").write_text(membership)
    for name, limit in limits.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(limit)
    assert usable_memory(tmp_path / "cgroup", tmp_path / "fs") == expected
    assert usable_memory(tmp_path / "none", tmp_path / "fs") == MACHINE


def test_brain_masks_are_made_by_as_many_as_the_job_s_memory_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen cores and 16 GB, on whatever machine: four of 4 GB."""
    asked: list[int] = []
    monkeypatch.setattr(hdbet, "usable_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(hdbet, "_made_with", lambda: "test")
    monkeypatch.setattr(hdbet, "run", lambda *args, **_: asked.append(args[4].at_once()))
    hdbet.make_masks({"a": tmp_path / "a.nii.gz"}, tmp_path / "masks", Working(16))
    assert asked == [4]
