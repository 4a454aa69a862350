"""Which marks of the network are tumour: a limit on its confidence, chosen without a label.

Of each part of what is marked: the mean of its logits, and how large it is. False marks are told
from real ones by a logistic regression on what the network marks in tumour-free brains, with and without a
synthetic tumour, that it did not learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from synthtumour.brain.measures import distance_mm

SMALL_ML = 20.0  # of a tumour, where it is said how many the gate costs
LEAST_ML = 0.25  # smaller parts are not looked at, nor kept
_FALSE_KEPT = 0.01  # of the false marks, at most
_LARGE_LOST = 0.05  # of the large tumours, about: the limit lies midway, as other brains have falser marks
_FEWEST_FALSE = 5
_RIDGE = 1e-2
_CORNERS = np.ones((3, 3, 3))


@dataclass(frozen=True)
class Mark:
    """One connected part of what a network marks, on its canvas."""

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


def marks_in(logits: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, list[tuple[int, Mark]]]:
    """The parts that are marked, numbered (int [i, j, k]), and what each is but for those below LEAST_ML.

    `logits` are on a canvas with voxels of `spacing_mm`.
    """
    numbers, count = ndimage.label(logits > 0, structure=_CORNERS)
    found, voxel_ml = [], spacing_mm**3 / 1000
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        part = numbers[box] == number
        volume_ml = float(part.sum() * voxel_ml)
        if volume_ml < LEAST_ML:
            continue
        depth = distance_mm(~np.pad(part, 1), np.full(3, spacing_mm))
        found.append((number, Mark(float(logits[box][part].mean()), float(depth.max()), volume_ml)))
    return numbers, found


def chosen_gate(false: Sequence[Mark], real: Sequence[Mark]) -> tuple[Gate | None, dict[str, float]]:
    """The gate that parts `real` marks from `false` ones, None without enough, and how well it does."""
    said: dict[str, float] = {"false_marks": len(false), "synthetic_marks": len(real)}
    if len(false) < _FEWEST_FALSE or len(real) < _FEWEST_FALSE:
        return None, said
    x = np.array([mark.features for mark in (*false, *real)])
    y = np.repeat([0.0, 1.0], [len(false), len(real)])
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    scaled = (x - mean) / deviation
    weight = np.where(y > 0, 0.5 / len(real), 0.5 / len(false))

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        z = scaled @ at[:-1] + at[-1]
        slope = weight * (expit(z) - y)
        gradient = np.append(slope @ scaled + 2 * _RIDGE * at[:-1], slope.sum())
        value = _RIDGE * at[:-1] @ at[:-1] - weight @ np.where(y > 0, log_expit(z), log_expit(-z))
        return float(value), gradient

    at = minimize(loss, np.zeros(3), jac=True).x
    weights = at[:-1] / deviation
    sureness, size = (float(w) for w in weights)
    gate = Gate((sureness, size), float(at[-1] - weights @ mean), 0.0)
    small, large = ([m for m in real if (m.volume_ml < SMALL_ML) == is_small] for is_small in (True, False))
    limit = float(np.quantile([gate.score(mark) for mark in false], 1 - _FALSE_KEPT))
    if large:
        sure = float(np.quantile([gate.score(mark) for mark in large], _LARGE_LOST))
        limit = max(limit, (limit + sure) / 2)
    gate = Gate(gate.weights, gate.intercept, limit + 1e-6)
    for name, marks in (("false", false), ("synthetic_small", small), ("synthetic_large", large)):
        if marks:
            said[f"{name}_kept"] = sum(map(gate.lets_through, marks)) / len(marks)
    return gate, said
