"""The confidence gate chosen, without a label of a real tumour, by marks in brains kept out of training.

Of each mark count its mean logit and how large it is. The pilot network's gate tells false marks from real
ones by a logistic regression. nnU-Net's validation cases have few false marks: its gate is by the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import theilslopes

from synthtumour.errors import InputError, require
from synthtumour.files.names import is_image, stem_of
from synthtumour.stage2.confidence import Gate, Mark, logits_from, marks_in
from synthtumour.stage2.pseudo_labels import tumour_probability
from synthtumour.volume.reading import read_volume

SMALL_ML = 20.0  # of a tumour, where it is said how many the gate costs
_FALSE_KEPT = 0.01  # of the false marks, at most
_LARGE_LOST = 0.05  # of the large tumours, about: the limit lies midway, as other brains have falser marks
_FEWEST_FALSE = 5
_FEWEST_REAL = 8  # for a line through them
_LESS_SURE = 0.36  # of the median logit; see benchmarks/TWO_STAGE.md
_LEAST_FOUND = 1 / 3  # of a tumour, for its mark to count: splinters are not as sure
_LEAST_RANGE = 0.5  # of the logs of the volumes in ml
_RIDGE = 1e-2
_REAL, _FALSE = 0.5, 0.1  # so much of a mark at least, or at most, lies in the tumour; between is neither


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
    large = [mark for mark in real if mark.volume_ml >= SMALL_ML]
    limit = float(np.quantile([gate.score(mark) for mark in false], 1 - _FALSE_KEPT))
    if large:
        sure = float(np.quantile([gate.score(mark) for mark in large], _LARGE_LOST))
        limit = max(limit, (limit + sure) / 2)
    gate = Gate(gate.weights, gate.intercept, limit + 1e-6)
    return gate, {**said, **_kept(gate, real, false)}


def _kept(gate: Gate, real: Sequence[Mark], false: Sequence[Mark]) -> dict[str, float]:
    """The shares of marks that the gate lets through, of each kind that there is."""
    small, large = ([m for m in real if (m.volume_ml < SMALL_ML) == is_small] for is_small in (True, False))
    kinds = {"false": false, "synthetic_small": small, "synthetic_large": large}
    return {
        f"{kind}_kept": sum(map(gate.lets_through, marks)) / len(marks)
        for kind, marks in kinds.items()
        if marks
    }


def sort_marks(
    numbers: np.ndarray,
    marks: Sequence[tuple[int, Mark]],
    tumour: np.ndarray,
    false: list[Mark],
    real: list[Mark],
) -> None:
    """Add each mark to the `false` or the `real` ones, by how much of it lies in the `tumour` (bool)."""
    for number, mark in marks:
        share = tumour[numbers == number].mean()
        if share > _REAL:
            real.append(mark)
        elif share < _FALSE:
            false.append(mark)


def gate_by_size(real: Sequence[Mark], false: Sequence[Mark] = ()) -> tuple[Gate | None, dict[str, float]]:
    """The gate that drops what is far less sure than the `real` marks are for their size; None for too few.

    A line is laid through their mean logits over the log of their volumes (Theil and Sen's, which outliers do
    not move). Dropped is what lies below it by more than 0.36 of the median of those logits. It does without
    the `false` marks, but says how many of them it keeps.
    """
    said: dict[str, float] = {"false_marks": len(false), "synthetic_marks": len(real)}
    if len(real) < _FEWEST_REAL:
        return None, said
    logits, sizes = (np.array(values) for values in zip(*(mark.features for mark in real), strict=True))
    slope = min(float(theilslopes(logits, sizes).slope), 0.0) if np.ptp(sizes) > _LEAST_RANGE else 0.0
    over = logits - slope * sizes
    middle = float(np.median(over))
    gate = Gate((1.0, -slope), -middle, -_LESS_SURE * float(np.median(logits)))
    return gate, {**said, **_kept(gate, real, false)}


def gate_of_validation(predictions: Path, labels: Path) -> tuple[Gate | None, dict[str, float]]:
    """The gate by nnU-Net's predictions of validation cases, CASE.nii.gz and CASE.npz, and their `labels`.

    Those are called CASE.nii.gz too. Raises InputError if there is no such case.
    """
    false: list[Mark] = []
    real: list[Mark] = []
    cases = 0
    for label, truth, softmax in _cases_in(predictions, labels):
        predicted, tumour = read_volume(label), read_volume(truth)
        if differences := predicted.grid.differences(tumour.grid):
            raise InputError(
                f"{label}: on another grid than {truth}: {differences}; give the labels of these cases"
            )
        logits = logits_from(tumour_probability(softmax, predicted))
        numbers, marks = marks_in(logits, predicted.grid.spacing_mm, predicted.array > 0)
        true = tumour.array > 0
        found: list[Mark] = []
        sort_marks(numbers, marks, true, false, found)
        least_ml = _LEAST_FOUND * predicted.grid.volume_ml(true)
        real += [mark for mark in found if mark.volume_ml >= least_ml]
        cases += 1
    require(
        bool(cases),
        f"{predictions}: holds no CASE.nii.gz with CASE.npz of a label in {labels}; train nnU-Net with "
        "--npz, and give its fold_0/validation and the dataset's labelsTr",
    )
    gate, said = gate_by_size(real, false)
    return gate, {"cases": cases, **said}


def _cases_in(predictions: Path, labels: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Prediction, true label and softmax file of each case that has all three."""
    for folder in (predictions, labels):
        require(folder.is_dir(), f"{folder}: no such folder; --gate-from takes predictions and their labels")
    for label in sorted(filter(is_image, predictions.iterdir())):
        truth, softmax = labels / label.name, label.with_name(f"{stem_of(label)}.npz")
        if truth.is_file() and softmax.is_file():
            yield label, truth, softmax


def about_gate(figures: Mapping[str, float], chosen: bool, by_size: bool = False) -> list[str]:
    """What is said of a gate, `by_size` or by false marks, or of why there is none."""
    false, tumours = (int(figures[f"{kind}_marks"]) for kind in ("false", "synthetic"))
    if by_size:
        marks, overlap = f"{tumours} tumours", "some tumours are less sure than others of their size"
    else:
        marks = f"{false} false marks and {tumours} synthetic tumours"
        overlap = "the two overlap: some tumours look like false marks"
    if not chosen:
        return [f"no confidence gate: only {marks} were marked in the scans kept out"]
    kept = [
        f"{figures[key]:.0%} of {what}"
        for key, what in (
            ("false_kept", f"the {false} false marks" if by_size else "the false marks"),
            ("synthetic_small_kept", f"the {'' if by_size else 'synthetic '}tumours below 20 ml"),
            ("synthetic_large_kept", "the larger ones"),
        )
        if key in figures
    ]
    lines = [f"confidence gate, chosen by {marks}: it keeps {', '.join(kept)}"]
    return [*lines, overlap] if figures.get("synthetic_large_kept", 1) < 1 else lines
