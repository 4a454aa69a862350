"""How a grown tumour looks: core, regions, texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, integer_head, synthesised


def test_brats_labels_divide_the_whole_tumour(head: tuple[Volume, Volume]) -> None:
    seen = set()
    for seed in range(12):
        whole = synthesised(head, replace(PLAIN, core_probability=1.0), seed=seed)
        parts = synthesised(head, replace(PLAIN, core_probability=1.0, labels="brats"), seed=seed)
        assert np.array_equal(whole.label.array > 0, parts.label.array > 0)
        assert np.array_equal(whole.image.array, parts.image.array)
        seen |= set(np.unique(parts.label.array).tolist())
        measured = parts.record["measured"]
        total = measured["core_ml"] + measured["oedema_ml"] + measured["enhancing_ml"]
        assert total == pytest.approx(measured["volume_ml"], abs=1e-3)
    assert seen == {0, 1, 2, 3}


def test_core_probability_and_intensity_range_are_heeded(head: tuple[Volume, Volume]) -> None:
    with_core = synthesised(head, replace(PLAIN, core_probability=1.0)).record["tumours"][0]
    without = synthesised(head, replace(PLAIN, core_probability=0.0), seed=2)
    assert with_core["core"] is not None and without.record["tumours"][0]["core"] is None
    brighter = synthesised(head, replace(PLAIN, core_probability=0.0, intensity_range=(9.0, 9.0)), seed=2)
    mask = without.label.array > 0
    assert brighter.image.array[mask].mean() > 1.2 * without.image.array[mask].mean()


def test_without_texture_a_tumour_is_more_even() -> None:
    """In an even head; of a tumour, what is far from all edges: the middle of its core or of its oedema."""
    head = integer_head()
    for core, region in ((0.0, 2), (1.0, 1)):
        preset = replace(PLAIN, min_volume_mm3=20_000.0, core_probability=core, labels="brats")
        spreads = []
        for texture in (0.0, 1.0):
            cases = [synthesised(head, replace(preset, texture=texture), seed=seed) for seed in range(8)]
            middles = [ndimage.binary_erosion(case.label.array == region, iterations=4) for case in cases]
            assert sum(middle.any() for middle in middles) > 2
            pairs = zip(cases, middles, strict=True)
            spreads.append([case.image.array[middle].std() for case, middle in pairs if middle.any()])
            drawn = [case.record["tumours"][0]["core" if core else "intensity"]["texture"] for case in cases]
            assert all((value > 0) == (texture > 0) for value in drawn)
        assert np.mean(spreads[1]) > 1.1 * np.mean(spreads[0])
