"""A mass and its oedema: their volumes, where the oedema goes, BraTS's regions, cases made again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.presets import GLIOMA, PRESETS
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import synthesise
from synthtumour.tumour.growth import Border, Growth, grow
from synthtumour.tumour.tissue import Tissue, tissue_of
from tests.conftest import integer_head

MASSES = replace(
    PRESETS["diverse"],
    mass_probability=1.0,
    core_probability=0.0,
    distractor_probability=0.0,
    num_tumours=(1, 1),
)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    scan, brain = integer_head()
    return tissue_of(scan.array, brain.array > 0, scan.grid)


def grown(tissue: Tissue, fraction: float, lean: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Border:
    """A tumour of 40 ml in the head's left half; its tissue is even there."""
    x, y, z = tissue.grid.to_ras(np.array(tissue.grid.shape) * (0.35, 0.5, 0.5))
    border = grow(
        Growth("infiltrative", 40_000.0, (x, y, z), (), 0.9, 0.9, 0.1, 12.0, 5, fraction, lean), tissue, 8.0
    )
    assert border is not None
    return border


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_mass_is_the_drawn_part_of_the_tumour(tissue: Tissue, fraction: float) -> None:
    border = grown(tissue, fraction)
    assert border.mass_mm is not None
    whole, mass = border.border_mm < 0, border.mass_mm < 0
    assert whole.sum() * tissue.grid.voxel_ml == pytest.approx(40, rel=0.05)
    assert mass.sum() * tissue.grid.voxel_ml == pytest.approx(40 * fraction, rel=0.05)
    assert (mass & ~whole).sum() < 0.03 * mass.sum()  # the border is smoothed after
    assert ndimage.label(mass)[1] == 1


def test_without_a_mass_there_is_none(tissue: Tissue) -> None:
    assert grown(tissue, 0.0).mass_mm is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_oedema_grows_to_the_side_it_leans_to(tissue: Tissue, axis: int, sign: int) -> None:
    lean = [0.0, 0.0, 0.0]
    lean[axis] = 2.0 * sign

    def shift(border: Border) -> float:
        """From the mass's middle to the oedema's, in mm along the axis (RAS)."""
        assert border.mass_mm is not None
        points = tissue.points_ras(border.box)[..., axis]
        mass, whole = border.mass_mm < 0, border.border_mm < 0
        return float(points[whole & ~mass].mean() - points[mass].mean())

    assert sign * shift(grown(tissue, 0.3, tuple(lean))) > abs(shift(grown(tissue, 0.3))) + 4  # type: ignore[arg-type]


def test_every_tumour_has_a_mass_and_is_made_again() -> None:
    scan, brain = integer_head()
    kinds = set()
    for seed in range(12):
        made = synthesise(scan, brain, MASSES, seed=seed)
        (tumour,) = made.record["tumours"]
        kinds.add(tumour["core"]["kind"])
        low, high = GLIOMA.mass_fraction
        assert low <= tumour["shape"]["mass_fraction"] == tumour["core"]["fraction"] <= high
        again = resynthesise(scan, brain, made.record)
        assert np.array_equal(again.image.array, made.image.array)
        assert np.array_equal(again.label.array, made.label.array)
    assert kinds == {kind.name for kind in GLIOMA.masses}


def test_a_record_of_before_masses_is_read() -> None:
    scan, brain = integer_head()
    made = synthesise(scan, brain, replace(MASSES, mass_probability=0.0), seed=3)
    for name in ("mass_fraction", "lean_ras"):
        del made.record["tumours"][0]["shape"][name]
    assert np.array_equal(resynthesise(scan, brain, made.record).label.array, made.label.array)


def test_brats_regions_are_mass_ring_and_oedema() -> None:
    scan, brain = integer_head()
    parts = replace(MASSES, labels="brats", buffer_sigma_mm=0.0)
    rings = touching = 0
    for seed in range(12):
        made = synthesise(scan, brain, parts, seed=seed)
        core, label = made.record["tumours"][0]["core"], made.label.array
        inner = 3 if core["enhancing"] else 1
        assert {2} <= set(np.unique(label)) - {0} <= {2, 3, inner}
        mass = (label == 1) | (label == 3)
        assert mass.sum() / (label > 0).sum() == pytest.approx(core["fraction"], abs=0.15)
        if core["rim_mm"] and not core["enhancing"]:
            rings += 1
            inside = ndimage.binary_dilation(label == 1) & ~(label == 1) & (label > 0)
            assert (label[inside] == 3).mean() > 0.9  # it goes all round
        touching += bool((ndimage.binary_dilation(mass) & (label == 0) & (brain.array > 0)).any())
    assert rings > 1 and touching > 3  # a mass may lie at the border, where there is no oedema
