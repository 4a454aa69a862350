"""What brightness is counted in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthtumour.tumour.tissue import tissue_of
from tests.conftest import PLAIN, integer_head, synthesised


def test_wide_ventricles_make_no_tumour_brighter() -> None:
    """Brightness counts standard deviations of tissue, of which an old brain's CSF is no part."""
    scan, brain = integer_head()
    older = scan.array.copy()
    older[24:46, 20:60, 15:45] = 60  # a fourth of the brain
    preset = replace(PLAIN, min_volume_mm3=1_000.0, max_volume_mm3=4_000.0)
    factors = []
    for array in (scan.array, older):
        case = synthesised((scan.with_array(array), brain), preset)
        factors.append(case.record["tumours"][0]["intensity"]["factor"])
    assert factors[1] == pytest.approx(factors[0], rel=0.03)


def test_the_ventricles_of_old_brains_are_found() -> None:
    """CSF in a third of the brain makes its intensities spread wider than tissue is above CSF."""
    scan, brain = integer_head()
    rng = np.random.default_rng(0)
    inside = brain.array > 0
    tissue_alone = rng.normal(300, 50, inside.shape) * inside
    fluid = np.zeros(inside.shape, bool)
    fluid[22:48, 18:62, 14:46] = True  # a third of the brain
    old = np.where(fluid, rng.normal(30, 15, fluid.shape), tissue_alone).clip(1, None) * inside
    found = tissue_of(old, inside, scan.grid)
    assert np.count_nonzero(found.ventricle) > 0.7 * np.count_nonzero(fluid[found.box] & found.brain)
    assert np.count_nonzero(found.ventricle & ~fluid[found.box]) < 5
    assert found.spread == pytest.approx(50, rel=0.1)


def test_noise_in_a_brain_without_fluid_is_no_fluid() -> None:
    scan, brain = integer_head()
    inside = brain.array > 0
    noisy = np.random.default_rng(0).normal(300, 50, inside.shape) * inside
    found = tissue_of(noisy, inside, scan.grid)
    assert not found.ventricle.any() and found.matter[found.brain].mean() > 0.99


def test_a_speck_of_fluid_is_no_ventricle() -> None:
    """It would stay dark in the middle of a tumour."""
    scan, brain = integer_head()
    array = scan.array.copy()
    array[30:40, 35:45, 25:35] = 60
    array[30:34, 35:39, 36:40] = 60  # 0.5 ml, 2 mm beside
    found = tissue_of(array, brain.array > 0, scan.grid)
    fluid = (array == 60)[found.box]
    assert fluid.sum() == 1064 and np.count_nonzero(found.ventricle) == 1000
