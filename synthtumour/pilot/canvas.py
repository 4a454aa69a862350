"""A brain on a canvas: coarse voxels of one size, the middle of its box in the middle, and back again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from synthtumour.volume.grid import Grid, bounding_box, grown

STEP = 8  # a canvas has a multiple of this along each axis, as the network halves it three times
_ROOM = 1.05  # of a brain's length: heads are turned while the network learns
_SMOOTH = 0.35  # sigma of the Gaussian that goes before coarser voxels, in theirs
_NOTHING = -99.0  # logit where there is no canvas


@dataclass(frozen=True)
class Canvas:
    """`shape` (i, j, k; canonical axes) of voxels of `spacing_mm`."""

    shape: tuple[int, int, int]
    spacing_mm: float

    @property
    def voxel_ml(self) -> float:
        return self.spacing_mm**3 / 1000

    def with_room_for(self, brain: np.ndarray, grid: Grid) -> Canvas:
        """This canvas, larger along the axes that a brain (bool [i, j, k] on `grid`) would not fit."""
        needed = canvas_for([lengths_mm(brain, grid)], self.spacing_mm, room=1.0).shape
        i, j, k = (max(pair) for pair in zip(self.shape, needed, strict=True))
        return Canvas((i, j, k), self.spacing_mm)


@dataclass(frozen=True, eq=False)
class Head:
    """A brain on a canvas: `image` (float32, 0 outside it), `brain` and `label` (bool), all [i, j, k]."""

    image: np.ndarray
    brain: np.ndarray
    label: np.ndarray

    def padded(self, canvas: Canvas) -> Head:
        """The same on a larger canvas of the same voxels."""
        sides = [((n - m) // 2,) * 2 for n, m in zip(canvas.shape, self.brain.shape, strict=True)]
        return Head(*(np.pad(array, sides) for array in (self.image, self.brain, self.label)))


def lengths_mm(brain: np.ndarray, grid: Grid) -> np.ndarray:
    """Lengths (3,) of the box of a brain (bool [i, j, k], not empty) along the grid's axes, in mm."""
    return np.array([s.stop - s.start for s in bounding_box(brain)]) * grid.spacing_mm


def canvas_for(lengths: Iterable[np.ndarray], spacing_mm: float, room: float = _ROOM) -> Canvas:
    """The smallest canvas for brains of these `lengths` in mm, with some room."""
    longest = np.max(list(lengths), axis=0) * room
    steps = np.maximum(np.ceil(longest / spacing_mm / STEP).astype(int), 2)  # normalisation needs two voxels
    i, j, k = (steps * STEP).tolist()
    return Canvas((i, j, k), spacing_mm)


def on_canvas(
    scan: np.ndarray, brain: np.ndarray, grid: Grid, canvas: Canvas, label: np.ndarray | None = None
) -> Head:
    """`scan` with its `brain` (bool), and `label` (bool) if there is one, all [i, j, k] on `grid`."""
    box = grown(bounding_box(brain), 2 * canvas.spacing_mm, grid)
    middle = _middle_mm(brain, grid)

    def resampled(array: np.ndarray) -> np.ndarray:
        values = array[box].astype(np.float32)
        values[~np.isfinite(values)] = 0  # a background of NaN would spread
        image = _image(values, grid, [s.start for s in box])
        sigmas = np.where(grid.spacing_mm < canvas.spacing_mm, _SMOOTH * canvas.spacing_mm, 1e-2)
        smooth = sitk.SmoothingRecursiveGaussian(image, sigmas.tolist())
        return _array(
            sitk.Resample(smooth, _reference(canvas, middle), sitk.Transform(), sitk.sitkLinear, 0.0)
        )

    inside = resampled(brain) > 0.5
    image = np.where(inside, resampled(scan), np.float32(0))
    marked = np.zeros_like(inside) if label is None else (resampled(label) > 0.5) & inside
    return Head(image, inside, marked)


def off_canvas(logits: np.ndarray, canvas: Canvas, brain: np.ndarray, grid: Grid) -> np.ndarray:
    """`logits` (float32 [i, j, k] on `canvas`) of a `brain`, on its own `grid`: very low outside it."""
    image = sitk.GetImageFromArray(logits.astype(np.float32).transpose(2, 1, 0))
    reference = _reference(canvas, _middle_mm(brain, grid))
    image.SetSpacing(reference.GetSpacing())
    image.SetOrigin(reference.GetOrigin())
    box = bounding_box(brain)
    onto = _image(np.zeros([s.stop - s.start for s in box], np.uint8), grid, [s.start for s in box])
    found = np.full(grid.shape, np.float32(_NOTHING))
    here = _array(sitk.Resample(image, onto, sitk.Transform(), sitk.sitkLinear, _NOTHING, sitk.sitkFloat32))
    found[box] = np.where(brain[box], here, np.float32(_NOTHING))
    return found


def _middle_mm(brain: np.ndarray, grid: Grid) -> np.ndarray:
    """The middle of a brain's box, in mm along the grid's own axes from its first voxel."""
    ends = np.array([(s.start, s.stop - 1) for s in bounding_box(brain)])
    return ends.mean(axis=1) * grid.spacing_mm


def _reference(canvas: Canvas, middle_mm: np.ndarray) -> sitk.Image:
    """An image of the canvas, placed in mm along the axes of a grid whose brain has its middle there."""
    image = sitk.Image(canvas.shape, sitk.sitkUInt8)
    image.SetSpacing((canvas.spacing_mm,) * 3)
    image.SetOrigin((middle_mm - (np.array(canvas.shape) - 1) / 2 * canvas.spacing_mm).tolist())
    return image


def _image(array: np.ndarray, grid: Grid, start: list[int]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetOrigin((np.array(start) * grid.spacing_mm).tolist())
    return image


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)
