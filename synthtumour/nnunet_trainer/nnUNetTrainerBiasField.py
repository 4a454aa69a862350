"""A trainer for nnU-Net v2, which finds it by name in the folder that nnUNet_extTrainer names."""

import sys
from pathlib import Path

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:  # for good: nnU-Net's workers need the package too
    sys.path.append(ROOT)

from synthtumour.bias_field import with_bias_field  # noqa: E402


class nnUNetTrainerBiasField(nnUNetTrainer):
    """As nnU-Net's own, but every other patch is brighter or darker on one side, as coils make scans.

    For datasets of z-scored channels, nnU-Net's way with MR.
    """

    @staticmethod
    def get_training_transforms(*args, **kwargs):
        return with_bias_field(nnUNetTrainer.get_training_transforms(*args, **kwargs))
