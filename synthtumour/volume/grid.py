"""Voxel grids and boxes of them.

One axis convention holds in the whole package. Arrays are indexed [i, j, k], the axes ordered and flipped
so that they run closest to Right, Anterior, Superior ("canonical"), whatever the order in the file;
world coordinates are RAS in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from synthtumour.text import in_brackets

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Grid:
    """Canonical voxel grid: `shape` (i, j, k) and `affine` (4, 4) from voxel index to RAS mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size (3,) in mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_mm)) / 1000

    def volume_ml(self, mask: np.ndarray) -> float:
        """Volume in ml, to four decimals, of what `mask` (bool) marks."""
        return round(int(np.count_nonzero(mask)) * self.voxel_ml, 4)

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors (3, 3) of the grid's axes as columns, in RAS."""
        return self.affine[:3, :3] / self.spacing_mm

    def to_ras(self, index: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) of voxel indices (..., 3)."""
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, ras_mm: np.ndarray) -> np.ndarray:
        """Continuous voxel indices (..., 3) of RAS mm, with the rounding noise of file headers removed.

        Headers hold float32, so the same head stored in another order places its voxels some 1e-5 mm
        apart; a thousandth of a voxel is what still means something.
        """
        inverse = np.linalg.inv(self.affine[:3, :3])
        return np.round((np.asarray(ras_mm) - self.affine[:3, 3]) @ inverse.T, 3)

    def cropped(self, box: tuple[slice, slice, slice]) -> Grid:
        """The grid of the voxels in `box`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras(np.array([s.start for s in box]))
        i, j, k = (s.stop - s.start for s in box)
        return Grid((i, j, k), affine)

    def differences(self, other: Grid) -> str:
        """What differs from `other` by more than a hundredth of a voxel, in words; '' if nothing does."""
        said = []
        if self.shape != other.shape:
            said.append(f"size {in_brackets(self.shape)} against {in_brackets(other.shape)}")
        tolerance = 0.01 * self.spacing_mm.min()
        for name, mine, theirs, scale in (
            ("spacing", self.spacing_mm, other.spacing_mm, max(self.shape)),
            ("origin", self.affine[:3, 3], other.affine[:3, 3], 1),
            ("axes", self.axes.ravel(), other.axes.ravel(), float(max(self.shape * self.spacing_mm))),
        ):
            if np.abs(mine - theirs).max() * scale > tolerance:
                said.append(f"{name} {in_brackets(mine)} against {in_brackets(theirs)}")
        return ", ".join(said)


def is_oblique(grid: Grid) -> bool:
    """Whether any axis leaves those of the world."""
    return bool(np.abs(grid.axes - np.eye(3)).max() > 1e-12)


def bounding_box(mask: np.ndarray) -> Box:
    """Slices of the smallest box that holds all of a bool array, which must not be empty."""
    plane, line = np.any(mask, axis=2), np.any(mask, axis=(0, 1))
    spans = [np.flatnonzero(along) for along in (plane.any(axis=1), plane.any(axis=0), line)]
    i, j, k = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return i, j, k


def box_around(low: np.ndarray, high: np.ndarray, grid: Grid) -> Box:
    """Slices of the voxels between two continuous indices (3,), ends included, cut to the grid."""
    start = np.clip(np.floor(low).astype(int), 0, grid.shape)
    stop = np.clip(np.ceil(high).astype(int) + 1, start, grid.shape)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def grown(box: Box, margin_mm: float, grid: Grid) -> Box:
    """`box` with `margin_mm` more on every side, cut to the grid."""
    voxels = np.ceil(margin_mm / grid.spacing_mm - 1e-6).astype(int)
    i, j, k = (
        slice(max(s.start - int(n), 0), min(s.stop + int(n), size))
        for s, n, size in zip(box, voxels, grid.shape, strict=True)
    )
    return i, j, k


def relative(box: Box, outer: Box) -> Box:
    """`box` as seen from the start of `outer`."""
    i, j, k = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return i, j, k


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest face-connected part of a bool array."""
    if not mask.any():
        return mask
    box = bounding_box(mask)
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)))
    largest = np.zeros_like(mask)
    largest[box] = sitk.GetArrayFromImage(sitk.RelabelComponent(parts)) == 1
    return largest


def bounds_ras(mask: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest RAS mm (3,) of the voxel centres of a mask."""
    if np.count_nonzero(grid.affine[:3, :3]) == 3:  # along the world's axes
        box = bounding_box(mask)
        corners = grid.to_ras(np.array([[s.start for s in box], [s.stop - 1 for s in box]]))
        return corners.min(axis=0), corners.max(axis=0)
    columns = np.argwhere(mask.any(axis=2))
    lines = mask[tuple(columns.T)]
    first, last = lines.argmax(axis=1), mask.shape[2] - 1 - lines[:, ::-1].argmax(axis=1)
    ends = grid.to_ras(np.concatenate([np.column_stack([columns, end]) for end in (first, last)]))
    return ends.min(axis=0), ends.max(axis=0)


def brain_box(brain: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest RAS mm (3,) of a brain (bool [i, j, k]), whole voxels counted."""
    low, high = bounds_ras(brain, grid)
    half = np.abs(grid.affine[:3, :3]).sum(axis=1) / 2
    return low - half, high + half


def brain_box_columns(brain: np.ndarray, grid: Grid) -> dict[str, float]:
    """`brain_box` as a manifest has it: brain_low_r_mm, ..., brain_high_s_mm."""
    ends = zip(("low", "high"), brain_box(brain, grid), strict=True)
    return {
        f"brain_{end}_{axis}_mm": round(float(at[i]), 3) for end, at in ends for i, axis in enumerate("ras")
    }
