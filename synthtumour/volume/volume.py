"""A scan or a mask in memory, and how its file keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from synthtumour.volume.forms import NiftiGeometry
from synthtumour.volume.grid import LPS_TO_RAS, Grid

# What ITK may carry from one NIfTI header to the next; everything else follows from the new array.
_KEPT_METADATA = ("qform_code_name", "sform_code_name", "descrip", "xyzt_units")


@dataclass(frozen=True, eq=False)
class Stored:
    """How a file keeps its voxels: what is needed to write a canonical array back in the same way."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    axes: tuple[int, int, int]  # canonical axis n is file axis axes[n] ...
    flipped: tuple[bool, bool, bool]  # ... run backwards where flipped[n]
    metadata: dict[str, str] = field(default_factory=dict)
    nifti_geometry: NiftiGeometry | None = None  # of the file's header, if ITK would write another

    @property
    def affine(self) -> np.ndarray:
        """From the stored index to RAS mm (4, 4)."""
        affine = np.eye(4)
        affine[:3, :3] = LPS_TO_RAS @ np.array(self.direction).reshape(3, 3) * self.spacing
        affine[:3, 3] = LPS_TO_RAS @ np.array(self.origin)
        return affine

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(self.axes)[self._flips()]

    def from_canonical(self, array: np.ndarray) -> np.ndarray:
        return array[self._flips()].transpose(np.argsort(self.axes))

    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if f else slice(None) for f in self.flipped)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a mask: `array` [i, j, k] in canonical order on `grid`, and how its file stores it."""

    array: np.ndarray
    grid: Grid
    stored: Stored

    def with_array(self, array: np.ndarray) -> Volume:
        """A volume on the same grid with another canonical `array`; bool becomes uint8."""
        if array.shape != self.grid.shape:
            raise ValueError(f"array of shape {array.shape} on a grid of shape {self.grid.shape}")
        return replace(self, array=array.astype(np.uint8) if array.dtype == bool else array)

    def resized(self, factor: float) -> Volume:
        """The same voxels, all lengths and coordinates multiplied by `factor`."""
        if factor == 1:
            return self
        affine = self.grid.affine.copy()
        affine[:3] *= factor
        spacing, origin = (
            tuple(factor * x for x in lengths) for lengths in (self.stored.spacing, self.stored.origin)
        )
        stored = replace(self.stored, spacing=spacing, origin=origin, nifti_geometry=None)
        return Volume(self.array, Grid(self.grid.shape, affine), stored)

    @classmethod
    def from_image(cls, image: sitk.Image) -> Volume:
        """Volume of a three-dimensional scalar SimpleITK image; its voxels are copied."""
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        metadata = {key: image.GetMetaData(key) for key in _KEPT_METADATA if image.HasMetaDataKey(key)}
        return cls._placed(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), metadata)

    @classmethod
    def from_array(cls, array: np.ndarray, affine: np.ndarray) -> Volume:
        """Volume of `array` in any order of axes, not copied; `affine` (4, 4) from its index to RAS mm."""
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        direction = (LPS_TO_RAS @ affine[:3, :3] / spacing).ravel()
        origin = LPS_TO_RAS @ affine[:3, 3]
        return cls._placed(array, tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.tolist()))

    @classmethod
    def _placed(
        cls,
        array: np.ndarray,
        spacing: tuple[float, ...],
        origin: tuple[float, ...],
        direction: tuple[float, ...],
        metadata: dict[str, str] | None = None,
    ) -> Volume:
        """Volume of an array in stored order, with ITK's geometry (LPS)."""
        to_ras = LPS_TO_RAS @ np.array(direction).reshape(3, 3)
        axes = _closest_axes(to_ras)
        right, anterior, superior = (bool(to_ras[n, axis] < 0) for n, axis in enumerate(axes))
        flipped = (right, anterior, superior)
        stored = Stored(spacing, origin, direction, axes, flipped, metadata or {})
        affine = stored.affine
        first_voxel = np.zeros(3)
        for axis, flip in zip(axes, flipped, strict=True):
            first_voxel[axis] = array.shape[axis] - 1 if flip else 0
        affine[:3, 3] += affine[:3, :3] @ first_voxel
        affine[:3, :3] = affine[:3, axes] * np.where(flipped, -1, 1)
        canonical = stored.to_canonical(array)
        return cls(canonical, Grid(canonical.shape, affine), stored)

    def form_on(self, grid: Grid) -> str:
        """'qform' or 'sform', whichever of its NIfTI header would put it onto `grid`; '' if neither."""
        forms = self.stored.nifti_geometry.forms() if self.stored.nifti_geometry else {}
        for name, affine in forms.items():
            if np.isfinite(affine).all() and np.linalg.det(affine) != 0:
                if not Volume.from_array(self.in_stored_order(), affine).grid.differences(grid):
                    return name
        return ""

    def in_stored_order(self) -> np.ndarray:
        """The array with its axes as the file, or the array it was made from, has them: a view."""
        return self.stored.from_canonical(self.array)

    def to_image(self) -> sitk.Image:
        """SimpleITK image in the stored order, with the stored geometry."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.in_stored_order().transpose(2, 1, 0)))
        image.SetSpacing(self.stored.spacing)
        image.SetOrigin(self.stored.origin)
        image.SetDirection(self.stored.direction)
        for key, value in self.stored.metadata.items():
            image.SetMetaData(key, value)
        return image


def cure(one: tuple[Volume, object], other: tuple[Volume, object], otherwise: str) -> str:
    """What brings two volumes, each with its name, onto one grid: `otherwise`, unless it is a NIfTI form.

    Resampling a mask that fits its scan by the form that is not used here would move it off the brain.
    """
    for (volume, name), (fixed, _) in ((one, other), (other, one)):
        if form := volume.form_on(fixed.grid):
            wrong = "sform" if form == "qform" else "qform"
            return f"by its {form} {name} fits, so make its two forms agree (fslorient -copy{form}2{wrong})"
    return otherwise


def _closest_axes(direction: np.ndarray) -> tuple[int, int, int]:
    """For each world axis R, A, S the file axis closest to it, each used once."""
    remaining, axes = np.abs(direction), [0, 0, 0]
    for _ in range(3):
        world, axis = np.unravel_index(remaining.argmax(), (3, 3))
        axes[world] = int(axis)
        remaining[world, :] = remaining[:, axis] = -1
    return axes[0], axes[1], axes[2]
