"""Pseudo-labels: clean what a junior network drew, and refuse what cannot be a tumour.

A donor's label comes from a network that never saw a real tumour, so some of its labels are empty, specks
or half the head. Lengths in mm, volumes in ml; contrasts are ratios of mean intensities.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from synthtumour.brain.measures import black_level, contrast
from synthtumour.errors import InputError
from synthtumour.files.checks import check_file
from synthtumour.presets import GateLimits
from synthtumour.stage2.confidence import logits_from
from synthtumour.stage2.refinement import Part, refined_mask
from synthtumour.volume.grid import Grid, bounding_box, grown
from synthtumour.volume.volume import Volume, cure


class Rejected(InputError):
    """This pseudo-label cannot serve as a donor: `kind` in two or three words, the message with figures."""

    def __init__(self, kind: str, message: str, volumes_ml: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.volumes_ml = dict(volumes_ml or {})  # of the label, as far as they are known


@dataclass(frozen=True, eq=False)
class Head:
    """A scan: its `channels`, which share one grid, and its `brain` (bool [i, j, k])."""

    channels: tuple[Volume, ...]
    brain: np.ndarray

    @property
    def grid(self) -> Grid:
        return self.channels[0].grid


@dataclass(frozen=True, eq=False)
class Donor:
    """A head with a tumour (bool): its refined `label`, the `cleaned` one before, and what is not normal."""

    head: Head
    label: np.ndarray
    cleaned: np.ndarray
    suspect: np.ndarray
    measured: dict[str, Any]


def checked_donor(
    head: Head, pseudo_label: Volume, limits: GateLimits, softmax_path: Path | None = None
) -> Donor:
    """The donor made of `head` and its `pseudo_label` (anything above 0 is tumour), cleaned and refined.

    Raises Rejected, with the reason and its figures, for a label that cannot be a tumour.
    """
    if differences := pseudo_label.grid.differences(head.grid):
        remedy = cure((pseudo_label, "the label"), (head.channels[0], "the scan"), "resample it")
        raise Rejected("another grid", f"the label is on another grid than the scan: {differences}; {remedy}")
    raw = pseudo_label.array > 0
    if not raw.any():
        raise Rejected("empty label", "the label is empty")
    outside = float((raw & ~head.brain).sum() / raw.sum())
    if outside > limits.max_outside_fraction:
        raise Rejected(
            "off the brain",
            f"{outside:.0%} of the label lies outside the brain, more than {limits.max_outside_fraction:.0%}",
        )
    probability = None if softmax_path is None else tumour_probability(softmax_path, pseudo_label)
    cleaned = clean(raw & head.brain, head.grid, limits) & head.brain
    cleaned, logit = _sure_parts(cleaned, probability, limits)
    label, parts = cleaned, list[Part]()
    if limits.refinement is not None:
        label, parts = refined_mask(head.channels[0].array, head.brain, cleaned, head.grid, limits.refinement)
    volumes = {
        name: head.grid.volume_ml(mask)
        for name, mask in (("raw_volume_ml", raw), ("cleaned_volume_ml", cleaned), ("volume_ml", label))
    }
    brain_fraction = int(label.sum()) / int(head.brain.sum())
    _check_volume(volumes, brain_fraction, limits)
    suspect = raw | label
    contrasts = _contrasts(head, label, suspect, volumes, limits)
    confidence = None if probability is None else float(probability[cleaned].mean(dtype=np.float64))
    _check_confidence(confidence, volumes, limits)
    measured = {
        **volumes,
        "refinement": "; ".join(part.kept or "refined" for part in parts) or "off",
        "brain_fraction": brain_fraction,
        "outside_fraction": outside,
        "contrast": contrasts,
        "confidence": confidence,
        "mean_logit": logit,
    }
    return Donor(head, label, cleaned, suspect, measured)


def _sure_parts(
    label: np.ndarray, probability: np.ndarray | None, limits: GateLimits
) -> tuple[np.ndarray, float | None]:
    """The parts of `label` that the network was sure of, and the highest mean logit of a part.

    The mean of the logits in a part tells false marks from real ones. Raises Rejected if no part is left.
    """
    if probability is None:
        if limits.min_logit is not None:
            raise Rejected("unknown logit", "no softmax .npz beside the label to take its logits from")
        return label, None
    numbers, count = ndimage.label(label, structure=np.ones((3, 3, 3)))
    if not count:
        return label, None
    means = ndimage.mean(logits_from(probability), numbers, np.arange(1, count + 1))
    if limits.min_logit is None:
        return label, float(means.max())
    if means.max() < limits.min_logit:
        said = f"mean logit {means.max():.2f}, less than {limits.min_logit:g}"
        raise Rejected("low logit", said)
    return np.concatenate([[False], means >= limits.min_logit])[numbers], float(means.max())


def _check_volume(volumes: Mapping[str, float], brain_fraction: float, limits: GateLimits) -> None:
    """Raise Rejected for a label that is no tumour by its size."""
    volume_ml = volumes["volume_ml"]
    if volume_ml < limits.min_volume_ml or not volume_ml:
        raise Rejected(
            "too small",
            f"{volume_ml:.2f} ml left of {volumes['raw_volume_ml']:.2f} ml after cleaning, "
            f"less than {limits.min_volume_ml:g} ml",
            volumes,
        )
    if brain_fraction > limits.max_brain_fraction:
        raise Rejected(
            "too large",
            f"{volume_ml:.0f} ml is {brain_fraction:.0%} of the brain, more than "
            f"{limits.max_brain_fraction:.0%}",
            volumes,
        )


def _contrasts(
    head: Head, label: np.ndarray, suspect: np.ndarray, volumes: Mapping[str, float], limits: GateLimits
) -> list[float | None]:
    """The label's contrast in every channel; Rejected if it has too little in all."""
    contrasts = [
        contrast(c.array, label, label, head.brain & ~suspect, head.grid, black_level(c.array, head.brain))
        for c in head.channels
    ]
    known = [abs(ratio - 1) for ratio in contrasts if ratio is not None]
    if not known:
        raise Rejected("no contrast", "no normal brain around the label to compare it with", volumes)
    if max(known) < limits.min_contrast:
        raise Rejected(
            "no contrast",
            f"inside and surroundings differ by {max(known):.1%}, less than {limits.min_contrast:.1%}",
            volumes,
        )
    return contrasts


def _check_confidence(confidence: float | None, volumes: Mapping[str, float], limits: GateLimits) -> None:
    """Raise Rejected for a network that was not sure enough, or is not known to have been."""
    if limits.min_confidence is None:
        return
    if confidence is None:
        raise Rejected("unknown confidence", "no softmax .npz beside the label to take its confidence from")
    if confidence < limits.min_confidence:
        said = f"mean confidence {confidence:.2f}, less than {limits.min_confidence:g}"
        raise Rejected("low confidence", said, volumes)


def clean(mask: np.ndarray, grid: Grid, limits: GateLimits) -> np.ndarray:
    """`mask` (bool [i, j, k]) with small holes filled, then only its largest parts of a certain size.

    Parts hang together by faces, edges or corners; a hole is enclosed by faces.
    """
    if not mask.any():
        return mask
    box = grown(bounding_box(mask), float(grid.spacing_mm.max()), grid)
    part = mask[box]
    voxels = limits.max_hole_ml / grid.voxel_ml
    holes, count = ndimage.label(ndimage.binary_fill_holes(part) & ~part)
    if count:
        small = np.bincount(holes.ravel()) <= voxels
        small[0] = False
        part = part | small[holes]
    labels, count = ndimage.label(part, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[: limits.max_components]
    keep = np.zeros(len(sizes), bool)
    keep[largest] = sizes[largest] >= max(limits.min_island_ml / grid.voxel_ml, 1)
    cleaned = np.zeros_like(mask)
    cleaned[box] = keep[labels]
    return cleaned


def tumour_probability(softmax_path: Path, pseudo_label: Volume) -> np.ndarray:
    """Probability (float32) of any tumour on the label's grid, from the .npz that nnU-Net writes beside it.

    nnU-Net v2 keeps (classes, z, y, x) under 'probabilities', v1 under 'softmax'; class 0 is background.
    Raises Rejected for a file that is neither, damaged, or of another size, and InputError for none.
    """
    check_file(softmax_path)
    image = pseudo_label.to_image()
    try:
        background = _background_in(softmax_path, image.GetSize()[::-1])
    except Rejected:
        raise
    except Exception as error:  # whatever zipfile, zlib and the parser of the header make of a file
        raise Rejected(
            "damaged softmax file", f"{softmax_path.name} is no softmax file of nnU-Net, or damaged"
        ) from error
    probabilities = sitk.GetImageFromArray(1 - background)
    probabilities.CopyInformation(image)
    return Volume.from_image(probabilities).array


def _background_in(path: Path, size: tuple[int, ...]) -> np.ndarray:
    """Probability (z, y, x) of background in an .npz of nnU-Net; what is not of `size` is not even read.

    Any Exception for a file that is none, Rejected for one of another size.
    """
    with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy and Python about odd headers
        names = archive.namelist()
        name = next(n for n in ("probabilities.npy", "softmax.npy") if n in names)
        with archive.open(name) as file:
            if np.lib.format.read_magic(file) != (1, 0):  # later ones are for headers of many columns
                raise ValueError("a version of .npy that nnU-Net does not write")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=1000)
            if len(shape) != 4 or not 2 <= shape[0] <= 255 or fortran or dtype.kind != "f":
                raise ValueError("no probabilities of classes")
            if shape[1:] != size:
                raise Rejected("damaged softmax file", f"{path.name} has size {shape[1:]}, the label {size}")
            count = math.prod(size) * dtype.itemsize
            if archive.getinfo(name).file_size != file.tell() + shape[0] * count:
                raise ValueError("another length than the header says")
            background = np.frombuffer(file.read(count), dtype).reshape(size)
            while file.read(count):  # to the end, where zipfile compares the checksum
                pass
    if not (np.abs(background - 0.5) < 0.51).all():
        raise ValueError("no probabilities")
    return background.astype(np.float32)


def check_channels(channels: tuple[Volume, ...], brain: np.ndarray, paths: tuple[Path, ...]) -> Head:
    """The head made of `channels`, which must share one grid and be finite inside the `brain`."""
    for channel, path in zip(channels, paths, strict=True):
        if differences := channel.grid.differences(channels[0].grid):
            remedy = cure((channel, "it"), (channels[0], paths[0].name), "resample it")
            raise InputError(f"{path}: on another grid than {paths[0].name}: {differences}; {remedy}")
        if channel.array.dtype.kind == "f" and not np.isfinite(channel.array[brain]).all():
            raise InputError(f"{path}: NaN or infinite voxels inside the brain; clean or convert it first")
    return Head(channels, brain)
