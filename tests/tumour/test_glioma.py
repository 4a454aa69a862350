"""Gliomas of every shape, as small as a voxel, and nodules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.stage1.record import resynthesise
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, synthesised


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
