"""Gliomas of every shape, as small as a voxel, and nodules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import synthesise
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, ROOT, synthesised


def test_a_tumour_below_a_voxel_is_never_an_empty_label(head: tuple[Volume, Volume]) -> None:
    preset = replace(PLAIN, min_volume_mm3=0.01, max_volume_mm3=0.02)
    for seed in range(12):
        try:
            assert synthesised(head, preset, seed=seed).label.array.any()
        except InputError as error:
            assert "smaller than a voxel" in str(error)


@pytest.mark.parametrize("shape", ["noisy", "ellipsoid", "cuboid"])
def test_other_shapes_work_with_the_same_appearance(head: tuple[Volume, Volume], shape: str) -> None:
    preset = replace(PLAIN, shape=shape, min_volume_mm3=20_000.0, max_volume_mm3=20_000.0)
    case = synthesised(head, preset)
    assert case.record["tumours"][0]["shape"]["kind"] == shape
    assert not np.array_equal(case.label.array, synthesised(head).label.array)
    assert np.array_equal(resynthesise(*head, case.record).image.array, case.image.array)


def test_nodules_have_one_to_three_times_the_least_volume(head: tuple[Volume, Volume]) -> None:
    def volumes(share: float) -> list[float]:
        preset = replace(PLAIN, min_volume_mm3=2_000.0, nodule_probability=share)
        return [
            synthesised(head, preset, seed=n).record["tumours"][0]["shape"]["volume_mm3"] for n in range(12)
        ]

    nodules = volumes(1.0)
    assert 2_000 <= min(nodules) and max(nodules) <= 6_000 < max(volumes(0.0))


def test_a_brain_holds_no_tumour_of_more_than_a_quarter_unless_no_other_is_asked_for(
    head: tuple[Volume, Volume],
) -> None:
    quarter = 0.25 * np.count_nonzero(head[1].array) * head[1].grid.voxel_ml * 1000

    def volumes(least: float, most: float) -> list[float]:
        preset = replace(PLAIN, min_volume_mm3=least, max_volume_mm3=most)
        return [
            synthesised(head, preset, seed=n).record["tumours"][0]["shape"]["volume_mm3"] for n in range(8)
        ]

    assert 0.5 * quarter < max(volumes(0.5 * quarter, 4 * quarter)) <= 1.02 * quarter
    assert 1.1 * quarter < min(volumes(1.2 * quarter, 1.4 * quarter))


CORED = replace(
    PRESETS["diverse"],
    core_probability=1.0,
    distractor_probability=0.0,
    labels="brats",
)


@pytest.fixture(scope="module")
def demo() -> tuple[Volume, Volume]:
    scan, brain = (
        read_volume(ROOT / f"DemoData/sim-01/{name}.nii.gz") for name in ("flair", "flair_brainmask")
    )
    return scan.with_array(scan.array.astype(np.float32)), brain


@pytest.mark.parametrize("seed", [3, 4, 7])
def test_a_core_is_at_its_own_level_in_either_task(demo: tuple[Volume, Volume], seed: int) -> None:
    scan = demo[0].array
    one = replace(CORED, num_tumours=(1, 1), several_probability=0.0)
    made = synthesise(*demo, one, seed=seed, task="val")
    (tumour,) = made.record["tumours"]
    core = tumour["core"]
    factor, inner = tumour["intensity"]["factor"], 3 if core["enhancing"] else 1
    levels = {2: factor, inner: core["level"]}
    if core["rim_mm"] and not core["enhancing"]:
        levels[3] = core["rim_level"]
    for value, level in levels.items():
        part = (made.label.array == value) & (scan > 0)
        assert part.any()
        assert np.median(made.image.array[part] / scan[part]) == pytest.approx(level, rel=1e-3)


@pytest.mark.parametrize("preset", [CORED, replace(PRESETS["paper"], core_probability=1.0)])
def test_rings_have_no_core_and_their_record_none(demo: tuple[Volume, Volume], preset: object) -> None:
    rings = replace(preset, val_task="rings")  # type: ignore[type-var]
    made = synthesise(*demo, rings, seed=3, task="val")
    training = synthesise(*demo, rings, seed=3, task="train")
    assert training.record["tumours"][0]["core"] is not None
    assert [tumour["core"] for tumour in made.record["tumours"]] == [None] * len(made.record["tumours"])
    assert made.record["tumours"][0]["intensity"].get("core_factor") is None
    assert made.record["tumours"][0]["shape"] == training.record["tumours"][0]["shape"]
    assert set(np.unique(made.label.array)) <= {0, 1} if rings.labels == "whole" else {0, 2}  # type: ignore[attr-defined]
    again = resynthesise(*demo, made.record)
    assert np.array_equal(again.image.array, made.image.array)
