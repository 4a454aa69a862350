"""The cases that a Stage 1 run will make: sides, variants, names, and what a case hangs on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from synthtumour.dataset.nnunet import dataset_at
from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.runs.cases import Case
from synthtumour.runs.conduct import Conduct
from synthtumour.stage1.plan import Stage1Run, plan


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
        ({"channels": ("t2",)}, "--channels needs --preset diverse"),
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
