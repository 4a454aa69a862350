"""The cases that a Stage 1 run will make: sides, variants, names, and what a case hangs on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import prompt_multi_tumor
from synthtumour.dataset.nnunet import dataset_at
from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.runs.cases import Case
from synthtumour.runs.conduct import Conduct
from synthtumour.stage1.plan import Stage1Run, plan
from tests.conftest import TINY, TINY_VOLUMES, MakeHead, rows_of


@pytest.fixture
def asked(tmp_path: Path) -> Stage1Run:
    """Six subjects, with a mask each; the files are empty: a plan reads none."""
    for n in range(6):
        (tmp_path / f"in/s{n}").mkdir(parents=True)
        for name in ("flair.nii.gz", "flair_brainmask.nii.gz"):
            (tmp_path / f"in/s{n}/{name}").touch()
    return Stage1Run(tmp_path / "in", tmp_path / "Dataset001_A")


def planned(asked: Stage1Run) -> dict[str, Case]:
    groups = plan(asked, find_scans(asked.input), dataset_at(asked.output))
    return {case.name: case for group in groups for case in group.cases}


def test_half_of_the_subjects_validate_and_each_scan_is_a_group(asked: Stage1Run) -> None:
    cases = planned(replace(asked, variants=2))
    sides = {(c.columns["subject"], c.columns["split"]) for c in cases.values()}
    assert len(cases) == 12 and len(sides) == 6 and sum(side == "val" for _, side in sides) == 3
    for name, case in cases.items():
        subject, variant, side = (case.columns[key] for key in ("subject", "variant", "split"))
        assert name == f"{subject}_v0{variant}" + ("val" if side == "val" else "")
        folder = asked.output
        assert case.outputs == (folder / f"labelsTr/{name}.nii.gz", folder / f"imagesTr/{name}_0000.nii.gz")
        scan = asked.input / str(subject)
        assert case.inputs == (scan / "flair.nii.gz", scan / "flair_brainmask.nii.gz")


def test_tumours_are_drawn_for_a_scan_and_not_for_its_side(asked: Stage1Run) -> None:
    """The same stream and seed on either side."""
    for fraction in (0.0, 0.5, 0.9):
        drawn = {c.parameters["drawn_for"] for c in planned(replace(asked, val_fraction=fraction)).values()}
        assert drawn == {f"s{n}" for n in range(6)}


def test_a_part_of_the_subjects_keeps_its_sides_and_names(asked: Stage1Run) -> None:
    whole, part = planned(asked), planned(replace(asked, subjects=("s1", "s4")))
    assert {case.columns["subject"] for case in part.values()} == {"s1", "s4"}
    assert part.items() <= whole.items()
    with pytest.raises(InputError, match="--subjects nobody: no such subject"):
        planned(replace(asked, subjects=("s1", "nobody")))


def test_untouched_scans_are_for_training_alone(asked: Stage1Run) -> None:
    cases = planned(replace(asked, add_untouched=1.0))
    free = {name: case for name, case in cases.items() if name.endswith("_free")}
    assert len(free) == 3 and len(cases) == 9
    for case in free.values():
        assert (case.columns["kind"], case.columns["split"]) == ("tumour-free", "train")
        assert case.parameters["head_scale"] == 1.0


def test_training_heads_are_resized_and_those_for_validation_not(asked: Stage1Run) -> None:
    cases = planned(replace(asked, preset=replace(PRESETS["paper"], head_scale=(0.5, 0.8))))
    scales = {side: [] for side in ("train", "val")}  # type: dict[str, list[float]]
    for case in cases.values():
        scales[str(case.columns["split"])].append(case.parameters["head_scale"])  # type: ignore[arg-type]
    assert set(scales["val"]) == {1.0} and all(0.5 <= scale <= 0.8 for scale in scales["train"])
    assert len(set(scales["train"])) == 3


def test_two_scans_of_one_case_name_are_refused(asked: Stage1Run) -> None:
    """Cases are named in ASCII; two scans must not become one."""
    found = find_scans(asked.input)
    twice = replace(found, scans=(*found.scans, found.scans[0]))
    with pytest.raises(InputError, match="s0/flair.nii.gz and s0/flair.nii.gz both give a case s0"):
        plan(asked, twice, dataset_at(asked.output))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variants": 0}, "--variants 0: needs 1 or more"),
        ({"val_fraction": 1.0}, "--val-fraction 1: needs 0 or more, and less than 1"),
        ({"add_untouched": 1.5}, "--add-untouched 1.5: needs 0 to 1"),
        ({"preset": PRESETS["paper"], "channels": ("t2",)}, "--channels needs --preset diverse"),
        ({"preset": replace(PRESETS["paper"], head_scale=(0.9, 0.5))}, "--head-scale 0.9 0.5: needs"),
        (
            {"preset": replace(PRESETS["paper"], tumour_free_probability=2.0)},
            "--without-tumour 2: needs 0 to 1",
        ),
    ],
)
def test_values_that_make_no_sense(change: dict, said: str, asked: Stage1Run) -> None:
    asked.check()
    with pytest.raises(InputError, match=f"^{said}"):
        replace(asked, **change).check()


def test_how_fast_a_run_goes_is_no_part_of_what_it_is(asked: Stage1Run) -> None:
    quick = replace(
        asked, output=asked.output.with_name("Dataset002_B"), conduct=Conduct(workers=7, tell="quiet")
    )
    assert quick.settings == asked.settings
    assert replace(asked, conduct=Conduct(seed=1)).settings != asked.settings
    assert replace(asked, variants=2).settings != asked.settings


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
