"""The shape model against formulas and against the real resector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.tumour.shape import draw_shape, rasterise, rotation
from synthtumour.volume.volume import Volume
from tests.conftest import head_image
from tests.tumour.conftest import PAPER, a_shape, full, grid_of


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
        arguments = [str(tmp_path / "flair.nii.gz"), *paths, "--preset", "paper", "--seed", "1"]
        arguments += ["--shape-engine", engine]
        assert resect_multi_tumor.main(arguments) == 0
        labels.append(sitk.GetArrayFromImage(sitk.ReadImage(paths[1])) > 0)
    assert not np.array_equal(*labels)
    assert 2 * (labels[0] & labels[1]).sum() / (labels[0].sum() + labels[1].sum()) > 0.98
