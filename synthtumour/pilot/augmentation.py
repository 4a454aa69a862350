"""A head changed as heads differ: drawn numbers first, then MONAI's transforms with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms import AdjustContrast, Affine, GaussianSmooth
from torch.nn.functional import interpolate

from synthtumour.pilot.canvas import Head
from synthtumour.pilot.network import channels_of

_BIAS_POINTS = 3  # along each axis


@dataclass(frozen=True)
class Change:
    """What is done to one head; None or 0 leaves it alone."""

    turned_rad: tuple[float, float, float]
    scale: tuple[float, float, float]
    moved_voxels: tuple[float, float, float]
    mirrored: bool
    gamma: float | None
    bias: np.ndarray | None  # logarithms at _BIAS_POINTS along each axis
    blur_voxels: tuple[float, float, float] | None
    noise: float  # standard deviation, in those of the brain
    noise_seed: int


def drawn_change(rng: np.random.Generator) -> Change:
    """How the next head is changed."""
    scale = rng.uniform(0.85, 1.2) * np.exp(rng.normal(0, 0.03, 3))
    bias = rng.normal(0, 0.15, (_BIAS_POINTS,) * 3)
    gamma, blur, noise = rng.uniform(0.7, 1.5), rng.uniform(0.2, 0.6, 3), rng.uniform(0, 0.2)
    with_gamma, with_bias, with_blur, with_noise, mirrored = rng.random(5) < (0.5, 0.5, 0.3, 0.3, 0.5)
    return Change(
        turned_rad=tuple(np.deg2rad(rng.uniform(-12, 12, 3)).tolist()),
        scale=tuple(scale.tolist()),
        moved_voxels=tuple(rng.uniform(-2, 2, 3).tolist()),
        mirrored=bool(mirrored),
        gamma=float(gamma) if with_gamma else None,
        bias=bias if with_bias else None,
        blur_voxels=tuple(blur.tolist()) if with_blur else None,
        noise=float(noise) if with_noise else 0.0,
        noise_seed=int(rng.integers(2**31)),
    )


def changed(head: Head, change: Change, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The network's input (channels, i, j, k), z-scored by the brain, and the label (i, j, k), float32.

    A second channel is the other side of the brain, moved along with the first.
    """
    image, brain, other, other_brain, label = _moved(head, change, channels)
    inside = np.stack([brain > 0.5, other_brain > 0.5][:channels])
    images = torch.from_numpy(np.stack([image, other][:channels]))
    if change.gamma is not None:
        images = AdjustContrast(change.gamma)(images)
    if change.bias is not None:
        points = torch.from_numpy(change.bias.astype(np.float32))[None, None]
        images = images * torch.exp(
            interpolate(points, size=image.shape, mode="trilinear", align_corners=True)[0]
        )
    if change.blur_voxels is not None:
        images = GaussianSmooth(change.blur_voxels)(images)
    both = np.asarray(images)
    values = both[0][inside[0]]
    both = np.where(inside, (both - values.mean()) / (values.std() + 1e-6), 0)
    if change.noise:
        both = both + inside * np.random.default_rng(change.noise_seed).normal(0, change.noise, both.shape)
    return both.astype(np.float32), ((label > 0.5) & inside[0]).astype(np.float32)


def _moved(head: Head, change: Change, channels: int) -> np.ndarray:
    """Image, brain, those of the other side, and label (5, i, j, k), turned, scaled, moved and mirrored."""
    image, brain = (channels_of(a.astype(np.float32), 2) for a in (head.image, head.brain))
    layers = np.stack([image[0], brain[0], image[1], brain[1], head.label.astype(np.float32)])
    if change.mirrored:
        layers = layers[:, ::-1]
    move = Affine(
        rotate_params=change.turned_rad,
        translate_params=change.moved_voxels,
        scale_params=tuple(1 / s for s in change.scale),
        mode="bilinear",
        padding_mode="zeros",
        image_only=True,
    )
    return np.asarray(move(torch.from_numpy(np.ascontiguousarray(layers))))
