"""A trainer for nnU-Net v2, which finds it by name in the folder that nnUNet_extTrainer names."""

from collections.abc import Sequence

import numpy as np
from batchgeneratorsv2.transforms.local.brightness_gradient import BrightnessGradientAdditiveTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def _spread(shape: Sequence[int], axis: int) -> float:
    """Standard deviation of the bright or dark place along an axis, in voxels."""
    return float(np.random.uniform(0.3, 0.8)) * shape[axis]


class nnUNetTrainerBiasField(nnUNetTrainer):
    """As nnU-Net's own, but every other patch is brighter or darker on one side, as coils make scans.

    nnU-Net's augmentation has no bias field. Networks without it mark the bright side of a head.
    """

    @staticmethod
    def get_training_transforms(*args, **kwargs):
        composed = nnUNetTrainer.get_training_transforms(*args, **kwargs)
        gradient = BrightnessGradientAdditiveTransform(
            scale=_spread,
            loc=(-0.2, 1.2),
            max_strength=(-1.5, 1.5),  # standard deviations of the z-scored brain
        )
        # before what makes the surroundings black again
        last = MaskImageTransform, RemoveLabelTansform
        at = next(n for n, made in enumerate(composed.transforms) if isinstance(made, last))
        composed.transforms.insert(at, RandomTransform(gradient, apply_probability=0.5))
        return composed
