"""A bias field in nnU-Net's augmentation.

Outside of nnunet_trainer/, whose modules nnU-Net forgets again: workers could not unpickle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from batchgeneratorsv2.transforms.local.brightness_gradient import BrightnessGradientAdditiveTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform


def with_bias_field(composed: Any) -> Any:
    """nnU-Net's training transforms with one more: half of the patches get a smooth gradient.

    It adds at most 1.5 to a voxel, in standard deviations of the z-scored brain.
    """
    gradient = BrightnessGradientAdditiveTransform(scale=_spread, loc=(-0.2, 1.2), max_strength=(-1.5, 1.5))
    # before what makes the surroundings black again
    last = MaskImageTransform, RemoveLabelTansform
    at = next(n for n, made in enumerate(composed.transforms) if isinstance(made, last))
    composed.transforms.insert(at, RandomTransform(gradient, apply_probability=0.5))
    return composed


def _spread(shape: Sequence[int], axis: int) -> float:
    """Standard deviation of the bright or dark place along an axis, in voxels."""
    return float(np.random.uniform(0.3, 0.8)) * shape[axis]
