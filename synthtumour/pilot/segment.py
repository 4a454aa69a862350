"""One head segmented: the network's marks, without those that the gate drops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from scipy.special import expit

from synthtumour.errors import InputError
from synthtumour.pilot.canvas import Canvas, off_canvas, on_canvas
from synthtumour.pilot.network import Pilot, PilotNetwork, load_weights, logits_of
from synthtumour.stage2.confidence import LEAST_ML, Mark, marks_in
from synthtumour.volume.grid import Grid

Networks = tuple[tuple[Pilot, PilotNetwork], ...]
_DROPPED = -1.0  # logit of what the gate drops


@dataclass(frozen=True, eq=False)
class Segmentation:
    """`tumour` (bool) and its `probability` (float32), [i, j, k] on the scan's grid; the marks behind it.

    The probability is the network's own, of dropped marks too.
    """

    tumour: np.ndarray
    probability_of: Callable[[], np.ndarray]
    kept: list[Mark]
    dropped: list[Mark]

    @property
    def probability(self) -> np.ndarray:
        return self.probability_of()


@lru_cache(maxsize=1)
def networks_in(paths: tuple[Path, ...], _: tuple[str, ...]) -> Networks:
    """The networks in files of weights, kept while the files' digests stay the same."""
    networks = tuple(load_weights(path) for path in paths)
    spacings = {pilot.canvas.spacing_mm for pilot, _ in networks}
    if len(spacings) > 1:
        sizes = " and ".join(f"{mm:g}" for mm in sorted(spacings))
        raise InputError(f"{paths[1]}: the networks see voxels of {sizes} mm; give weights of one size")
    return networks


def segmented(
    scan: np.ndarray, brain: np.ndarray, grid: Grid, networks: Networks, min_logit: float | None = None
) -> Segmentation:
    """The tumour in the `brain` (bool) of a `scan`, [i, j, k] on `grid`, by the mean of some networks.

    Marks below `min_logit` are dropped or, without it, those that the networks' own gates do not let through.
    """
    if not (values := scan[brain]).size or not values.max() > values.min():
        raise InputError("the brain has one intensity only, so nothing can be told apart in it")
    canvas = networks[0][0].canvas
    for pilot, _ in networks[1:]:
        sides = zip(canvas.shape, pilot.canvas.shape, strict=True)
        i, j, k = (max(pair) for pair in sides)
        canvas = type(canvas)((i, j, k), canvas.spacing_mm)
    canvas = canvas.with_room_for(brain, grid)
    head = on_canvas(scan, brain, grid, canvas)
    if not head.brain.any():
        raise InputError(f"the brain is too thin for voxels of {canvas.spacing_mm:g} mm")
    logits = np.mean([logits_of(network, head) for _, network in networks], axis=0)
    logits = np.where(head.brain, logits, _DROPPED * 10).astype(np.float32)
    numbers, marks = marks_in(logits, canvas.spacing_mm)
    kept = [(number, mark) for number, mark in marks if _is_tumour(mark, networks, min_logit)]
    in_kept = np.isin(numbers, [number for number, _ in kept])
    sure = np.where((logits > 0) & ~in_kept, _DROPPED, logits).astype(np.float32)
    return Segmentation(
        (off_canvas(sure, canvas, brain, grid) > 0) & brain,
        partial(_probability, logits, canvas, brain, grid),
        [mark for _, mark in kept],
        [mark for number, mark in marks if (number, mark) not in kept],
    )


def _probability(logits: np.ndarray, canvas: Canvas, brain: np.ndarray, grid: Grid) -> np.ndarray:
    probability: np.ndarray = expit(off_canvas(logits, canvas, brain, grid))
    return probability


def _is_tumour(mark: Mark, networks: Networks, min_logit: float | None) -> bool:
    if min_logit is not None:
        return mark.mean_logit >= min_logit
    gates = [pilot.gate for pilot, _ in networks if pilot.gate is not None]
    return not gates or sum(gate.score(mark) - gate.limit for gate in gates) >= 0


def check_gates(networks: Networks, paths: Sequence[Path], min_logit: float | None) -> None:
    """Warn of weights without a confidence gate, for which nothing is dropped but specks."""
    without = [path for path, (pilot, _) in zip(paths, networks, strict=True) if pilot.gate is None]
    if without and min_logit is None:
        warnings.warn(
            f"{without[0]}: has no confidence gate, so all marks from {LEAST_ML:g} ml up are kept; give a "
            "limit with --min-logit",
            stacklevel=2,
        )
