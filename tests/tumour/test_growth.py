"""Infiltrative tumours: their volumes, and what holds them up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthtumour.stage1.synthesis import synthesise
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, synthesised


def test_volumes_are_log_uniform_and_met(head: tuple[Volume, Volume]) -> None:
    preset = replace(PLAIN, min_volume_mm3=1_000.0, max_volume_mm3=64_000.0, buffer_sigma_mm=0.0)
    drawn, measured = [], []
    for seed in range(30):
        record = synthesised(head, preset, seed=seed).record
        drawn.append(record["tumours"][0]["shape"]["volume_mm3"])
        measured.append(1000 * record["measured"]["volume_ml"])
    assert 1_000 <= min(drawn) < 3_000 and 20_000 < max(drawn) <= 64_000
    assert 4_000 < np.median(drawn) < 16_000  # log-uniform: the middle is 8000
    assert np.median(np.abs(np.log(np.array(measured) / drawn))) < 0.1


def test_tumours_grow_round_ventricles_and_start_in_tissue(head: tuple[Volume, Volume]) -> None:
    """The head's ventricle (below 150) is an ellipsoid in its middle, where tumours would be likeliest."""
    ventricle = (head[0].array < 150) & (head[1].array > 0)
    inside = [synthesised(head, seed=seed).label.array[ventricle].mean() for seed in range(8)]
    assert ventricle.mean() > 0.001 and np.mean(inside) < 0.1


def test_a_sulcus_holds_up_an_infiltrative_tumour(head: tuple[Volume, Volume]) -> None:
    """A dark sheet beside the seed: nearly all of the tumour stays on the seed's side."""
    i = head[0].grid.shape[0] // 2
    array = head[0].array.copy()
    array[i : i + 4] = np.minimum(array[i : i + 4], 30)
    grid = head[0].grid
    seed_ras = grid.to_ras(np.array([i - 8, grid.shape[1] // 3, grid.shape[2] // 2]))
    sides = []
    for scan in (head[0], head[0].with_array(array)):
        preset = replace(PLAIN, min_volume_mm3=12_000.0, max_volume_mm3=12_000.0)
        far = [
            synthesise(scan, head[1], preset, seed=n, centre_ras_mm=tuple(seed_ras))
            .label.array[i + 4 :]
            .sum()
            for n in range(6)
        ]
        sides.append(np.mean(far))
    assert sides[1] < 0.6 * sides[0]
