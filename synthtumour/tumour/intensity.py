"""Intensity models: the training task and, shifted away from it, the validation task.

Source: Zhang et al., Medical Image Analysis 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthtumour.presets import Preset
from synthtumour.tumour.blending import blend

_RING_INSIDE = 0.6  # of the scan


@dataclass(frozen=True)
class Hyperintensity:
    """How bright one tumour is: multiples of the scan's intensity, blurred in the training task."""

    factor: float
    core_factor: float | None


def draw_hyperintensity(rng: np.random.Generator, preset: Preset) -> Hyperintensity:
    """Draw the factor and, with the preset's core probability, that of a core."""
    factor = float(rng.uniform(*preset.intensity_range))
    has_core = rng.random() < preset.core_probability
    core_factor = float(rng.uniform(*preset.core_intensity_range))
    return Hyperintensity(factor, core_factor if has_core else None)


def training_task(
    scan: np.ndarray,
    blurred: np.ndarray,
    soft: np.ndarray,
    soft_core: np.ndarray | None,
    intensity: Hyperintensity,
) -> np.ndarray:
    """The blurred scan, brightened, over the scan through the buffer layer `soft`; then the core.

    All arrays share one shape; `soft` and `soft_core` are weights in [0, 1].
    """
    image = blend(scan, intensity.factor * blurred, soft)
    if soft_core is not None and intensity.core_factor is not None:
        image = blend(image, intensity.core_factor * blurred, soft_core)
    return image


def validation_task(
    scan: np.ndarray,
    mask: np.ndarray,
    core: np.ndarray | None,
    intensity: Hyperintensity,
    rule: str = "scaled",
) -> np.ndarray:
    """A tumour by another rule than any training task's, in the hard bool `mask` (and `core`).

    'scaled' (the paper's): the scan itself, brightened, so that its own texture survives. 'flat': one
    intensity for the tumour and one for the core, no texture at all. 'rings': a bright shell about an inside
    that is darker than the scan.
    """
    if rule == "rings":
        factor = np.where(_inner_part(mask), _RING_INSIDE, intensity.factor)
        return np.where(mask, factor * scan, scan)
    below = np.full_like(scan, scan[mask].mean()) if rule == "flat" and mask.any() else scan
    image = np.where(mask, intensity.factor * below, scan)
    if core is not None and intensity.core_factor is not None:
        image = np.where(core, intensity.core_factor * (below if rule == "flat" else image), image)
    return image


def _inner_part(mask: np.ndarray) -> np.ndarray:
    """The deeper half of a mask's voxels, by distance to its border in voxels."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    return mask & (depth > np.median(depth[mask])) if mask.any() else mask
