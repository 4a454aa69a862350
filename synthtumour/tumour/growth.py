"""Infiltrative shape: a tumour grown through the scan's own tissue.

A front leaves a few seeds and runs through the brain at a speed that depends on tissue (slow in cortex,
slower in sulci, hardly at all into ventricles) and on smooth noise. Where it has come when the drawn volume
is full is the tumour: it spreads along white matter and stops at CSF, falx and skull. Arrival times come from
fast marching (Sethian 1996), as in the eikonal models of glioma growth (Konukoglu et al., IEEE TMI 2010).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.presets import GLIOMA, Preset
from synthtumour.tumour.placing import drawn_voxel, running_total
from synthtumour.tumour.shape import TumourShape, rasterise
from synthtumour.tumour.simplex import simplex_noise
from synthtumour.tumour.tissue import Tissue, interpolated
from synthtumour.volume.grid import Box, Grid, bounding_box, box_around, grown, relative

_VENTRICLE_SPEED = 0.01
_FAR_MM = 60.0
_SOFT_MM = 2.0  # sigma; else a border along a sulcus or a ventricle has the coarse grid's steps
_MASS_ROUGHNESS = 0.8  # of a mass, as a part of the tumour's
_NEVER = 1e5  # of the front's arrival, in mm of white matter
NOISE_OFFSETS = 10_000  # noise is read this far from the origin, in steps that share no pattern


class Border(NamedTuple):
    """Where a tumour lies: how far (mm) each voxel of a box of the coarse grid is beyond its border."""

    box: Box
    border_mm: np.ndarray  # negative inside
    mass_mm: np.ndarray | None = None  # the same of its mass, if it has one


@dataclass(frozen=True)
class Growth:
    """One drawn infiltrative shape; speeds are relative to white matter.

    A tumour with a mass is that, and oedema that grows from its surface.
    """

    kind: str  # 'infiltrative'
    volume_mm3: float
    centre_ras_mm: tuple[float, float, float]
    lobes_mm: tuple[float, ...]  # further seeds: R, A, S offsets from the centre, one after the other
    cortex_speed: float
    csf_speed: float
    roughness: float
    noise_mm: float
    noise_offset: int
    mass_fraction: float = 0.0  # of the volume; 0: no mass
    lean_ras: tuple[float, float, float] = (
        0.0,
        0.0,
        0.0,
    )  # where oedema grows to, and the log of how much faster


def draw_growth(
    rng: np.random.Generator,
    preset: Preset,
    tissue: Tissue,
    prior: np.ndarray,
    centre_ras_mm: tuple[float, float, float] | None = None,
    largest_mm3: float = math.inf,
) -> Growth:
    """Draw an infiltrative shape that starts at a voxel of `prior`, unless the centre is given."""
    volume = min(draw_volume_mm3(rng, preset), largest_mm3)
    radius = radius_mm(volume)
    drawn = tissue.grid.to_ras(drawn_voxel(rng, running_total(prior)))
    centre = drawn if centre_ras_mm is None else np.asarray(centre_ras_mm, float)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    elongation = rng.uniform(*GLIOMA.elongation) * radius
    lobes = [
        axis * rng.uniform(-1, 1) * elongation + rng.normal(0, 0.25 * radius, 3)
        for _ in range(int(rng.integers(GLIOMA.lobes[0], GLIOMA.lobes[1] + 1)) - 1)
    ]
    margin = GLIOMA.circumscribed if rng.random() < GLIOMA.circumscribed_probability else GLIOMA.infiltrative
    mass_fraction, lean = 0.0, np.zeros(3)
    if preset.mass_probability and rng.random() < preset.mass_probability:
        mass_fraction = float(rng.uniform(*GLIOMA.mass_fraction))
        lean = rng.normal(size=3)
        lean *= rng.uniform(*GLIOMA.mass_lean) / np.linalg.norm(lean)
    return Growth(
        kind="infiltrative",
        volume_mm3=volume,
        centre_ras_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        lobes_mm=tuple(float(x) for lobe in lobes for x in lobe),
        cortex_speed=float(rng.uniform(*margin.cortex_speed)),
        csf_speed=float(rng.uniform(*margin.csf_speed)),
        roughness=float(rng.uniform(*margin.roughness)),
        noise_mm=float(rng.uniform(*GLIOMA.noise_radii)) * max(radius, 8.0),
        noise_offset=int(rng.integers(NOISE_OFFSETS)),
        mass_fraction=mass_fraction,
        lean_ras=(float(lean[0]), float(lean[1]), float(lean[2])),
    )


def grow(growth: Growth, tissue: Tissue, margin_mm: float) -> Border | None:
    """The border of a tumour in mm of white matter, or in straight ones if it has a mass.

    Further away than `margin_mm` it is a rough guess. None if no seed lies in tissue.
    """
    spacing = tissue.spacing_mm
    lobes = np.reshape((0.0, 0.0, 0.0, *growth.lobes_mm), (-1, 3))
    if growth.mass_fraction:
        lobes *= growth.mass_fraction ** (1 / 3)
    points = np.array(growth.centre_ras_mm) + lobes
    seeds = np.rint(tissue.grid.to_index(points)).astype(int)
    seeds = seeds[np.all((seeds >= 0) & (seeds < tissue.grid.shape), axis=1)]
    seeds = seeds[(tissue.brain & ~tissue.ventricle)[tuple(seeds.T)]]
    if not len(seeds):
        return None
    reach_mm = 1.7 * radius_mm(growth.volume_mm3) + 12
    reach = np.ceil(reach_mm / spacing).astype(int)
    box = box_around(seeds.min(axis=0) - reach, seeds.max(axis=0) + reach, tissue.grid)
    low = np.array([s.start for s in box])
    away_mm = _distance_mm(seeds, tissue, box)
    brain = tissue.brain[box] & (away_mm < reach_mm)
    matter, cortex = tissue.matter[box][brain], tissue.cortex[box][brain]
    speed = (matter + (1 - matter) * growth.csf_speed) * (1 - (1 - growth.cortex_speed) * cortex)
    ventricle = tissue.ventricle[box]
    speed[ventricle[brain]] = _VENTRICLE_SPEED
    noise = noise_in(box, tissue, growth.centre_ras_mm, growth.noise_mm, growth.noise_offset, 2, brain)
    speed *= np.exp(2 * growth.roughness * noise[brain])
    count = max(round(growth.volume_mm3 / 1000 / tissue.grid.voxel_ml), 1)
    away_mm = away_mm[brain]
    starts, mass_mm = seeds - low, None
    if growth.mass_fraction:
        # It displaces tissue of any kind; only what bounds it makes it rough.
        spread = np.exp(_MASS_ROUGHNESS * growth.roughness * noise[brain])
        spread[ventricle[brain]] = _VENTRICLE_SPEED
        part = max(round(growth.mass_fraction * count), 1)
        beyond = _beyond_mm(spread, brain, starts, part, away_mm, margin_mm, spacing)
        if beyond is None:
            return None
        mass = beyond < 0
        mass_mm = _signed_distance_mm(mass, spacing)
        starts = np.argwhere(mass)  # all of it: a front from its surface would be late in its middle
        towards = tissue.points_ras(box)[brain] - growth.centre_ras_mm
        towards /= np.maximum(np.linalg.norm(towards, axis=-1, keepdims=True), 1e-6)
        speed *= np.exp(towards @ growth.lean_ras)
    border_mm = _beyond_mm(speed, brain, starts, count, away_mm, margin_mm, spacing)
    if border_mm is None:
        return None
    if mass_mm is not None:  # without oedema its border is steep in time, and would be in steps
        border_mm = _signed_distance_mm((border_mm < 0) | (mass_mm < 0), spacing)
        border_mm[~brain] = _FAR_MM
    _soften(border_mm, brain & ~ventricle, margin_mm, tissue.grid)
    return Border(box, border_mm, mass_mm)


def _beyond_mm(
    speed: np.ndarray,
    brain: np.ndarray,
    starts: np.ndarray,
    count: int,
    away_mm: np.ndarray,
    margin_mm: float,
    spacing_mm: np.ndarray,
) -> np.ndarray | None:
    """How much later than the first `count` voxels of `brain` a front from `starts` (n, 3) is anywhere."""
    front = np.zeros(brain.shape, np.float32)
    front[brain] = speed
    image = sitk.GetImageFromArray(front.transpose(2, 1, 0))
    image.SetSpacing(spacing_mm.tolist())
    # No further than it must: at its mean speed the front would fill the nearest voxels in this time.
    nearest = np.argpartition(away_mm, min(count, len(away_mm) - 1))[:count]
    full = float(away_mm[nearest].max() / speed[nearest].mean())
    for stop in (1.1 * full + margin_mm, 1.5 * full + margin_mm, _NEVER):
        arrival = sitk.FastMarching(image, trialPoints=starts.tolist(), stoppingValue=stop)
        time = sitk.GetArrayFromImage(arrival).transpose(2, 1, 0)
        reached = np.sort(time[brain & (time < stop)])
        if len(reached) > count and reached[count] + margin_mm < stop:
            break
    if len(reached) < 2:
        return None
    border = reached[min(count, len(reached) - 1)]
    return np.where(brain, np.minimum(time - border, _FAR_MM), _FAR_MM).astype(np.float32)


def _signed_distance_mm(inside: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """To the border of `inside` (bool), negative inside, at most `_FAR_MM`; nothing beyond the array is."""
    inner = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    half = spacing_mm.min() / 2  # the border runs between voxels
    return np.where(inside, half - inner, np.minimum(outer - half, _FAR_MM)).astype(np.float32)


def _soften(border_mm: np.ndarray, known: np.ndarray, margin_mm: float, grid: Grid) -> None:
    """Smooth what is up to `margin_mm` outside a border, in place, among `known` voxels; the volume stays.

    Next to those it goes on for two voxels, so that neither surface nor ventricle ends a tumour before its
    own voxels do.
    """
    near = known & (border_mm < margin_mm)
    part = grown(bounding_box(near), 2 * float(grid.spacing_mm.max()), Grid(border_mm.shape, grid.affine))
    old, here = np.minimum(border_mm[part], margin_mm), known[part]
    total, share = (
        ndimage.gaussian_filter(values, _SOFT_MM / grid.spacing_mm, mode="constant", truncate=2)
        for values in (np.where(here, old, 0), here.astype(np.float32))
    )
    soft = np.where(share > 0, total / np.maximum(share, 1e-6), margin_mm)
    count = min(int(np.count_nonzero(old[here] < 0)), int(np.count_nonzero(here)) - 1)
    border_mm[part] = soft - np.partition(soft[here], count)[count]


def _distance_mm(seeds: np.ndarray, tissue: Tissue, box: Box) -> np.ndarray:
    """From each voxel of the coarse `box` to the nearest of `seeds` (n, 3), coarse indices."""
    nearest = np.full([s.stop - s.start for s in box], np.inf, np.float32)
    for seed in seeds:
        along = (
            s * (np.arange(b.start, b.stop) - c) for b, c, s in zip(box, seed, tissue.spacing_mm, strict=True)
        )
        i, j, k = (np.square(a).astype(np.float32) for a in along)
        np.minimum(nearest, i[:, None, None] + (j[:, None] + k), out=nearest)
    return np.sqrt(nearest)


def grow_shape(shape: TumourShape, tissue: Tissue, engine: str) -> Border | None:
    """As `grow`, for a shape that does not heed tissue: signed distance (mm) to its border."""
    hit = rasterise(shape, tissue.brain & ~tissue.ventricle, tissue.grid, engine)
    if hit is None:
        return None
    box = grown(hit[0], 12.0, tissue.grid)
    inside = np.zeros([s.stop - s.start for s in box], bool)
    inside[relative(hit[0], box)] = hit[1]
    return Border(box, _signed_distance_mm(inside, tissue.spacing_mm))


def draw_volume_mm3(rng: np.random.Generator, preset: Preset) -> float:
    """From the preset's list, or log-uniform over its range."""
    if preset.volumes_mm3:
        return float(rng.choice(preset.volumes_mm3))
    return math.exp(float(rng.uniform(math.log(preset.min_volume_mm3), math.log(preset.max_volume_mm3))))


def radius_mm(volume_mm3: float) -> float:
    """Of the ball of this volume."""
    return (3 * volume_mm3 / (4 * math.pi)) ** (1 / 3)


def noise_at(points_mm: np.ndarray, length_mm: float, offset: int, octaves: int) -> np.ndarray:
    """Simplex noise, about -1 to 1, at points (..., 3) in mm; `length_mm` is the size of its features."""
    points = points_mm.reshape(-1, 3) / length_mm + 0.37 * offset
    return simplex_noise(points, octaves).reshape(points_mm.shape[:-1])


def noise_in(
    box: Box,
    tissue: Tissue,
    origin_ras_mm: tuple[float, float, float],
    length_mm: float,
    offset: int,
    octaves: int,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    """`noise_at` the voxels of a coarse `box` (those `wanted`, bool, at least) from an origin; float32.

    Each octave is computed at six points along the length of its features, where voxels lie closer than that,
    and interpolated.
    """
    total = np.zeros([s.stop - s.start for s in box], np.float32)
    origin = tissue.grid.to_index(np.array(origin_ras_mm))
    for octave in range(octaves):
        length, height = length_mm / 2**octave, np.float32(0.5**octave)
        steps = np.maximum(length / (6 * tissue.spacing_mm), 1).astype(int)
        sides = [
            (np.arange(b.start, b.stop + step - 1, step)[:, None] - o) * column
            for b, step, o, column in zip(box, steps, origin, tissue.grid.affine[:3, :3].T, strict=True)
        ]
        i, j, k = (side.astype(np.float32).T for side in sides)
        away = i[:, :, None, None] + (j[:, :, None] + k[:, None])[:, None]  # mm (3, i, j, k)
        if steps.max() == 1 and wanted is not None:
            total[wanted] += height * noise_at(away[:, wanted].T, length, 2**octave * offset, 1)
            continue
        values = noise_at(away.reshape(3, -1).T, length, 2**octave * offset, 1).reshape(away.shape[1:])
        if steps.max() > 1:
            values = interpolated(values, [np.arange(n) / s for n, s in zip(total.shape, steps, strict=True)])
        total += height * values
    return total / np.float32(2 - 0.5 ** (octaves - 1))
