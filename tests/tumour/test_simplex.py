"""Simplex noise against the package noise."""

from __future__ import annotations

import numpy as np
import pytest

from synthtumour.tumour.simplex import simplex_noise


@pytest.mark.parametrize(
    ("point", "one_octave", "four_octaves"),
    [
        # printed by noise.snoise3 of noise 1.2.2
        ((0.5, 0.25, -0.75), 0.42775631, 0.185025543),
        ((333.25, 333.5, 332.875), 0.0236009788, -0.127859816),
        ((-12.125, 7.5, 100.0), 0.261624545, 0.239467487),
        ((1.5, 1.5, 1.5), 0, 0),
        ((66.6875, 66.3125, 67.0), 0.328805059, 0.181338653),
        ((-0.375, -0.625, 0.125), -0.201380059, -0.315566212),
    ],
)
def test_simplex_noise_equals_snoise3(point: tuple, one_octave: float, four_octaves: float) -> None:
    assert simplex_noise([point], 1)[0] == pytest.approx(one_octave, abs=1e-6)
    assert simplex_noise([point], 4)[0] == pytest.approx(four_octaves, abs=1e-6)


@pytest.mark.peer
def test_simplex_noise_equals_snoise3_everywhere() -> None:
    from noise import snoise3

    rng = np.random.default_rng(0)
    points = np.concatenate(
        [rng.normal(0, 1, (2000, 3)), (rng.normal(size=(3000, 3)) + rng.integers(0, 1000)) / 3]
    )
    points = points.astype(np.float32)
    for octaves in (1, 4):
        expected = [snoise3(*(float(c) for c in p), octaves=octaves) for p in points]
        assert np.abs(simplex_noise(points, octaves) - expected).max() < 1e-6
