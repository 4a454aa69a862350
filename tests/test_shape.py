"""The shape model against formulas and against the real resector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import head_image
from scipy import ndimage

from synthtumour.presets import PRESETS
from synthtumour.tumour.blending import dilated
from synthtumour.tumour.placing import draw_centre
from synthtumour.tumour.shape import TumourShape, draw_shape, rasterise, rotation
from synthtumour.tumour.simplex import simplex_noise
from synthtumour.volume.grid import Grid
from synthtumour.volume.volume import Volume

PAPER = PRESETS["paper"]


def grid_of(spacing: tuple[float, float, float], extent_mm: float = 110.0) -> Grid:
    shape = tuple(int(extent_mm / s) for s in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * shape / 2
    return Grid(shape, affine)


def a_shape(**changes: object) -> TumourShape:
    plain = TumourShape(
        "ellipsoid", 1.0, (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), (0.0, 0.0, 0.0), 0, 1.0, 3.0, 4
    )
    return replace(plain, **changes)


def full(shape: TumourShape, grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    box, inside = rasterise(shape, np.ones(grid.shape, bool), grid)
    mask[box] = inside
    return mask


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1.3, 2.0), (1.0, 1.0, 5.0)])
def test_ellipsoid_has_the_volume_of_the_formula(spacing: tuple) -> None:
    grid = grid_of(spacing)
    mask = full(a_shape(semi_axes_mm=(30.0, 20.0, 12.0), angles_deg=(25.0, 40.0, 70.0)), grid)
    assert mask.sum() * np.prod(spacing) == pytest.approx(4 / 3 * np.pi * 30 * 20 * 12, rel=0.02)


def test_cuboid_has_the_volume_of_the_formula_and_stays_along_the_axes() -> None:
    mask = full(
        a_shape(kind="cuboid", semi_axes_mm=(20.0, 15.0, 5.0), angles_deg=(25.0, 0.0, 0.0)),
        grid_of((1, 1, 1)),
    )
    assert [np.ptp(n) + 1 for n in np.nonzero(mask)] == [40, 30, 10]
    assert mask.sum() == 40 * 30 * 10


def test_rotations_compose_in_vtks_order() -> None:
    """Rx(90) . Ry(90) takes R to A by hand: Ry sends (1, 0, 0) to (0, 0, -1), Rx sends that to (0, 1, 0)."""
    assert np.allclose(rotation((90, 90, 0)) @ (1, 0, 0), (0, 1, 0))
    mask = full(a_shape(semi_axes_mm=(40.0, 8.0, 8.0), angles_deg=(90.0, 90.0, 0.0)), grid_of((1, 1, 1)))
    extents = [np.ptp(n) + 1 for n in np.nonzero(mask)]
    assert extents[1] > 75 and extents[0] < 20 and extents[2] < 20


def test_noisy_volumes_scale_as_in_the_method() -> None:
    """Noise alone scales the ellipsoid's volume by about 0.8 to 1.7 (5-95 %)."""
    rng, grid = np.random.default_rng(0), grid_of((2, 2, 2), 200)
    ratios = []
    for _ in range(100):
        shape = draw_shape(rng, PAPER, np.ones(grid.shape, bool), grid, (0, 0, 0))
        mask = full(shape, grid)
        assert ndimage.label(mask)[1] == 1
        ratios.append(mask.sum() * 8 / shape.volume_mm3)
    low, high = np.percentile(ratios, (5, 95))
    assert 0.7 < low < 0.95 and 1.4 < high < 1.9


@pytest.mark.parametrize("smoothness", [3.0, 1.5])
def test_shortcuts_change_no_voxel(smoothness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, grid = np.random.default_rng(5), grid_of((1.0, 1.5, 2.0))
    shapes = [
        a_shape(
            kind="noisy",
            semi_axes_mm=(20.0, 30.0, 14.0),
            angles_deg=tuple(rng.uniform(0, 360, 3)),
            noise_offset=int(offset),
            noise_smoothness=smoothness,
        )
        for offset in rng.integers(1000, size=8)
    ]
    shapes += [replace(shape, kind="ellipsoid") for shape in shapes]
    quick = [full(shape, grid) for shape in shapes]
    monkeypatch.setattr("synthtumour.tumour.shape._ROUNDING", 10.0)  # nothing but exact noise decides
    assert all(np.array_equal(mask, full(shape, grid)) for mask, shape in zip(quick, shapes, strict=True))


def test_dilation_is_that_of_a_box() -> None:
    rng = np.random.default_rng(2)
    for spacing in ((1.0, 1.0, 1.0), (0.7, 2.0, 5.0), (3.0, 0.5, 1.0)):
        for shape in ((9, 7, 12), (1, 5, 3), (20, 2, 6)):
            mask = rng.random(shape) < 0.02
            for margin in (0, 1, 4, 9):
                reach = np.rint(margin / np.array(spacing)).astype(int)
                box = np.ones(2 * reach + 1, bool)
                expected = ndimage.binary_dilation(mask, box)
                grid = Grid(shape, np.diag([*spacing, 1.0]))
                for stored in (mask, np.asfortranarray(mask)):
                    assert np.array_equal(dilated(stored, margin, grid), expected)


def test_drawn_parameters_follow_the_method() -> None:
    rng, grid = np.random.default_rng(1), grid_of((2, 2, 2))
    shapes = [draw_shape(rng, PAPER, np.ones(grid.shape, bool), grid) for _ in range(400)]
    volumes = np.array([s.volume_mm3 for s in shapes])
    assert 20_000 <= volumes.min() < 23_000 and 77_000 < volumes.max() <= 80_000
    axes = np.array([s.semi_axes_mm for s in shapes])
    assert np.allclose(4 / 3 * np.pi * axes.prod(axis=1), volumes)  # (r, kr, r/k)
    ratios = axes[:, 1] / axes[:, 0]
    assert 1 <= ratios.min() < 1.05 and 1.95 < ratios.max() <= 2
    assert np.allclose(axes[:, 0] / axes[:, 2], ratios)
    assert len({s.noise_offset for s in shapes}) > 200 and all(0 <= s.noise_offset <= 999 for s in shapes)
    assert np.ptp([s.angles_deg for s in shapes], axis=0).min() > 350


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


@pytest.mark.peer
@pytest.mark.parametrize("oblique_deg", [0.0, 15.0])
@pytest.mark.parametrize("kind", ["noisy", "ellipsoid", "cuboid"])
def test_masks_agree_with_resector(kind: str, oblique_deg: float) -> None:
    """50 random draws each (10 on an oblique grid): Dice with resector's own mask at least 0.98."""
    image, brain_image = head_image((176.0, 208.0, 160.0), (1.0, 1.0, 1.0), oblique_deg)
    brain, grid = Volume.from_image(brain_image).array > 0, Volume.from_image(image).grid
    rng = np.random.default_rng(7)
    for _ in range(10 if oblique_deg else 50):
        shape = draw_shape(rng, replace(PAPER, shape=kind), brain, grid)
        masks = []
        for engine in ("formula", "resector"):
            box, inside = rasterise(shape, brain, grid, engine)
            masks.append(np.zeros(grid.shape, bool))
            masks[-1][box] = inside
        dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
        assert dice >= 0.98, shape


@pytest.mark.peer
def test_shape_engine_option_uses_resector(tmp_path) -> None:
    import resect_multi_tumor

    image, brain = head_image()
    sitk.WriteImage(image, str(tmp_path / "flair.nii.gz"))
    sitk.WriteImage(brain, str(tmp_path / "flair_brainmask.nii.gz"))
    labels = []
    for engine in ("formula", "resector"):
        paths = [str(tmp_path / f"{engine}{n}.nii.gz") for n in ("i", "l")]
        arguments = [str(tmp_path / "flair.nii.gz"), *paths, "--seed", "1", "--shape-engine", engine]
        assert resect_multi_tumor.main(arguments) == 0
        labels.append(sitk.GetArrayFromImage(sitk.ReadImage(paths[1])) > 0)
    assert not np.array_equal(*labels)
    assert 2 * (labels[0] & labels[1]).sum() / (labels[0].sum() + labels[1].sum()) > 0.98
