"""benchmarks/ablation.py with a ruler that needs no training: real datasets, a table, and what fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, MakeHead

RULER = """
import argparse, json
from pathlib import Path
import SimpleITK as sitk
parser = argparse.ArgumentParser()
parser.add_argument("dataset", type=Path)
for option in ("--tumour", "--healthy", "--out"):
    parser.add_argument(option, type=Path)
for option in ("--iterations", "--seed", "--threads"):
    parser.add_argument(option, type=int)
args = parser.parse_args()
assert args.tumour.is_dir() and args.healthy.is_dir() and args.threads == 1
labels = [sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in args.dataset.glob("labelsTr/*.nii.gz")]
assert len(labels) == 12
free = sum(not label.any() for label in labels)
score = {"dice_mean": args.seed / 10, "false_positive_ml": free + args.seed}
args.out.write_text(json.dumps({"threshold": 0.5, "selected": score, "last": score}))
"""


@pytest.fixture
def work(make_head: MakeHead, tmp_path: Path) -> Path:
    for n in range(2):
        make_head(f"healthy/s{n}", seed=n, spacing=(3.0, 3.0, 3.0))
    (tmp_path / "tumour").mkdir()
    (tmp_path / "ruler.py").write_text(RULER)
    return tmp_path


def line(*options: str) -> list[str]:
    where = ("--ruler", "ruler.py", "--healthy", "healthy", "--tumour", "tumour", "--output", "out")
    return [sys.executable, str(ROOT / "benchmarks/ablation.py"), *where, *options]


def ablation(work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line(*options), cwd=work, capture_output=True, text=True)


def results(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (work / "out").glob("*.json")}


@pytest.mark.slow
def test_means_over_the_seeds(work: Path) -> None:
    options = ("--variants", "paper", "diverse", "no-tumour-free", "--seeds", "1", "3", "--jobs", "2")
    done = ablation(work, *options)
    assert done.returncode == 0, done.stderr
    trainings = pd.read_csv(work / "out/trainings.csv")
    free = dict(zip(trainings["variant"], trainings["selected_ml"] - trainings["seed"], strict=True))
    assert free["paper"] == free["no-tumour-free"] == 0 < free["diverse"]
    for name, number, preset in (("paper", 1, "paper"), ("diverse", 2, "diverse")):
        about = json.loads((work / f"out/Dataset{number:03d}_{name}/run.json").read_text())
        assert about["preset"]["name"] == preset
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    for variant, extra in free.items():
        assert rows[variant][1:7] == ["2", "0.5", "0.200", "+-", "0.141", f"{2 + extra:.1f}"]
    before = results(work)
    (work / "ruler.py").write_text("raise SystemExit('not again')")
    again = ablation(work, *options)
    assert again.stdout.split("means")[1] == done.stdout.split("means")[1]
    assert results(work) == before and len(before) == 6
    (work / "tumour").rename(work / "others")
    other = ablation(work, *options, "--tumour", "others")
    assert other.returncode == 2 and "is of another ruler or other scans" in other.stderr


@pytest.mark.slow
def test_failures_are_told_in_one_line(work: Path) -> None:
    (work / "ruler.py").write_text("raise SystemExit('no GPU')")
    failed = ablation(work, "--variants", "diverse", "--seeds", "0")
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1
    log = work / "out/Dataset002_diverse_800_0.log"
    assert str(log.relative_to(work)) in failed.stderr and log.read_text() == "no GPU\n"
    assert "--jobs and --iterations" in ablation(work, "--jobs", "0").stderr
    (work / "ruler.py").unlink()
    absent = ablation(work)
    assert absent.returncode == 2 and "ruler.py: not found" in absent.stderr


@pytest.mark.slow
def test_a_stopped_run_leaves_no_training_behind(work: Path) -> None:
    (work / "ruler.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)")
    process = subprocess.Popen(line("--variants", "paper", "--jobs", "2"), cwd=work)
    logs = [work / f"out/Dataset001_paper_800_{seed}.log" for seed in (0, 1)]
    give_up = time.monotonic() + 600
    while not all(log.exists() and log.read_text().endswith("\n") for log in logs):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) == 143
    assert not any(Path(f"/proc/{log.read_text().strip()}").exists() for log in logs)
    assert not logs[0].with_name("Dataset001_paper_800_2.log").exists() and results(work) == {}
