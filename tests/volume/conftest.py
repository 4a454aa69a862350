"""A whole NIfTI file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture
def nifti(tmp_path: Path) -> bytes:
    """A whole uncompressed NIfTI file of 6 x 5 x 4 int16 voxels."""
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    sitk.WriteImage(image, str(tmp_path / "whole.nii"))
    return (tmp_path / "whole.nii").read_bytes()
