"""What the network learns from, a head at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synthtumour.errors import InputError
from synthtumour.pilot.canvas import Head
from synthtumour.presets import Preset
from synthtumour.stage1.synthesis import synthesise_patch

Draw = Callable[[np.random.Generator], Head]


@dataclass(frozen=True, eq=False)
class FreshHeads:
    """Tumour-free heads that get new tumours each time, but for a share of them."""

    heads: Sequence[Head]
    preset: Preset
    tumour_free_share: float
    spacing_mm: float

    def __call__(self, rng: np.random.Generator) -> Head:
        head = self.heads[int(rng.integers(len(self.heads)))]
        if rng.random() < self.tumour_free_share:
            return head
        return with_tumour(head, self.preset, self.spacing_mm, int(rng.integers(2**31))) or head


@dataclass(frozen=True, eq=False)
class StoredHeads:
    """Heads with the labels that they came with."""

    heads: Sequence[Head]

    def __call__(self, rng: np.random.Generator) -> Head:
        return self.heads[int(rng.integers(len(self.heads)))]


@dataclass(frozen=True, eq=False)
class Either:
    """Of the `first`, in so large a share, else of the `second`."""

    first: Draw
    second: Draw
    share: float

    def __call__(self, rng: np.random.Generator) -> Head:
        return (self.first if rng.random() < self.share else self.second)(rng)


def with_tumour(head: Head, preset: Preset, spacing_mm: float, seed: int) -> Head | None:
    """`head` with synthetic tumours; None if none fits."""
    try:
        image, label, _ = synthesise_patch(head.image, head.brain, (spacing_mm,) * 3, preset, seed=seed)
    except InputError:
        return None
    return Head(image.astype(np.float32), head.brain, label > 0)
