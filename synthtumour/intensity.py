"""Intensity models: the training task and, shifted away from it, the validation task.

Source: Zhang et al., Medical Image Analysis 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthtumour.blending import blend
from synthtumour.presets import Preset

TASKS = ("train", "val")


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
    scan: np.ndarray, mask: np.ndarray, core: np.ndarray | None, intensity: Hyperintensity
) -> np.ndarray:
    """The scan itself, brightened inside the hard bool `mask`: its own texture survives."""
    image = np.where(mask, intensity.factor * scan, scan)
    if core is not None and intensity.core_factor is not None:
        image = np.where(core, intensity.core_factor * image, image)
    return image
