"""A refined label in a worker: what the manifest says of it, and what it costs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from synthtumour.presets import Refinement
from synthtumour.runs.cases import Case
from synthtumour.stage2.heads import HeadFiles
from synthtumour.stage2.refine_cases import (
    RefineSource,
    _why_left,
    load_for_refinement,
    make_refined,
    refine_case,
)
from synthtumour.stage2.refinement import Part
from tests.conftest import head_image, with_tumour, write


def part(kept: str) -> Part:
    return Part(1.0, 1.0, 300.0, 900.0, kept)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ([""], ""),
        (["too small"], "too small"),
        (["", ""], ""),
        (["", "too small"], "1 of 2 parts: 1 too small"),
        (["no brighter than tissue", "too small", "", "too small"],
         "3 of 4 parts: 1 no brighter than tissue, 2 too small"),
    ],
)  # fmt: skip
def test_why_a_label_is_left_as_it_was(kept: list[str], said: str) -> None:
    assert _why_left([part(why) for why in kept]) == said


def source_in(folder: Path, spacing: float) -> RefineSource:
    plain, _ = head_image((120.0, 120.0, 120.0), (spacing,) * 3)
    image, _ = with_tumour(plain, radius_mm=14.0, factor=3.0)
    _, inner = with_tumour(plain, radius_mm=10.0)
    paths = write(image, folder / "a_0000.nii.gz"), write(inner, folder / "a.nii.gz")
    return RefineSource(HeadFiles("a", "a", paths[:1], None, paths[1]), Refinement(), None)


def case_in(folder: Path, source: RefineSource) -> Case:
    return refine_case((folder / "out.nii.gz",), source, 0)


def test_what_the_bytes_follow_from_makes_another_case(tmp_path: Path) -> None:
    source = source_in(tmp_path, 4.0)
    case = case_in(tmp_path, source)
    assert case.inputs == (tmp_path / "a_0000.nii.gz", tmp_path / "a.nii.gz")
    others = [
        RefineSource(source.files, Refinement(level=0.5), None),
        RefineSource(source.files, source.how, 0.5),
    ]
    assert all(case_in(tmp_path, other).parameters != case.parameters for other in others)


def test_memory_is_a_few_times_that_of_the_scan(tmp_path: Path) -> None:
    source = source_in(tmp_path, 1.0)
    loaded = load_for_refinement(source)
    scan = loaded[0].channels[0].array
    voxels = scan.size
    assert voxels == 120**3
    make_refined(loaded, case_in(tmp_path, source))  # what is imported on the way
    tracemalloc.start()
    try:
        said = make_refined(loaded, case_in(tmp_path, source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * voxels  # float32 and a few masks, of the brain's box alone
    assert float(str(said["volume_ml"])) == pytest.approx(0.96 * 4 / 3 * np.pi * 14**3 / 1000, rel=0.1)
