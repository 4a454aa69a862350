"""What is plainly no FLAIR is refused; what may be one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.brain.sequence import check_flair
from synthtumour.errors import InputError
from synthtumour.volume.grid import Grid

PATH = Path("scan.nii.gz")


def brain(fluid: float) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Tissue of 300 in a ball that sulci of 3 mm surround, with ventricles; both hold `fluid`."""
    axes = np.meshgrid(*[np.arange(-50, 50)] * 3, indexing="ij")
    away = np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in axes))
    scan = np.where((away > 42) | (away < 12), fluid, 300.0) + np.random.default_rng(0).normal(
        0, 10, away.shape
    )
    return np.where(away < 46, ndimage.gaussian_filter(scan, 0.5), 0), away < 46, Grid(away.shape, np.eye(4))


def test_flair_passes_in_any_unit() -> None:
    scan, mask, grid = brain(50.0)
    z = (scan - scan[mask].mean()) / scan[mask].std()
    padded = [np.where(mask, scan, value) for value in (-1000.0, -32768.0, -np.inf)]
    demeaned = 50 * (scan - scan.mean())
    for values in (scan, scan.astype(np.int16), 0.001 * scan, z, np.where(mask, z, 0), *padded, demeaned):
        check_flair(values, mask, grid, PATH)


def test_a_bright_tumour_at_the_rim_is_no_fluid() -> None:
    """One that covers most of the brain's rim: its ventricles are dark all the same."""
    scan, mask, grid = brain(50.0)
    rim = mask & ~ndimage.binary_erosion(mask, iterations=5)
    rim[75:] = False
    scan[rim] = 800.0
    shell = mask & ~ndimage.binary_erosion(mask, iterations=4)
    assert np.median(scan[shell]) > 1.1 * np.median(scan[mask & ~shell])  # as on T2
    check_flair(scan, mask, grid, PATH)


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_fluid_brighter_than_tissue_is_refused(shift: float) -> None:
    scan, mask, grid = brain(700.0)
    with pytest.raises(
        InputError, match=r"scan\.nii\.gz: its fluid seems brighter than its tissue, as on T2"
    ):
        check_flair(scan + shift, mask, grid, PATH)


def test_ct_is_refused() -> None:
    scan, mask, grid = brain(8.0)
    hounsfield = np.where(mask, scan / 10, -1000.0)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: goes down to -1000, as a CT does"):
        check_flair(hounsfield, mask, grid, PATH)


def test_a_sheet_has_no_inside_to_compare() -> None:
    scan, mask, grid = brain(700.0)
    mask[:, :, :49] = mask[:, :, 51:] = False
    check_flair(scan, mask, grid, PATH)
