"""Brain masks: read and checked, or the region of a scan that is skull-stripped already."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthtumour.brain.measures import thinned
from synthtumour.errors import InputError
from synthtumour.volume.grid import Grid
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume, cure

# A whole head is never this small, a brain never this large.
SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 200.0, 2300.0
LEAST_BACKGROUND = 0.15
_MAKE_ONE = "make another one (HD-BET, SynthStrip)"
_OUTER_MM = 6.0  # of a brain: its rim, for what does not belong there
_BRIGHT = 2.0  # times the median of the brain: orbits, fat and skin on FLAIR
_MOST_BRIGHT = 0.01  # of the rim; HD-BET's masks of twenty heads have 0.002 at most


def prepare_brain(scan: Volume, scan_path: Path, mask_path: Path | None, any_volume: bool = False) -> Volume:
    """The brain mask (uint8 {0, 1}) read from `mask_path` or, without one, of a skull-stripped scan.

    Raises InputError for a mask that is empty, on another grid or, unless `any_volume`, not of a brain's
    size, and for a scan with its skull.
    """
    if mask_path is None:
        brain = region_of_stripped_scan(scan)
        if brain is None:
            raise InputError(
                f"{scan_path}: no brain mask beside it (<name>_brainmask.nii.gz) and not skull-stripped "
                f"({_why_not_stripped(scan)}); make a mask (HD-BET, SynthStrip) and put it there, give it "
                "with the option for masks, or let --brain-mask hdbet make it"
            )
        _check_volume(brain, scan, scan_path, any_volume)
        return scan.with_array(brain)
    mask = read_volume(mask_path)
    if differences := mask.grid.differences(scan.grid):
        remedy = cure((mask, "the mask"), (scan, "the scan"), "resample the mask to the scan's grid")
        raise InputError(
            f"{mask_path}: on another grid than {scan_path}: {differences} (in RAS order); {remedy}"
        )
    brain = _brain_in(mask.array, mask_path)
    if not brain.any():
        raise InputError(f"{mask_path}: the brain mask is empty; {_MAKE_ONE}")
    _check_volume(brain, scan, mask_path, any_volume)
    return scan.with_array(brain)


def _brain_in(mask: np.ndarray, path: Path) -> np.ndarray:
    """The brain (bool) in a mask as it was stored: 0 and 1, a parcellation, or a mask that was resampled."""
    known = np.isfinite(mask) if mask.dtype.kind == "f" else np.ones(1, bool)
    brain = mask > 0
    if not np.array_equal(brain, mask):
        what = "all above 0 count as brain"
        if mask.dtype.kind == "f" and _is_resampled(mask[brain & known]):
            # its rim is between 0 and 1, several mm wide
            brain, what = mask > 0.5, "all above 0.5 count as brain"
        warnings.warn(f"{path}: values other than 0 and 1; {what}", stacklevel=3)
    return brain & known


def _is_resampled(values: np.ndarray) -> bool:
    """Whether `values` above 0 are those of a mask of 1 that was interpolated; splines overshoot 1."""
    highest = values.max(initial=0)
    return bool(highest <= 1 or (highest < 2 and (values != np.rint(values)).any()))


def _check_volume(brain: np.ndarray, scan: Volume, path: Path, any_volume: bool) -> None:
    """Raise InputError for a brain that is none by its size."""
    volume_ml = int(brain.sum()) * scan.grid.voxel_ml
    if any_volume or SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        return
    raise InputError(
        f"{path}: a brain of {volume_ml:.0f} ml, and brains have {SMALLEST_BRAIN_ML:.0f} to "
        f"{LARGEST_BRAIN_ML:.0f} ml: the mask of a head, of a lesion, or turned inside out? {_MAKE_ONE}, or "
        "say --any-brain-volume"
    )


def has_bright_rim(scan: np.ndarray, brain: np.ndarray, grid: Grid) -> bool:
    """Whether a tumour-free brain's mask seems to hold more: its rim is far brighter than its inside.

    Orbits, fat and skin are, on FLAIR. `scan` and `brain` (bool) are [i, j, k] on `grid`.
    """
    part, depth = thinned(scan, brain, grid)
    rim, inner = (depth > 0) & (depth <= _OUTER_MM), depth > _OUTER_MM
    if not (rim.any() and inner.any()):
        return False
    middle = float(np.median(part[inner]))
    return middle > 0 and float((part[rim] > _BRIGHT * middle).mean()) > _MOST_BRIGHT


def tell_bright_rim(scan: object) -> None:
    """Warn of a brain mask for which `has_bright_rim`."""
    warnings.warn(
        f"{scan}: its brain mask seems to hold orbits, fat or skin, far brighter than the brain, and tumours "
        "may be put there; make another mask (HD-BET: --brain-mask hdbet where there is none)",
        stacklevel=2,
    )


def skull_stripped(scan: Volume, brain_mask: Volume) -> Volume:
    """`scan` with zero outside the brain; InputError if the mask is on another grid."""
    if differences := scan.grid.differences(brain_mask.grid):
        remedy = cure((scan, "it"), (brain_mask, "the mask's scan"), "resample it")
        raise InputError(f"on another grid than the brain mask: {differences} (in RAS order); {remedy}")
    return scan.with_array(np.where(brain_mask.array > 0, scan.array, scan.array.dtype.type(0)))


def region_of_stripped_scan(scan: Volume) -> np.ndarray | None:
    """The brain (bool) of a skull-stripped scan: the solid region that is not exactly background.

    The background is one value in all corners, or NaN. None if the region is no brain.
    """
    foreground = _foreground(scan.array)
    if foreground is None or foreground.mean() > 1 - LEAST_BACKGROUND:
        return None
    # sitk's fill is many times faster than scipy's here
    image = sitk.GetImageFromArray(foreground.astype(np.uint8))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    region = sitk.GetArrayFromImage(sitk.BinaryFillhole(largest)).astype(bool)
    volume_ml = region.sum() * scan.grid.voxel_ml
    return region if 0 < volume_ml <= LARGEST_BRAIN_ML else None


def _corners(array: np.ndarray) -> np.ndarray:
    return array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1].ravel()


def _foreground(array: np.ndarray) -> np.ndarray | None:
    """What is not background (bool); None if the corners do not agree on what that is."""
    corners = _corners(array)
    if array.dtype.kind == "f" and np.isnan(corners).all():
        return ~np.isnan(array)
    return array != corners[0] if (corners == corners[0]).all() else None


def _why_not_stripped(scan: Volume) -> str:
    """What speaks against it."""
    foreground = _foreground(scan.array)
    if foreground is None:
        corners = _corners(scan.array).astype(float)
        return f"its corners hold {np.nanmin(corners):g} to {np.nanmax(corners):g}: noise, not one background"
    if foreground.mean() > 1 - LEAST_BACKGROUND:
        return f"{foreground.mean():.0%} of it is not background"
    return f"what is not background is larger than a brain, {LARGEST_BRAIN_ML:.0f} ml"


def usable_brain(scan: Volume, brain_mask: Volume) -> np.ndarray:
    """The brain (bool) of a mask; InputError for another grid, no brain, or NaN in the scan inside it."""
    brain = brain_mask.array > 0
    if differences := brain_mask.grid.differences(scan.grid):
        remedy = cure((brain_mask, "the mask"), (scan, "the scan"), "resample it")
        raise InputError(f"the brain mask is on another grid than the scan: {differences}; {remedy}")
    if not brain.any():
        raise InputError("the brain mask is empty")
    # all voxels first: quick, and mostly enough
    suspect = scan.array.dtype.kind == "f" and not np.isfinite(scan.array).all()
    if suspect and not np.isfinite(scan.array[brain]).all():
        raise InputError("the scan has NaN or infinite voxels inside the brain; clean or convert it first")
    return brain
