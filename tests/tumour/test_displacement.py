"""Mass effect pushes and never folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, integer_head, synthesised


def test_mass_effect_pushes_tissue_outwards_and_never_folds_it() -> None:
    """A dark shell 5 mm beyond the tumour's border moves away from it."""
    from synthtumour.tumour.displacement import displacement, least_jacobian, pushed
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = integer_head()
    tissue = tissue_of(scan.array, brain.array > 0, scan.grid)
    points = scan.grid.to_ras(np.moveaxis(np.indices(scan.grid.shape), 0, -1))
    distance = np.linalg.norm(points - scan.grid.to_ras(np.array([35, 40, 30])), axis=-1)
    marker = np.where(np.abs(distance - 20) < 2, 1000.0, scan.array).astype(np.float32)
    border = (distance[tissue.box] - 15).astype(np.float32)
    field = displacement(border, tissue.whole(), tissue, 6.0)
    assert least_jacobian(field, tissue.spacing_mm) >= 0.2
    moved = pushed(marker, brain.array > 0, field, tissue.whole(), tissue)
    before, after = (distance[a > 700].mean() for a in (marker, moved))
    assert 1.5 < after - before < 6
    assert np.array_equal(moved[brain.array == 0], marker[brain.array == 0])
    giant = displacement(border, tissue.whole(), tissue, 60.0)  # far more than 15 mm of tissue can give way
    assert least_jacobian(giant, tissue.spacing_mm) >= 0.2


def test_a_large_tumours_ragged_border_leaves_most_of_the_push() -> None:
    from synthtumour.tumour.displacement import displacement, least_jacobian
    from synthtumour.tumour.growth import Growth, grow
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = integer_head()
    tissue = tissue_of(scan.array, brain.array > 0, scan.grid)
    x, y, z = scan.grid.to_ras(np.array([35, 40, 30]))
    lobes = (12.0, 0.0, 0.0, -12.0, 8.0, 0.0)
    hit = grow(Growth("infiltrative", 100_000.0, (x, y, z), lobes, 0.5, 0.1, 1.2, 14.0, 7), tissue, 8.0)
    assert hit is not None
    box, border_mm, _ = hit
    field = displacement(border_mm, box, tissue, 8.0)
    assert 4.5 < np.sqrt((field**2).sum(axis=0)).max() <= 8.0  # 5.1; 3.3 if its direction is as ragged
    assert least_jacobian(field, tissue.spacing_mm) >= 0.2


def test_mass_effect_option_moves_the_scan_and_not_the_label(head: tuple[Volume, Volume]) -> None:
    pushing = replace(PLAIN, mass_effect_mm=(6.0, 6.0))
    plain, with_push = synthesised(head), synthesised(head, pushing)
    assert np.array_equal(plain.label.array, with_push.label.array)
    moved = (plain.image.array != with_push.image.array) & (plain.label.array == 0)
    assert moved.sum() > 100
