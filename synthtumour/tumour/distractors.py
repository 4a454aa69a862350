"""Distractors: what is bright or uneven in a scan and is no tumour, so that networks learn to leave it alone.

Small hyperintensities near the ventricles and in white matter (often on both sides), a patch of bright
cortex, bias, a brighter or darker surface, an uneven slice, other contrast. None of it is labelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from synthtumour.presets import GLIOMA
from synthtumour.tumour.appearance import ramp
from synthtumour.tumour.growth import NOISE_OFFSETS, noise_at, noise_in
from synthtumour.tumour.placing import drawn_voxel, running_total
from synthtumour.tumour.tissue import Tissue
from synthtumour.volume.grid import box_around


@dataclass(frozen=True)
class Spot:
    """A small hyperintensity; `factor` multiplies the scan."""

    centre_ras_mm: tuple[float, float, float]
    radius_mm: float
    factor: float
    noise_offset: int


@dataclass(frozen=True)
class Caps:
    """Patchy brightness along the ventricles' walls, as in older brains."""

    width_mm: float
    factor: float
    noise_mm: float
    noise_offset: int


@dataclass(frozen=True)
class BrightCortex:
    """A patch of cortex that is brighter than the rest."""

    centre_ras_mm: tuple[float, float, float]
    radius_mm: float
    factor: float


@dataclass(frozen=True)
class UnevenSlice:
    """Axial slices about one height that are too bright or too dark."""

    superior_mm: float
    width_mm: float
    factor: float


@dataclass(frozen=True)
class Distractors:
    """Everything that is changed in a scan beside its tumours; the defaults change nothing."""

    dark_contrast: float = 1.0  # of what is darker than the median
    bright_contrast: float = 1.0
    bias: float = 0.0
    bias_mm: float = 100.0
    bias_offset: int = 0
    surface: float = 0.0  # relative brightness added at the brain's surface
    spots: tuple[Spot, ...] = ()
    caps: Caps | None = None
    cortex: BrightCortex | None = None
    uneven_slice: UnevenSlice | None = None


def draw_distractors(rng: np.random.Generator, tissue: Tissue) -> Distractors:
    """Draw each kind with its own probability."""
    changes: dict[str, object] = {}
    if rng.random() < GLIOMA.contrast_probability:
        changes["dark_contrast"] = float(rng.uniform(*GLIOMA.dark_contrast))
        changes["bright_contrast"] = float(rng.uniform(*GLIOMA.bright_contrast))
    if rng.random() < GLIOMA.bias_probability:
        changes["bias"] = float(rng.uniform(*GLIOMA.bias))
        changes["bias_mm"] = float(rng.uniform(*GLIOMA.bias_mm))
        changes["bias_offset"] = int(rng.integers(NOISE_OFFSETS))
    if rng.random() < GLIOMA.surface_probability:
        changes["surface"] = float(rng.uniform(*GLIOMA.surface))
    if rng.random() < GLIOMA.spots_probability:
        changes["spots"] = _draw_spots(rng, tissue)
    if rng.random() < GLIOMA.caps_probability:
        width, noise_mm = (float(rng.uniform(*r)) for r in (GLIOMA.caps_mm, GLIOMA.caps_noise_mm))
        factor = _factor(rng, GLIOMA.caps_lift, tissue)
        changes["caps"] = Caps(width, factor, noise_mm, int(rng.integers(NOISE_OFFSETS)))
    if rng.random() < GLIOMA.cortex_probability and (weights := tissue.cortex * tissue.matter).any():
        x, y, z = (float(c) for c in tissue.grid.to_ras(drawn_voxel(rng, running_total(weights))))
        radius, factor = rng.uniform(*GLIOMA.cortex_radius_mm), rng.uniform(*GLIOMA.cortex_factor)
        changes["cortex"] = BrightCortex((x, y, z), float(radius), float(factor))
    if rng.random() < GLIOMA.slice_probability:
        superior = float(tissue.grid.to_ras(drawn_voxel(rng, running_total(tissue.brain)))[2])
        width, factor = rng.uniform(*GLIOMA.slice_width_mm), rng.uniform(*GLIOMA.slice_factor)
        changes["uneven_slice"] = UnevenSlice(superior, float(width), float(factor))
    return replace(Distractors(), **changes)  # type: ignore[arg-type]


def disturb(
    distractors: Distractors, scan: np.ndarray, brain: np.ndarray, tissue: Tissue
) -> tuple[np.ndarray, Tissue]:
    """`scan` (float32) with the distractors inside `brain`, and the tissue maps that go with it."""
    d, whole = distractors, tissue.whole()
    bias = np.ones(tissue.grid.shape, np.float32)
    if d.bias:
        bias *= np.exp(d.bias * noise_in(whole, tissue, (0.0, 0.0, 0.0), d.bias_mm, d.bias_offset, 1))
    if d.surface:
        bias *= 1 + d.surface * np.exp(-tissue.depth_mm / GLIOMA.surface_mm)
    field = bias.copy()
    for spot in d.spots:
        _add_spot(field, spot, tissue)
    if d.caps:
        far = tissue.from_ventricles_mm / d.caps.width_mm
        near = (far < 3) & tissue.brain
        points = tissue.grid.to_ras(np.argwhere(near))
        patchy = np.clip(0.6 + noise_at(points, d.caps.noise_mm, d.caps.noise_offset, 2), 0, 1)
        field[near] *= 1 + (d.caps.factor - 1) * patchy * np.exp(-0.5 * far[near] ** 2) * tissue.matter[near]
    if d.cortex:
        near = _gaussian(tissue, d.cortex.centre_ras_mm, d.cortex.radius_mm)
        field *= 1 + (d.cortex.factor - 1) * tissue.cortex * tissue.matter * near
    if d.uneven_slice:
        superior = tissue.points_ras(whole)[..., 2]
        away = (superior - d.uneven_slice.superior_mm) / d.uneven_slice.width_mm
        field *= 1 + (d.uneven_slice.factor - 1) * np.exp(-0.5 * away**2)
    fine = tissue.fine_box(whole, scan.shape)
    out = scan.astype(np.float32)
    median, contrasts = np.float32(tissue.median), (d.dark_contrast, d.bright_contrast)
    for here, part in tissue.refined_slices(field, fine):
        if contrasts == (1, 1):
            part = part * out[here]
        else:
            above = out[here] - median
            above *= np.where(above < 0, *map(np.float32, contrasts))
            part = part * (above + median)
        np.copyto(out[here], np.maximum(part, 0), where=brain[here])
    return out, replace(tissue, level=tissue.level * bias)


def _draw_spots(rng: np.random.Generator, tissue: Tissue) -> tuple[Spot, ...]:
    far = tissue.from_ventricles_mm
    weights = (tissue.matter > 0.9) * (tissue.depth_mm > 8) * (1 - tissue.cortex) * (np.exp(-far / 6) + 0.02)
    if not weights.any():
        return ()
    total = running_total(weights)
    middle = float(tissue.grid.to_ras(np.array(ndimage.center_of_mass(tissue.brain)))[0])
    spots = []
    for _ in range(int(rng.integers(GLIOMA.spots[0], GLIOMA.spots[1] + 1))):
        x, y, z = (float(c) for c in tissue.grid.to_ras(drawn_voxel(rng, total)))
        low, high = GLIOMA.spot_radius_mm
        radius = math.exp(float(rng.uniform(math.log(low), math.log(high))))
        factor = _factor(rng, GLIOMA.spot_lift, tissue)
        spots.append(Spot((x, y, z), radius, factor, int(rng.integers(NOISE_OFFSETS))))
        if rng.random() < GLIOMA.spot_pair_probability:
            dx, dy, dz = (float(c) for c in rng.normal(0, 2, 3))
            radius, factor = radius * float(rng.uniform(0.7, 1.3)), factor * float(rng.uniform(0.9, 1.1))
            mirrored = (2 * middle - x + dx, y + dy, z + dz)
            spots.append(Spot(mirrored, radius, factor, int(rng.integers(NOISE_OFFSETS))))
    return tuple(spots)


def _gaussian(tissue: Tissue, centre_ras_mm: tuple[float, float, float], sigma_mm: float) -> np.ndarray:
    """1 at the centre, on the coarse grid."""
    centre = tissue.grid.to_index(np.array(centre_ras_mm))
    i, j, k = (
        np.exp(-0.5 * ((np.arange(n) - c) * s / sigma_mm) ** 2).astype(np.float32)
        for n, c, s in zip(tissue.grid.shape, centre, tissue.spacing_mm, strict=True)
    )
    return i[:, None, None] * (j[:, None] * k)


def _factor(rng: np.random.Generator, lift: tuple[float, float], tissue: Tissue) -> float:
    """Brightness, as a multiple of the scan, drawn in the units of tumours: robust standard deviations."""
    return 1 + float(rng.uniform(*lift)) * tissue.spread / tissue.median


def _add_spot(field: np.ndarray, spot: Spot, tissue: Tissue) -> None:
    centre = np.rint(tissue.grid.to_index(np.array(spot.centre_ras_mm))).astype(int)
    reach = np.ceil((3 * spot.radius_mm + 4) / tissue.spacing_mm).astype(int)
    box = box_around(centre - reach, centre + reach, tissue.grid)
    if 0 in field[box].shape:
        return
    away = tissue.points_ras(box) - spot.centre_ras_mm
    bumps = noise_at(away, max(spot.radius_mm, 3.0), spot.noise_offset, 2)
    distance = np.linalg.norm(away, axis=-1) * np.exp(0.8 * bumps)
    weight = ramp(distance - spot.radius_mm, 1.5 + 0.3 * spot.radius_mm)
    field[box] *= 1 + (spot.factor - 1) * weight * tissue.matter[box] * (1 - 0.8 * tissue.cortex[box])
