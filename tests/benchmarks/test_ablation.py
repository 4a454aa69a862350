"""benchmarks/ablation.py: real trainings, a few steps long; a table; what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import ablation
from tests.conftest import ROOT, MakeHead, head_image, with_tumour, write

HEAD_MM = (96.0, 112.0, 88.0)


@pytest.fixture
def work(make_head: MakeHead, tmp_path: Path) -> Path:
    for n in range(4):
        make_head(f"healthy/h{n}", seed=10 + n, size_mm=HEAD_MM)
    for n in range(2):
        plain, brain = head_image(HEAD_MM, seed=n)
        image, truth = with_tumour(plain, (14.0, 6.0, 8.0 * n), 14.0, 2.2)
        for name, volume in {"flair": image, "flair_brainmask": brain, "whole_tumour": truth}.items():
            write(volume, tmp_path / f"tumour/p{n}/{name}.nii.gz", "LPS")
    return tmp_path


def options(work: Path) -> list[str]:
    where = ["--healthy", work / "healthy", "--tumour", work / "tumour", "--tumour-free", work / "healthy"]
    return [*map(str, where), "--output", str(work / "out")]


def test_each_variant_trains_with_its_options(work: Path) -> None:
    args = ablation.build_parser().parse_args([*options(work), "--iterations", "7"])
    for variant, preset, told in (
        ("paper", "paper", ()),
        ("diverse", "diverse", ()),
        ("mass-effect", "diverse", ("--mass-effect", "0", "8")),
    ):
        train = ablation.training_of(args, variant, 3).steps()[0].command
        assert train[train.index("--preset") + 1 :] == (preset, *told)
        assert train[train.index("--seed") + 1] == "3" and train[train.index("--iterations") + 1] == "7"


def test_table_has_the_means_and_each_seed() -> None:
    rows = [
        {"variant": name, "threshold": 0.5, "marked": mean + n / 10, "refined": 0.8, "false_ml": n}
        | {"false_ml_ungated": 4 * n}
        for n in (0, 1)
        for name, mean in (("paper", 0.6), ("diverse", 0.7))
    ]
    assert ablation.table(pd.DataFrame(rows)).splitlines()[2:] == [
        "| FLAIR threshold | 0.500 | | | |",
        "| `paper` | 0.650 (0.600, 0.700) | 0.800 (0.800, 0.800) | 0.5 (0.0, 1.0) | 2.0 (0.0, 4.0) |",
        "| `diverse` | 0.750 (0.700, 0.800) | 0.800 (0.800, 0.800) | 0.5 (0.0, 1.0) | 2.0 (0.0, 4.0) |",
    ]


def test_refusals_are_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in ((["--iterations", "0"], "--iterations 0"), (["--tumour", str(work)], "")):
        assert ablation.main([*options(work), *given]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("ablation.py: error: ") and said in line


@pytest.mark.peer
def test_networks_are_trained_and_scored_once(work: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/ablation.py"), *options(work)]
    command += ["--variants", "no-core", "--seeds", "3", "--iterations", "40"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads((work / "out/no-core-3/scores.json").read_text())
    assert list(scores) == ["threshold", "junior", "junior refined", "junior ungated"]
    ungated, gated = (sum(scores[row]["false_ml"].values()) for row in ("junior ungated", "junior"))
    assert ungated >= gated
    (row,) = pd.read_csv(work / "out/trainings.csv").to_dict("records")
    assert row["refined"] == pytest.approx(sum(scores["junior refined"]["dice"].values()) / 2)
    again = subprocess.run(command, capture_output=True, text=True)
    assert "[1/" not in again.stdout and again.stdout == done.stdout.replace(
        "".join(line for line in done.stdout.splitlines(keepends=True) if line.startswith("[")), ""
    )
