"""How a grown tumour looks: graded oedema, a core of several kinds, texture, the scan's own grain.

Intensities are multiples of the tissue level around (`Tissue.level`), so that the scan's bias goes through
the tumour, and what the scan shows beside that level (noise, some anatomy) is kept on top of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from synthtumour.presets import GLIOMA, Preset
from synthtumour.tumour.growth import NOISE_OFFSETS, Border, noise_in, radius_mm
from synthtumour.tumour.tissue import Tissue
from synthtumour.volume.grid import Box

NECROTIC, OEDEMA, ENHANCING = 1, 2, 3  # the label values of BraTS
_RIM_EDGE_MM = 1.5
_ROUND_CORE_MM = 2.0
_SOFT_CORE_MM = 1.5  # sigma; the walls are as ragged as the coarse grid
_LARGEST_RESIDUE = 0.25  # of the median: what the scan's own detail comes up to, the deepest sulcus included


@dataclass(frozen=True)
class Core:
    """What lies inside the oedema; `level` and `rim_level` are multiples of the tissue level."""

    kind: str  # the name of one of `GLIOMA.cores` or `GLIOMA.masses`
    centre_ras_mm: tuple[float, float, float]
    fraction: float  # of the whole tumour's volume
    level: float
    texture: float
    edge_mm: float
    rim_mm: float  # 0: no rim
    rim_level: float
    enhancing: bool
    roughness: float
    noise_offset: int


@dataclass(frozen=True)
class Appearance:
    """Oedema; `factor` is its brightness as a multiple of the tissue level."""

    factor: float
    edge_mm: float
    falloff: float  # part of the contrast that is lost from the middle to the margin
    texture: float
    texture_mm: float
    grain: float  # how much of the scan's own detail is kept
    noise_offset: int


@dataclass(frozen=True, eq=False)
class Painted:
    """A tumour on the coarse box, in scan intensities; without a core the last two are None."""

    level: np.ndarray  # of its oedema
    core_level: np.ndarray | None
    core_mm: np.ndarray | None  # distance to the core's border, negative inside


def draw_appearance(rng: np.random.Generator, preset: Preset, tissue: Tissue) -> Appearance:
    """Draw oedema: `preset.intensity_range` counts the scan's robust standard deviations above its median."""
    lift = float(rng.uniform(*preset.intensity_range))
    return Appearance(
        factor=1 + lift * tissue.spread / tissue.median,
        edge_mm=_log_uniform(rng, GLIOMA.edge_mm),
        falloff=float(rng.uniform(*GLIOMA.falloff)),
        texture=preset.texture * float(rng.uniform(*GLIOMA.texture)),
        texture_mm=float(rng.uniform(*GLIOMA.texture_mm)),
        grain=float(rng.uniform(*GLIOMA.grain)),
        noise_offset=int(rng.integers(NOISE_OFFSETS)),
    )


def draw_core(
    rng: np.random.Generator,
    preset: Preset,
    appearance: Appearance,
    centre_ras_mm: tuple[float, float, float],
    volume_mm3: float,
    mass_fraction: float = 0.0,
) -> Core | None:
    """Draw a core of a tumour of `volume_mm3` about `centre_ras_mm`, with the preset's probability.

    That of a tumour with a mass, which always has one, is the mass.
    """
    if rng.random() >= preset.core_probability and not mass_fraction:
        return None
    kinds = GLIOMA.masses if mass_fraction else GLIOMA.cores
    chances = np.array([kind.share for kind in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=chances / chances.sum()))]
    spread = GLIOMA.core_offset * radius_mm(volume_mm3)
    shift = rng.normal(0, spread, 3)
    level = float(rng.uniform(*kind.level)) * (appearance.factor if kind.relative else 1)
    ring = rng.random() < kind.ring_probability
    rim_mm, rim = float(rng.uniform(*GLIOMA.rim_mm)), float(rng.uniform(*GLIOMA.rim_level))
    x, y, z = (float(c + s) for c, s in zip(centre_ras_mm, shift, strict=True))
    return Core(
        kind=kind.name,
        centre_ras_mm=(x, y, z),
        fraction=mass_fraction or float(rng.uniform(*GLIOMA.core_fraction)),
        level=level,
        texture=preset.texture * float(rng.uniform(*kind.texture)),
        edge_mm=float(rng.uniform(*kind.edge_mm)),
        rim_mm=rim_mm if ring else 0.0,
        rim_level=rim * appearance.factor,
        enhancing=bool(rng.random() < kind.enhancing_probability),
        roughness=float(rng.uniform(*GLIOMA.core_roughness)),
        noise_offset=int(rng.integers(NOISE_OFFSETS)),
    )


def in_contrast(
    appearance: Appearance, core: Core | None, contrast: str, flair: Tissue, channel: Tissue
) -> tuple[Appearance, Core | None]:
    """How a tumour drawn for FLAIR looks in another `contrast` (t1, t1ce or t2), by its usual signs.

    T2: oedema bright, fluid and necrosis brighter. T1: oedema darker than tissue, fluid and necrosis darker
    still, no rim. T1ce: as T1, but rim and enhancing cores bright.
    """
    lift = (appearance.factor - 1) * flair.median / max(flair.spread, 1e-6)  # robust standard deviations
    unit = channel.spread / channel.median
    oedema = 1 + lift * unit * (1.0 if contrast == "t2" else -0.35)
    appearance = replace(appearance, factor=max(oedema, 0.4))
    if core is None:
        return appearance, None
    fluid = core.kind in ("necrotic", "cyst", "dark")
    if contrast == "t2":
        level, rim = 1 + lift * unit * (1.3 if fluid else 0.9), appearance.factor
    else:
        level, rim = (0.55 if core.kind == "cyst" else 0.7) if fluid else 0.85, appearance.factor
        if contrast == "t1ce":
            rim = 1 + 1.2 * lift * unit
            level = 1 + lift * unit if core.enhancing else level
    return appearance, replace(core, level=level, rim_level=rim)


def paint(
    appearance: Appearance,
    core: Core | None,
    centre_ras_mm: tuple[float, float, float],
    volume_mm3: float,
    border: Border,
    tissue: Tissue,
) -> Painted:
    """Intensities of a tumour with this `border`."""
    box, border_mm, mass_mm = border
    inside = border_mm < 0
    depth = np.clip(border_mm / min(np.percentile(border_mm[inside], 10), -1e-3), 0, 1)
    fine = noise_in(box, tissue, centre_ras_mm, appearance.texture_mm, appearance.noise_offset, 2)
    coarse = noise_in(box, tissue, centre_ras_mm, 4 * appearance.texture_mm, appearance.noise_offset + 1, 1)
    level = 1 + (appearance.factor - 1) * (1 - appearance.falloff * (1 - depth))
    level = level * (1 + appearance.texture * (2 * fine + coarse))
    level *= tissue.level[box]
    if core is None:
        return Painted(level, None, None)
    if mass_mm is not None:
        # Its ring lies inside it, so that it goes all round where there is no oedema.
        core_mm = np.maximum(mass_mm + core.rim_mm, border_mm)
    else:
        core_mm = _core_mm(core, volume_mm3, border_mm, box, tissue)
    core_mm = ndimage.gaussian_filter(core_mm, _SOFT_CORE_MM / tissue.spacing_mm, mode="nearest", truncate=2)
    grain = noise_in(box, tissue, centre_ras_mm, 0.7 * appearance.texture_mm, core.noise_offset + 1, 2)
    core_level = core.level * (1 + 2 * core.texture * grain) * tissue.level[box]
    return Painted(level, core_level, core_mm)


def _core_mm(core: Core, volume_mm3: float, border_mm: np.ndarray, box: Box, tissue: Tissue) -> np.ndarray:
    """How far beyond the border of a core that is no mass each voxel of the coarse `box` is."""
    inside = border_mm < 0
    bumps_mm = max(6.0, volume_mm3 ** (1 / 3) / 3)
    bumps = noise_in(box, tissue, core.centre_ras_mm, bumps_mm, core.noise_offset, 2)
    away = np.linalg.norm(tissue.points_ras(box) - core.centre_ras_mm, axis=-1)
    distance = away * np.exp(core.roughness * bumps)
    core_mm = (distance - np.quantile(distance[inside], core.fraction)).astype(np.float32)
    # An off-centre core ends before tumour and brain do, else it looks like a bite out of them.
    about = min(_ROUND_CORE_MM, -0.25 * float(border_mm.min()))
    solid = np.pad(tissue.brain[box] & ~tissue.ventricle[box], 1)
    wall_mm = ndimage.distance_transform_edt(solid, sampling=tissue.spacing_mm)[1:-1, 1:-1, 1:-1]
    half = tissue.spacing_mm.min() / 2  # a wall runs between voxels
    return np.maximum(core_mm, np.maximum(border_mm, half - wall_mm) + about)


def with_core(
    level: np.ndarray, base: np.ndarray, core: Core, core_mm: np.ndarray, core_level: np.ndarray
) -> np.ndarray:
    """`level` of the oedema with the core and its rim over it; `base` is the tissue's level.

    All are on the scan's own voxels: the edges are sharper than the coarse grid can hold.
    """
    if core.rim_mm:
        level = level + (core.rim_level * base - level) * ramp(core_mm - core.rim_mm, _RIM_EDGE_MM)
    return level + (core_level - level) * ramp(core_mm, core.edge_mm)


def over_scan(
    part: np.ndarray, level: np.ndarray, base: np.ndarray, weight: np.ndarray, grain: float, median: float
) -> np.ndarray:
    """`level` over the scan `part` where `weight` is 1, with the scan's own detail beside `base` on top.

    Detail is fainter the further it is from `base`, so that sulci show and stay bright, and where the tumour
    is dark.
    """
    residue = part - base
    residue /= 1 + np.abs(residue) / (_LARGEST_RESIDUE * median)
    residue *= grain * np.minimum(level / base, 1)
    tumour = np.maximum(level + residue, 0.02 * median)
    return part + weight * (tumour - part)


def subregions(inside: np.ndarray, core_mm: np.ndarray, core: Core | None) -> np.ndarray:
    """BraTS labels (uint8) of a whole tumour `inside` with the distance to its core's border."""
    label = np.where(inside, OEDEMA, 0).astype(np.uint8)
    if core is not None:
        if core.rim_mm:
            label[inside & (core_mm < core.rim_mm)] = ENHANCING
        label[inside & (core_mm < 0)] = ENHANCING if core.enhancing else NECROTIC
    return label


def ramp(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """1 well inside a border (negative distance), 0 well outside, smooth over `width_mm` on either side."""
    share = np.clip(0.5 - distance_mm / (2 * width_mm), 0, 1)
    return share * share * (3 - 2 * share)


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(float(rng.uniform(math.log(bounds[0]), math.log(bounds[1]))))
