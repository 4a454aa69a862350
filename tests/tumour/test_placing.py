"""Where tumours start: in a region, by a prior, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS, Preset
from synthtumour.stage1.record import resynthesise
from synthtumour.tumour.placing import draw_centre
from synthtumour.volume.volume import Volume
from tests.conftest import INF, NAN, PLAIN, TINY, MakeHead, one_line, resect, synthesised
from tests.tumour.conftest import grid_of


@pytest.mark.parametrize("preset", [PLAIN, replace(PRESETS["paper"], max_volume_mm3=40_000.0)])
def test_location_prior_says_where_tumours_start(head: tuple[Volume, Volume], preset: Preset) -> None:
    prior = np.zeros(head[0].grid.shape, np.float32)
    half = head[0].grid.shape[0] // 2
    prior[half + 15 : half + 30] = 1  # the right side
    given = head[0].with_array(prior)
    cases = [synthesised(head, preset, seed=seed, location_prior=given) for seed in range(5)]
    index = head[0].grid.to_index([c.record["tumours"][0]["shape"]["centre_ras_mm"] for c in cases])
    assert ((index[:, 0] > half + 13) & (index[:, 0] < half + 31)).all()
    assert np.array_equal(resynthesise(*head, cases[0].record).image.array, cases[0].image.array)


@pytest.mark.parametrize(
    ("values", "said"),
    [(np.zeros(1), "all zero"), (-np.ones(1), "from 0 up"), (np.array([np.nan]), "from 0 up")],
)
def test_useless_location_priors_are_refused(
    head: tuple[Volume, Volume], values: np.ndarray, said: str
) -> None:
    prior = head[0].with_array(np.broadcast_to(values.astype(np.float32), head[0].grid.shape).copy())
    with pytest.raises(InputError, match=said):
        synthesised(head, location_prior=prior)


@pytest.mark.parametrize("value", [-1.0, NAN, INF, 1e300, 0.0])
def test_location_priors_that_are_none(
    value: float, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(**TINY)
    flair = sitk.ReadImage(str(scan))
    written = sitk.GetImageFromArray(np.full(flair.GetSize()[::-1], value))
    written.CopyInformation(flair)
    sitk.WriteImage(written, str(tmp_path / "prior.nii.gz"))
    code = resect(
        scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "--location-prior", tmp_path / "prior.nii.gz"
    )
    assert code == 2 and "location prior" in one_line(capsys)


def test_centres_are_drawn_uniformly_from_the_region() -> None:
    grid = grid_of((1, 2, 5))
    allowed = np.zeros(grid.shape, bool)
    allowed[10:40, 5:9, 3:18] = True
    allowed[60:70, 30:50, 10:12] = True
    rng = np.random.default_rng(2)
    index = np.rint(grid.to_index([draw_centre(rng, allowed, grid) for _ in range(3000)])).astype(int)
    assert allowed[tuple(index.T)].all()
    share = (index[:, 0] < 50).mean()
    expected = 30 * 4 * 15 / (30 * 4 * 15 + 10 * 20 * 2)
    assert share == pytest.approx(expected, abs=0.03)


def test_two_far_voxels_are_still_drawn() -> None:
    grid = grid_of((1, 1, 1))
    allowed = np.zeros(grid.shape, bool)
    allowed[1, 1, 1] = allowed[-2, -2, -2] = True
    rng = np.random.default_rng(0)
    index = np.rint(grid.to_index([draw_centre(rng, allowed, grid) for _ in range(40)])).astype(int)
    assert set(index[:, 0]) == {1, grid.shape[0] - 2}
