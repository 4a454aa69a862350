"""Where a donor's tumour goes in a recipient: drawn, and aligned by the brains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthtumour.presets import Mixing
from synthtumour.stage2.pseudo_labels import Donor, Head
from synthtumour.stage2.resampling import refinement, resampled
from synthtumour.volume.grid import Grid, brain_box

_REGISTRATION_MM = 4.0


class DoesNotFit(ValueError):
    """This placement leaves no usable tumour in the recipient; the message says why. Draw another."""


@dataclass(frozen=True)
class Variation:
    """What is drawn for one mixed case."""

    mirrored: bool
    carve_c: float | None  # CarveMix's c in (-1, 1): below 0 the carved region grows, above it shrinks
    shift_ras_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Placement:
    """Everything drawn and decided for one mixed case; all that `mix` needs beside the two heads."""

    align: str
    mirrored: bool
    shift_ras_mm: tuple[float, float, float]  # already part of the affine
    donor_to_recipient_ras: tuple[
        tuple[float, ...], ...
    ]  # (4, 4), RAS mm of the donor to those of the recipient
    carve: str
    carve_c: float | None
    blend: str
    buffer_sigma_mm: float
    min_remaining: float

    @property
    def affine(self) -> np.ndarray:
        return np.array(self.donor_to_recipient_ras)

    @property
    def volume_scale(self) -> float:
        """How many times larger a tumour gets."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))


def draw(mixing: Mixing, rng: np.random.Generator) -> Variation:
    """What is random about one mixed case. The same numbers are drawn whatever the settings."""
    mirrored, carve_c = bool(rng.random() < mixing.mirror_probability), float(rng.uniform(-1, 1))
    r, a, s = (float(x) for x in mixing.jitter_mm * rng.normal(size=3))
    return Variation(mirrored, carve_c if mixing.carve == "distance" else None, (r, a, s))


def place(donor: Donor, recipient: Head, mixing: Mixing, variation: Variation) -> Placement:
    """Where the donor's tumour goes; the alignment follows from the brains.

    Raises DoesNotFit if the brains cannot be aligned.
    """
    affine = aligned(donor, recipient, mixing, variation.mirrored)
    affine[:3, 3] += variation.shift_ras_mm
    return Placement(
        align=mixing.align,
        mirrored=variation.mirrored,
        shift_ras_mm=variation.shift_ras_mm,
        donor_to_recipient_ras=tuple(tuple(float(x) for x in row) for row in affine),
        carve=mixing.carve,
        carve_c=variation.carve_c,
        blend=mixing.blend,
        buffer_sigma_mm=mixing.buffer_sigma_mm,
        min_remaining=mixing.min_remaining,
    )


def aligned(donor: Donor, recipient: Head, mixing: Mixing, mirrored: bool) -> np.ndarray:
    """Affine (4, 4) from the donor's RAS mm to the recipient's, mirrored left to right if asked.

    'brain' puts the centre of the brain's box (along R, A, S) on the recipient's; its one scale is the median
    of the three ratios of the boxes' sides, so that a brain cut short on one side does not count.
    """
    low, high = brain_box(recipient.brain, recipient.grid)
    recipient_centre, recipient_size = (low + high) / 2, high - low
    flip = np.array([-1.0 if mirrored else 1.0, 1, 1])
    affine = np.eye(4)
    if mixing.align == "none":
        affine[:3, :3] = np.diag(flip)
        affine[0, 3] = 2 * recipient_centre[0] if mirrored else 0.0
        return affine
    low, high = brain_box(donor.head.brain, donor.head.grid)
    ratios = recipient_size / (high - low)
    scale = ratios if mixing.scale_per_axis else np.full(3, np.median(ratios))
    affine[:3, :3] = np.diag(scale * flip)
    affine[:3, 3] = recipient_centre - affine[:3, :3] @ ((low + high) / 2)
    if mixing.align == "affine":
        affine = _registered(donor, recipient, affine) @ affine
    return affine


def _registered(donor: Donor, recipient: Head, start: np.ndarray) -> np.ndarray:
    """Affine (4, 4) that, after `start`, registers the donor's brain to the recipient's (first channels).

    SimpleITK, mutual information of both brains, the tumour left out. One thread and no sampling: the same
    result everywhere.
    """
    import SimpleITK as sitk

    low, high = brain_box(recipient.brain, recipient.grid)
    size = np.ceil((high - low) / _REGISTRATION_MM).astype(int) + 4
    lattice = np.diag([_REGISTRATION_MM] * 3 + [1.0])
    lattice[:3, 3] = (low + high) / 2 - _REGISTRATION_MM * (size - 1) / 2

    def sampled(array: np.ndarray, grid: Grid, from_world: np.ndarray) -> sitk.Image:
        to_index = np.linalg.inv(grid.affine) @ from_world @ lattice
        refine = refinement(to_index)
        image = sitk.GetImageFromArray(resampled(array, to_index, np.zeros(3), size, refine, 1).T)
        image.SetSpacing([_REGISTRATION_MM] * 3)
        image.SetOrigin(lattice[:3, 3].tolist())
        return image  # its physical space is RAS here, for both images alike

    def brain_only(head: Head, from_world: np.ndarray) -> sitk.Image:
        return sampled(np.where(head.brain, head.channels[0].array, 0), head.grid, from_world)

    # Outside the brains all is zero and counts: the outlines hold the scale, the inside alone does not.
    fixed = brain_only(recipient, np.eye(4))
    moving = brain_only(donor.head, np.linalg.inv(start))
    tumour = sampled(donor.suspect, donor.head.grid, np.linalg.inv(start)) > 0
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(sitk.BinaryDilate(tumour, (1, 1, 1)) == 0)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.AffineTransform(3)
    transform.SetCenter(((low + high) / 2).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    # The metric adds up in another order with more threads, and heeds no setting but this one.
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        raise DoesNotFit("the brains could not be registered") from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    fixed_to_moving = np.eye(4)
    fixed_to_moving[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    fixed_to_moving[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    if not 0.5 < np.linalg.det(fixed_to_moving[:3, :3]) < 2:
        raise DoesNotFit("the registration of the brains went astray")
    return np.round(np.linalg.inv(fixed_to_moving), 6)
