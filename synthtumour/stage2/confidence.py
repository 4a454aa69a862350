"""The confidence gate: of each part that a network marks, how sure it is, and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from synthtumour.brain.measures import distance_mm

LEAST_ML = 0.25  # smaller parts are not looked at, nor kept
CORNERS = np.ones((3, 3, 3))  # parts hang together by corners


@dataclass(frozen=True)
class Mark:
    """One connected part of what a network marks."""

    mean_logit: float
    thickness_mm: float  # largest distance to its border
    volume_ml: float

    @property
    def features(self) -> tuple[float, float]:
        return self.mean_logit, float(np.log(self.volume_ml))


@dataclass(frozen=True)
class Gate:
    """A mark is tumour if `intercept` + `weights` . (mean logit, log of ml) >= `limit`."""

    weights: tuple[float, float]
    intercept: float
    limit: float

    def score(self, mark: Mark) -> float:
        return self.intercept + float(np.dot(self.weights, mark.features))

    def lets_through(self, mark: Mark) -> bool:
        return self.score(mark) >= self.limit


def marks_in(
    logits: np.ndarray, spacing_mm: float | np.ndarray, marked: np.ndarray | None = None
) -> tuple[np.ndarray, list[tuple[int, Mark]]]:
    """The parts that are `marked` (bool [i, j, k]; None: where logits are above 0), numbered (int [i, j, k]),
    and what each is but for those below LEAST_ML.
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, float), 3)
    numbers, _ = ndimage.label(logits > 0 if marked is None else marked, structure=CORNERS)
    found, voxel_ml = [], float(spacing.prod()) / 1000
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        part = numbers[box] == number
        volume_ml = float(part.sum() * voxel_ml)
        if volume_ml < LEAST_ML:
            continue
        depth = distance_mm(~np.pad(part, 1), spacing)
        found.append((number, Mark(float(logits[box][part].mean()), float(depth.max()), volume_ml)))
    return numbers, found


def logits_from(probability: np.ndarray) -> np.ndarray:
    """Logits of probabilities, which are clipped to 1e-6 from 0 and 1."""
    clipped = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))
