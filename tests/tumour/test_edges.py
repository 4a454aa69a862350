"""Edges at the scan's own voxels: a coarse grid of 2 mm must leave no steps in a scan of 1 mm."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.stage1.record import resynthesise
from synthtumour.tumour.appearance import over_scan
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, head_image, synthesised


@pytest.fixture(scope="module")
def fine_head() -> tuple[Volume, Volume]:
    """At 1 mm, with a ventricle in the middle."""
    image, brain = head_image((140.0, 170.0, 130.0), (1.0, 1.0, 1.0))
    return Volume.from_image(image), Volume.from_image(brain)


def test_a_tumour_ends_where_ventricle_and_brain_do(fine_head: tuple[Volume, Volume]) -> None:
    """Of the tissue that touches either and has the tumour beside it, most is tumour: no strip is left."""
    brain = fine_head[1].array > 0
    ventricle = ndimage.binary_opening((fine_head[0].array < 150) & brain)
    beside = fine_head[0].grid.to_ras(np.argwhere(ventricle).mean(axis=0) + np.array([22, 0, 0]))
    preset = replace(PLAIN, min_volume_mm3=40_000.0, max_volume_mm3=60_000.0)
    marked, of_them = np.zeros(2), np.zeros(2)
    for seed in range(6):
        label = synthesised(fine_head, preset, seed=seed, centre_ras_mm=tuple(beside)).label.array > 0
        near = ndimage.binary_dilation(label, iterations=3) & brain & ~ventricle
        for n, wall in enumerate((ventricle, ~brain)):
            touching = near & ndimage.binary_dilation(wall)
            marked[n] += (touching & label).sum()
            of_them[n] += touching.sum()
        assert (label & ventricle).sum() < 0.01 * ventricle.sum()
    assert of_them.min() > 500 and (marked / of_them).min() > 0.5  # 0.72 and 0.59; 0.40 and 0.04 with steps


def test_a_sharp_core_is_sharp(fine_head: tuple[Volume, Volume]) -> None:
    """With an edge of 0.5 mm, the voxels on either side of a core's border have the level of their side."""
    flat = fine_head[0].with_array(np.where(fine_head[1].array > 0, np.float32(1000), 0))
    preset = replace(PLAIN, core_probability=1.0, labels="brats", texture=0.0, min_volume_mm3=30_000.0)
    for seed in range(3):
        record = copy.deepcopy(synthesised((flat, fine_head[1]), preset, seed=seed).record)
        record["tumours"][0]["core"].update(edge_mm=0.5, level=0.3, rim_mm=0.0, enhancing=False)
        made = resynthesise(flat, fine_head[1], record)
        image, core = made.image.array, made.label.array == 1
        inner = core & ~ndimage.binary_erosion(core)
        outer = (made.label.array == 2) & ndimage.binary_dilation(core)
        oedema = np.median(image[(made.label.array == 2) & ~ndimage.binary_dilation(core, iterations=3)])
        assert (image[inner] < 400).mean() > 0.4  # 0.62, 0.45, 0.50; at most 0.33 with steps of 2 mm
        assert (image[outer] > 0.8 * oedema).mean() > 0.7  # 0.80 to 0.88; at most 0.53 with them


def test_a_scans_detail_is_faint_where_it_is_strong_and_where_the_tumour_is_dark() -> None:
    scan = np.linspace(0, 1.5, 31, dtype=np.float32)  # from CSF to twice as bright as tissue
    base, whole = np.ones_like(scan), np.ones_like(scan)

    def over(level: float) -> np.ndarray:
        return over_scan(scan, np.full_like(scan, level), base, whole, 1.0, 1.0)

    bright, dark = over(2.0), over(0.4)
    assert np.all(np.diff(bright) > 0) and np.all(np.diff(dark) > 0)  # no plateau
    assert bright.min() > 1.75 and bright.max() < 2.25  # a sulcus stays far brighter than tissue
    middle = np.abs(scan - 1) < 0.06
    assert np.ptp(bright[middle]) > 0.7 * np.ptp(scan[middle])  # noise is kept
    assert np.ptp(dark) == pytest.approx(0.4 * np.ptp(bright), rel=1e-5)
