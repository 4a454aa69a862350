"""The bias field in nnU-Net's augmentation, with real nnU-Net v2's transforms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

pytestmark = pytest.mark.nnunet


def test_half_of_the_patches_get_one() -> None:
    """A flat head in a black surrounding: nnU-Net itself leaves it flat, but for noise."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from synthtumour.bias_field import with_bias_field

    radius = np.sqrt((((np.indices((40, 40, 40)) + 0.5) / 20 - 1) ** 2).sum(axis=0))
    surroundings, inside = radius > 0.9, radius < 0.5
    uneven = []
    for changed in (lambda transforms: transforms, with_bias_field):
        transforms = changed(
            nnUNetTrainer.get_training_transforms((40, 40, 40), 0.0, None, (0, 1, 2), False, [True])
        )
        np.random.seed(0)
        torch.manual_seed(0)
        ranges = []
        for _ in range(80):
            marked = torch.from_numpy(np.where(surroundings, -1, 0)[None].astype(np.int16))
            out = transforms(image=torch.ones(1, 40, 40, 40), segmentation=marked)
            assert not out["segmentation"].any()
            values = out["image"][0].numpy()
            assert not values[radius > 1.4].any()
            ranges.append(np.ptp(gaussian_filter(values, 3)[inside]))
        uneven.append(sum(size > 0.25 for size in ranges))
    assert uneven[0] == 0 and 20 <= uneven[1] <= 60
