"""What brightness is counted in."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
