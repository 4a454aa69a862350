#!/usr/bin/env python3
"""Whether a case stays as cheap among 5 000, made from tiny scans in one run of prompt_multi_tumor.py.

The run: memory and CPU time of the process that hands the cases out (the parent), sampled as cases are made;
the wall-clock time of listing the input, of all cases, and of the same command again, which finds them made.
The projection: 100 000 scans on 1 000 cores, from those figures and from what a real 1 mm scan costs,
measured here as speed.py does. Scans are simulated heads of 24^3 voxels in a temporary folder, each for one
case. Needs Linux (/proc).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from speed import ONE_THREAD, ROOT, TRAINING, in_own_process, resampled

SIDE, SPACING_MM = 24, 6.0
SCANS, CORES, CORES_A_SHARD = 100_000, 1_000, 16
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LISTING = (
    "import sys, time; from pathlib import Path; from synthtumour.dataset.subjects import find_scans; "
    "begin = time.perf_counter(); find_scans(Path(sys.argv[1])); print(time.perf_counter() - begin)"
)


@dataclass(frozen=True)
class Sample:
    """The parent when `made` cases were there, `seconds` after its start."""

    made: int
    seconds: float
    cpu_s: float
    memory_mb: float


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="synthtumour-") as name:
        folder = Path(name)
        make_scans(folder / "input", args.cases)
        listing = [sys.executable, "-c", LISTING, str(folder / "input")]
        listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
        print(f"{args.cases} scans of {SIDE}^3 voxels, listed in {float(listed.stdout):.2f} s")

        dataset = folder / "Dataset001_Scale"
        command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "--input", str(folder / "input")]
        command += ["--output", str(dataset), "--workers", str(args.workers)]
        command += ["--preset", "paper", "--min-volume", "20000", "--max-volume", "40000"]
        samples, seconds, peak_mb = watched(command, dataset, args.cases)
        made, at, cpu, memory = (np.array([getattr(s, f) for s in samples]) for f in Sample.__annotations__)
        slope, start = np.polyfit(made, at, 1)
        off = float(np.abs((start + slope * made) / at - 1).max())
        parent_s, case_kb = np.polyfit(made, cpu, 1)[0], 1024 * np.polyfit(made, memory, 1)[0]
        print(f"  straight line: {start:.1f} s + {1000 * slope:.1f} ms a case; furthest point {off:.1%} off")
        print(f"  parent: {1000 * parent_s:.2f} ms of CPU time and {case_kb:.1f} KB a case")
        print(f"  whole run with manifest and report: {seconds:.1f} s, peak of the parent {peak_mb:.0f} MB")

        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        again = time.perf_counter() - begin
        print(f"the same command again, all cases there: {again:.1f} s")
        sizes = {f: (dataset / f).stat().st_size / args.cases for f in ("journal.jsonl", "manifest.csv")}
        print("bytes a case: " + ", ".join(f"{size:.0f} in {file}" for file, size in sizes.items()))

        scan = resampled(ROOT / "DemoData/sim-01/flair.nii.gz", folder / "scan", 1.0)
        case_s = in_own_process("scan", TRAINING, scan, 5)["cpu_s"]
        read_mb, written_mb = (
            sum((scan / file).stat().st_size for file in files) / 1e6
            for files in (("flair.nii.gz", "flair_brainmask.nii.gz"), ("i.nii.gz", "l.nii.gz"))
        )
        end_kb = 1024 * (peak_mb - memory[-1]) / args.cases
        finish_s = (again + seconds - at[-1]) / args.cases  # finds a case made, and writes table and report
        project(case_s, parent_s, finish_s, case_kb, end_kb, read_mb, written_mb)
    return 0


def make_scans(folder: Path, count: int) -> None:
    axes = [(np.arange(SIDE) + 0.5) / SIDE * 2 - 1] * 3
    brain = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))) < 0.8
    rng = np.random.default_rng(0)
    for number in range(count):
        subject = folder / f"sim-{number:06d}"
        subject.mkdir(parents=True)
        head = np.where(brain, 100 + 10 * rng.normal(size=brain.shape), 0).astype(np.int16)
        for name, array in (("flair", head), ("flair_brainmask", brain.astype(np.uint8))):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing([SPACING_MM] * 3)
            sitk.WriteImage(image, str(subject / f"{name}.nii.gz"), useCompression=True)


def watched(command: list[str], dataset: Path, cases: int) -> tuple[list[Sample], float, float]:
    """The run's samples, its seconds and its peak memory in MB. Prints a sample at every 1 000 cases."""
    begin = time.perf_counter()
    samples: list[Sample] = []
    peak_mb = 0.0
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **ONE_THREAD}
    )
    step = min(1000, max(1, cases // 5))
    while process.poll() is None:
        time.sleep(0.2)
        try:
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            )
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            memory_mb, peak_mb = (int(status[field].split()[0]) / 1024 for field in ("VmRSS", "VmHWM"))
        except (OSError, KeyError):
            continue  # it has just ended
        labels = dataset / "labelsTr"
        made = sum(entry.name.endswith(".nii.gz") for entry in os.scandir(labels)) if labels.is_dir() else 0
        if made >= step * (len(samples) + 1):
            samples.append(
                Sample(made, time.perf_counter() - begin, sum(map(int, ticks)) / TICKS_PER_S, memory_mb)
            )
            print(
                f"  {made:6d} cases {samples[-1].seconds:8.1f} s   parent {memory_mb:6.1f} MB, "
                f"{samples[-1].cpu_s:6.2f} s of CPU time",
                flush=True,
            )
    if process.returncode:
        sys.exit(process.stderr.read().decode() if process.stderr else "")
    return samples, time.perf_counter() - begin, peak_mb


def project(
    case_s: float,
    parent_s: float,
    finish_s: float,
    case_kb: float,
    end_kb: float,
    read_mb: float,
    written_mb: float,
) -> None:
    shards = -(-CORES // CORES_A_SHARD)
    busy = CORES_A_SHARD * parent_s / case_s
    lines = (
        f"projection: {SCANS} scans of 1 mm, one case each, on {CORES} cores",
        f"  work      {SCANS} x {case_s:.3f} s / {CORES} = {SCANS * case_s / CORES:.0f} s, "
        f"{SCANS * case_s / 3600:.1f} core hours",
        f"  one run   a parent keeps {case_s:.3f} s / {parent_s:.5f} s = {case_s / parent_s:.0f} cores busy "
        "(--dask)",
        f"  shards    {shards} of {CORES_A_SHARD} cores: a parent is busy {CORES_A_SHARD} x {parent_s:.5f} s "
        f"/ {case_s:.3f} s = {busy:.0%} of the time",
        f"  finalise  {SCANS} x {1000 * finish_s:.2f} ms = {SCANS * finish_s / 60:.1f} min",
        f"  memory    {SCANS} x {case_kb:.1f} KB = {SCANS * case_kb / 1e6:.2f} GB in one parent, "
        f"{SCANS * case_kb / 1e3 / shards:.0f} MB in a shard's, beside the first 130 MB",
        f"            at the end of it all, table and report: {SCANS} x {end_kb:.0f} KB = "
        f"{SCANS * end_kb / 1e6:.1f} GB",
        f"  files     {SCANS} x {written_mb:.1f} MB = {SCANS * written_mb / 1e6:.2f} TB in {2 * SCANS} files",
        f"  traffic   reads {CORES} x {read_mb:.1f} MB / {case_s:.3f} s = "
        f"{CORES * read_mb / case_s / 1000:.1f} GB/s, writes {CORES * written_mb / case_s / 1000:.1f} GB/s",
    )
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
