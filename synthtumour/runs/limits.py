"""What this process may use of the machine: cgroups, as Slurm and containers set them, hold it to less."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIP, _CONTROL = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores(membership: Path = _MEMBERSHIP, control: Path = _CONTROL) -> int:
    """Cores this process may use: its CPU affinity, less where a cgroup (v1 or v2) holds it to fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *map(_quota, _groups("cpu", membership, control))])


def usable_memory(membership: Path = _MEMBERSHIP, control: Path = _CONTROL) -> int:
    """Bytes of memory this process may use: the machine's, less where a cgroup (v1 or v2) grants less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *map(_grant, _groups("memory", membership, control))])


def _groups(controller: str, membership: Path, control: Path) -> Iterator[Path]:
    """The directories of the cgroups that this process is in, and of those above, for one controller."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = control / controllers if controllers else control
        # Inside a container the group's path may be the host's, which is not there: its parents are.
        for place in (root / group.lstrip("/"), *(root / group.lstrip("/")).parents):
            yield place
            if place == root:
                break


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


def _grant(group: Path) -> int:
    """Bytes a cgroup directory grants; a very large number if it does not limit them."""
    grants = [sys.maxsize]
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            grants.append(int((group / name).read_text()))  # or 'max'
    return min(grants)
