"""Brain masks: read and checked, or the region of a scan that is skull-stripped already."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

# A whole head is never this small, a brain never this large.
LARGEST_BRAIN_ML = 2300.0
LEAST_BACKGROUND = 0.15


def prepare_brain(scan: Volume, scan_path: Path, mask_path: Path | None) -> Volume:
    """The brain mask (uint8 {0, 1}) read from `mask_path` or, without one, of a skull-stripped scan.

    Raises InputError for a mask that is empty or on another grid, and for a scan with its skull.
    """
    if mask_path is None:
        brain = region_of_stripped_scan(scan)
        if brain is None:
            raise InputError(
                f"{scan_path}: no brain mask beside it (<name>_brainmask.nii.gz) and not skull-stripped; "
                "make a mask (HD-BET, SynthStrip) and put it there, give it with the option for masks, or "
                "let --brain-mask hdbet make it"
            )
        return scan.with_array(brain)
    mask = read_volume(mask_path)
    if differences := mask.grid.differences(scan.grid):
        raise InputError(
            f"{mask_path}: on another grid than {scan_path}: {differences} (in RAS order); resample the mask "
            "to the scan's grid"
        )
    brain = mask.array > 0
    if not brain.any():
        raise InputError(f"{mask_path}: the brain mask is empty; make another one (HD-BET, SynthStrip)")
    if not np.array_equal(brain, mask.array):
        warnings.warn(f"{mask_path}: values other than 0 and 1; all above 0 count as brain", stacklevel=2)
    return scan.with_array(brain)


def skull_stripped(scan: Volume, brain_mask: Volume) -> Volume:
    """`scan` with zero outside the brain; InputError if the mask is on another grid."""
    if differences := scan.grid.differences(brain_mask.grid):
        raise InputError(f"on another grid than the brain mask: {differences} (in RAS order); resample it")
    return scan.with_array(np.where(brain_mask.array > 0, scan.array, scan.array.dtype.type(0)))


def region_of_stripped_scan(scan: Volume) -> np.ndarray | None:
    """The brain (bool) of a skull-stripped scan: the solid region that is not exactly background.

    None if that is no brain.
    """
    array = scan.array
    corners = array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1].ravel()
    background = corners[0]
    foreground = array != background
    if np.any(corners != background) or foreground.mean() > 1 - LEAST_BACKGROUND:
        return None
    # sitk's fill is many times faster than scipy's here
    image = sitk.GetImageFromArray(foreground.astype(np.uint8))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    region = sitk.GetArrayFromImage(sitk.BinaryFillhole(largest)).astype(bool)
    volume_ml = region.sum() * scan.grid.voxel_ml
    return region if 0 < volume_ml <= LARGEST_BRAIN_ML else None


def usable_brain(scan: Volume, brain_mask: Volume) -> np.ndarray:
    """The brain (bool) of a mask; InputError for another grid, no brain, or NaN in the scan inside it."""
    brain = brain_mask.array > 0
    if differences := brain_mask.grid.differences(scan.grid):
        raise InputError(f"the brain mask is on another grid than the scan: {differences}")
    if not brain.any():
        raise InputError("the brain mask is empty")
    # all voxels first: quick, and mostly enough
    suspect = scan.array.dtype.kind == "f" and not np.isfinite(scan.array).all()
    if suspect and not np.isfinite(scan.array[brain]).all():
        raise InputError("the scan has NaN or infinite voxels inside the brain; clean or convert it first")
    return brain
