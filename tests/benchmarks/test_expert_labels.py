"""benchmarks/expert_labels.py: no scan is scored by a network that has seen it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import expert_labels
from benchmarks.steps import halves_of
from synthtumour.errors import InputError
from tests.conftest import ROOT, MakeHead, head_image, with_tumour, write

HEAD_MM = (96.0, 112.0, 88.0)


@pytest.fixture
def work(make_head: MakeHead, tmp_path: Path) -> Path:
    make_head("free/h0", seed=10, size_mm=HEAD_MM)
    for n in range(4):
        plain, brain = head_image(HEAD_MM, seed=n)
        image, truth = with_tumour(plain, (14.0, 6.0, 8.0 * (n - 2)), 14.0, 2.2)
        for name, volume in {"flair": image, "flair_brainmask": brain, "whole_tumour": truth}.items():
            write(volume, tmp_path / f"tumour/p{n}/{name}.nii.gz", "LPS")
    return tmp_path


def options(work: Path) -> list[str]:
    where = ["--tumour", work / "tumour", "--tumour-free", work / "free", "--output", work / "out"]
    return [*map(str, where)]


def test_halves_share_no_scan(work: Path) -> None:
    for _ in range(2):  # the second time they are there
        odd, even = halves_of(work / "tumour", work / "out")
        assert {path.name for path in odd.iterdir()} == {"p0", "p2"}
        assert {path.name for path in even.iterdir()} == {"p1", "p3"}
    shutil.copytree(work / "tumour/p0", work / "tumour/p00")
    with pytest.raises(InputError, match="made from other scans"):
        halves_of(work / "tumour", work / "out")
    (work / "mine").mkdir()
    (work / "mine/thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        halves_of(work / "tumour", work / "mine")


def test_scans_of_a_subject_stay_together(work: Path) -> None:
    for old, new in (
        ("p0", "002_S_0413_2006-05-02"),
        ("p1", "002_S_0413_2007-05-02"),
        ("p2", "B"),
        ("p3", "C"),
    ):
        (work / "tumour" / old).rename(work / "tumour" / new)
    shutil.copytree(work / "tumour/C", work / "tumour/D")
    odd, even = halves_of(work / "tumour", work / "out")
    assert {path.name for path in odd.iterdir()} == {"002_S_0413_2006-05-02", "002_S_0413_2007-05-02", "C"}
    assert {path.name for path in even.iterdir()} == {"B", "D"}


def test_too_few_scans_are_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert expert_labels.main([*options(work), "--tumour", str(work / "free")]) == 2
    assert "holds 1 subjects; two halves of two are the least" in capsys.readouterr().err


@pytest.mark.peer
def test_it_trains_both_ways_and_prints_a_table(work: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks/expert_labels.py"),
        *options(work),
        "--iterations",
        "60",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, threshold, marked, refined = done.stdout.splitlines()
    assert threshold.startswith("| threshold | ") and refined.startswith("| experts' labels, refined | ")
    assert float(marked.split("|")[2].split()[0]) > 0.4
    for learnt, scored in (("odd", {"p1", "p3"}), ("even", {"p0", "p2"})):
        folder = work / f"out/learnt-{learnt}"
        names = {path.name.removesuffix("_0000.nii.gz") for path in (folder / "tumour/imagesTr").iterdir()}
        taught = {path.name.removesuffix(".nii.gz") for path in (folder / "learnt/labelsTr").iterdir()}
        assert names == scored and not names & taught and len(taught) == 2
