"""benchmarks/ablation.py with a ruler that needs no training: real datasets, a table, and what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, MakeHead

pytestmark = pytest.mark.slow

RULER = """
import argparse, json
from pathlib import Path
import numpy as np
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


def ablation(work: Path, *options: str) -> subprocess.CompletedProcess[str]:
    where = ("--ruler", "ruler.py", "--healthy", "healthy", "--tumour", "tumour", "--output", "out")
    command = [sys.executable, str(ROOT / "benchmarks/ablation.py"), *where, *options]
    return subprocess.run(command, cwd=work, capture_output=True, text=True)


def test_means_over_the_seeds(work: Path) -> None:
    options = ("--variants", "paper", "no-tumour-free", "--seeds", "1", "3", "--jobs", "2")
    done = ablation(work, *options)
    assert done.returncode == 0, done.stderr
    trainings = pd.read_csv(work / "out/trainings.csv")
    assert list(trainings["selected_ml"]) == [1, 1, 3, 3]  # neither has a tumour-free case
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    for variant in ("paper", "no-tumour-free"):
        assert rows[variant][1:7] == ["2", "0.5", "0.200", "+-", "0.141", "2.0"]
    before = {path: path.stat().st_mtime_ns for path in (work / "out").rglob("*.json")}
    (work / "ruler.py").write_text("raise SystemExit('not again')")
    again = ablation(work, *options)
    assert again.stdout.split("means")[1] == done.stdout.split("means")[1]
    assert {path: path.stat().st_mtime_ns for path in (work / "out").rglob("*.json")} == before


def test_failures_are_told_in_one_line(work: Path) -> None:
    (work / "ruler.py").write_text("raise SystemExit('no GPU')")
    failed = ablation(work, "--variants", "diverse", "--seeds", "0")
    assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1
    log = work / "out/Dataset002_diverse_800_0.log"
    assert str(log.relative_to(work)) in failed.stderr and log.read_text() == "no GPU\n"
    (work / "ruler.py").unlink()
    absent = ablation(work)
    assert absent.returncode == 2 and "ruler.py: not found" in absent.stderr
