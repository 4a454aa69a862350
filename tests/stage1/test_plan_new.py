"""Sessions of one subject stay on one side; names of cases that meet are told before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import prompt_multi_tumor
from tests.conftest import TINY, TINY_VOLUMES, MakeHead, rows_of

OASIS = ["OAS30001_MR_d0129", "OAS30001_MR_d0757", "OAS30002_MR_d0371", "OAS30003_MR_d1631"]


def prompt(folder: Path, output: Path, *options: str) -> int:
    arguments = ["--input", folder, "--output", output, "--workers", "1", *TINY_VOLUMES, *options]
    return prompt_multi_tumor.main([str(argument) for argument in arguments])


def make(make_head: MakeHead, *names: str) -> None:
    for seed, name in enumerate(names):
        make_head(f"in/{name}", seed=seed, **TINY)


def test_sessions_of_one_subject_are_on_one_side(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(make_head, *OASIS)
    output = tmp_path / "Dataset001_X"
    for seed in range(4):
        assert prompt(tmp_path / "in", output, "--seed", str(seed), "--overwrite") == 0
        said = capsys.readouterr()
        assert "input: 4 scans of 3 subjects (subject folders)" in said.out
        assert "--subject-pattern" not in said.out + said.err
        rows = {row["scan"]: row for row in rows_of(output / "manifest.csv")}
        assert [rows[name]["subject"] for name in OASIS] == ["OAS30001", "OAS30001", "OAS30002", "OAS30003"]
        assert rows[OASIS[1]]["session"] == "MR_d0757"
        assert rows[OASIS[0]]["split"] == rows[OASIS[1]]["split"]


def test_names_like_sessions_are_told_and_a_pattern_joins_them(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(make_head, "P01_1", "P01_2", "P02_1")
    assert prompt(tmp_path / "in", tmp_path / "Dataset001_X") == 0
    said = capsys.readouterr()
    for stream in (said.err, said.out):
        (line,) = [line for line in stream.splitlines() if "--subject-pattern" in line]
        assert "P01_1 and P01_2 look like sessions of one subject" in line and r"'P\d+'" in line
    assert prompt(tmp_path / "in", tmp_path / "Dataset002_X", "--subject-pattern", r"P\d+") == 0
    said = capsys.readouterr()
    assert "3 scans of 2 subjects" in said.out and "look like sessions" not in said.out + said.err
    sides = {(row["subject"], row["split"]) for row in rows_of(tmp_path / "Dataset002_X/manifest.csv")}
    assert len(sides) == 2 and {subject for subject, _ in sides} == {"P01", "P02"}
    assert prompt(tmp_path / "in", tmp_path / "Dataset003_X", "--subject-pattern", "(") == 2
    assert prompt(tmp_path / "in", tmp_path / "Dataset003_X", "--subject-pattern", "Q") == 2
    assert "does not match 'P01_1'" in capsys.readouterr().err


def test_a_run_of_the_version_before_is_carried_on(make_head: MakeHead, tmp_path: Path) -> None:
    make(make_head, "a", "b")
    output = tmp_path / "Dataset001_X"
    assert prompt(tmp_path / "in", output) == 0
    about = json.loads((output / "run.json").read_text())
    assert about["options"].pop("subject-pattern", "gone") is None
    (output / "run.json").write_text(json.dumps(about))
    assert prompt(tmp_path / "in", output) == 0
    assert prompt(tmp_path / "in", output, "--subject-pattern", ".") == 2


def test_subjects_are_chosen_by_subject_or_scan(make_head: MakeHead, tmp_path: Path) -> None:
    make(make_head, *OASIS)
    for number, (chosen, made) in enumerate(
        [(["OAS30001"], OASIS[:2]), ([OASIS[1], "OAS30003"], [OASIS[1], OASIS[3]])]
    ):
        output = tmp_path / f"Dataset00{number}_X"
        assert prompt(tmp_path / "in", output, "--subjects", *chosen) == 0
        assert [row["scan"] for row in rows_of(output / "manifest.csv")] == made
    assert prompt(tmp_path / "in", tmp_path / "Dataset009_X", "--subjects", "OAS30009") == 2


@pytest.mark.parametrize("option", ["--add-untouched", "--tumour-free-fraction"])
def test_case_names_that_meet(
    option: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(make_head, "a", "a_free", "b")
    output = tmp_path / "Dataset001_X"
    assert prompt(tmp_path / "in", output, option, "1", "--val-fraction", "0") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a/flair.nii.gz and a_free/flair.nii.gz both give a case a_free" in line
    assert not output.exists()
    assert prompt(tmp_path / "in", output, option, "1", "--val-fraction", "0", "--variants", "2") == 0


def test_links_and_patterns_from_the_command_line(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in (1, 2):
        scan = make_head(f"in/case{n}", seed=n, mask=False, extension=".nii", **TINY)
        scan.rename(scan.with_name(f"image{n}_flair.nii"))
    assert prompt(tmp_path / "in", tmp_path / "Dataset001_X") == 2
    assert "2 folders with *_flair.nii: --image-name '*_flair.nii'" in capsys.readouterr().err
    assert prompt(tmp_path / "in", tmp_path / "Dataset001_X", "--image-name", "*_flair.nii") == 0
    rows = rows_of(tmp_path / "Dataset001_X/manifest.csv")
    assert [row["source"] for row in rows] == ["case1/image1_flair.nii", "case2/image2_flair.nii"]
