"""The confidence gate chosen on tumour-free brains that were kept out of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from monai.transforms import AdjustContrast, GaussianSmooth

from synthtumour.pilot.canvas import Head
from synthtumour.pilot.learning import with_tumour
from synthtumour.pilot.network import PilotNetwork, logits_of
from synthtumour.presets import Preset
from synthtumour.stage2.confidence import Gate, Mark, marks_in
from synthtumour.stage2.gate_choice import chosen_gate, sort_marks

VARIATIONS = 40  # of each brain
_LEAST_MM3 = 2_000.0  # of a synthetic tumour: smaller than those that the network learnt from


def gate_from(
    network: PilotNetwork, heads: Sequence[Head], preset: Preset, spacing_mm: float, seed: int
) -> tuple[Gate | None, dict[str, float]]:
    """The gate, and how well it parts real from false; the marks of these `heads` must be news to `network`.

    Each is looked at in several variations, without a tumour and with a synthetic one.
    """
    small = replace(preset, min_volume_mm3=_LEAST_MM3, num_tumours=(1, 1))
    false: list[Mark] = []
    real: list[Mark] = []
    for number, head in enumerate(heads):
        for variation in range(VARIATIONS):
            rng = np.random.default_rng([seed, number, variation])
            other = _varied(head, rng)
            _collect(network, other, spacing_mm, false, real)
            tumour = with_tumour(other, small, spacing_mm, int(rng.integers(2**31)))
            if tumour is not None:
                _collect(network, tumour, spacing_mm, false, real)
    return chosen_gate(false, real)


def _collect(
    network: PilotNetwork, head: Head, spacing_mm: float, false: list[Mark], real: list[Mark]
) -> None:
    """Sort what the network marks in `head`."""
    numbers, marks = marks_in(np.where(head.brain, logits_of(network, head), -1), spacing_mm)
    sort_marks(numbers, marks, head.label > 0, false, real)


def _varied(head: Head, rng: np.random.Generator) -> Head:
    """The same head as another scanner might show it."""
    image = torch.from_numpy(head.image)[None]
    image = AdjustContrast(float(rng.uniform(0.8, 1.25)))(image)
    if rng.random() < 0.5:
        image = GaussianSmooth(float(rng.uniform(0.2, 0.6)))(image)
    found = np.asarray(image)[0]
    noise = rng.uniform(0, 0.1) * head.image[head.brain].std()
    found = np.where(head.brain, found + rng.normal(0, noise, found.shape), 0).clip(min=0)
    found = found.astype(np.float32)
    return (
        Head(found[::-1], head.brain[::-1], head.label[::-1])
        if rng.random() < 0.5
        else replace(head, image=found)
    )
