"""Donors and recipients in memory, mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.presets import GateLimits, Mixing
from synthtumour.stage2.mix import Mixed, mix
from synthtumour.stage2.placement import Variation, place
from synthtumour.stage2.pseudo_labels import Donor, Head, checked_donor
from synthtumour.volume.volume import Volume
from tests.conftest import head_image, with_tumour

UNMIRRORED = Variation(False, None, (0.0, 0.0, 0.0))


RECIPIENTS: dict[str, dict[str, Any]] = {
    "fine RAS": {"size_mm": (132.0, 147.0, 115.5), "spacing": (1.2, 1.05, 1.05), "orientation": "RAS"},
    "2 mm PIR": {"size_mm": (110.0, 130.0, 100.0), "spacing": (2.0, 2.0, 2.0), "orientation": "PIR"},
    "thick oblique": {"size_mm": (126.0, 150.3, 112.0), "spacing": (0.9, 0.9, 4.0), "oblique_deg": 14.0},
}


def head_of(orientation: str = "LPS", **how: Any) -> Head:
    image, brain = (sitk.DICOMOrient(i, orientation) for i in head_image(**how))
    return Head((Volume.from_image(image),), Volume.from_image(brain).array > 0)


def donor_of(
    orientation: str = "LPS", limits: GateLimits | None = None, seed: int = 7, **tumour: Any
) -> Donor:
    plain, brain = head_image(spacing=(1.5, 1.5, 1.5), seed=seed)
    image, label = with_tumour(plain, **tumour)
    volumes = [Volume.from_image(sitk.DICOMOrient(i, orientation)) for i in (image, label, brain)]
    return checked_donor(
        Head((volumes[0],), volumes[2].array > 0), volumes[1], limits or GateLimits(refinement=None)
    )


def mixed_of(donor: Donor, recipient: Head, variation: Variation = UNMIRRORED, **settings: Any) -> Mixed:
    return mix(donor, recipient, place(donor, recipient, Mixing(**settings), variation))


def contrast_by_hand(array: np.ndarray, label: np.ndarray, brain: np.ndarray, spacing: np.ndarray) -> float:
    distance = ndimage.distance_transform_edt(~label, sampling=spacing)
    rim = (distance > 0) & (distance <= 5) & brain
    return float(array[label].mean() / array[rim].mean())


def centre_of(label: np.ndarray, grid: Any) -> np.ndarray:
    return grid.to_ras(np.argwhere(label).mean(axis=0))
