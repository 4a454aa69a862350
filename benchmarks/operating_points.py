"""Dice against false tumour at every limit of threshold and networks, and cases to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.nnunet_loop import NO_GATE, NnunetLoop
from benchmarks.steps import Scores, dice, label_of
from Figs.panels import Case
from synthtumour.dataset.nnunet import safe_name
from synthtumour.dataset.subjects import Scan, find_scans
from synthtumour.files.staging import write_bytes
from synthtumour.pilot.score import flair_threshold
from synthtumour.stage2.pseudo_labels import tumour_probability
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

DEVIATIONS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
PROBABILITIES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
USUAL = {"threshold": 2.0}  # of the networks it is 0.5
GATE = "gate"  # in place of a level


def write_points(loops: Sequence[NnunetLoop], scores: Scores, path: Path) -> None:
    """CSV: row, level, whether it is the usual one, mean Dice of tumours, mean ml of false tumour.

    Levels are deviations above the brain's median, or probabilities, without the gate; what passed the gate
    has one, GATE.
    """
    found: dict[tuple[str, object], dict[str, list[float]]] = defaultdict(
        lambda: {"dice": [], "false_ml": []}
    )
    for loop in loops:
        for scan, name in _scans(tested(loop)):
            truth = read_volume(label_of(scan, loop.args.labels_name)).array > 0
            for key, mask, _ in _masks(loop, _kind(loop), name):
                found[key]["dice"].append(dice(mask, truth))
        for _, name in _scans(loop.args.tumour_free or loop.args.healthy):
            for key, mask, voxel_ml in _masks(loop, "tumour_free", name):
                found[key]["false_ml"].append(float(mask.sum()) * voxel_ml)
    rows: list[dict[str, Any]] = [
        {"row": row, "level": level, "usual": int(level == USUAL.get(row, 0.5)), **_means(columns)}
        for (row, level), columns in found.items()
    ]
    for row, columns in scores.items():
        if row != "threshold" and NO_GATE not in row:
            means = _means({key: list(values.values()) for key, values in columns.items()})
            rows.append({"row": row, "level": GATE, "usual": 1, **means})
    write_bytes(pd.DataFrame(rows).round(4).to_csv(index=False).encode(), path)


def strip(loops: Sequence[NnunetLoop], scores: Scores) -> dict[str, Case]:
    """The worst, the median and the best case of the last network, refined, by what is said over each."""
    row = f"{loops[0].networks[-1]} refined"
    ranked = sorted(scores[row]["dice"].items(), key=lambda item: item[1])
    chosen = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    panels = {}
    for what, (name, value) in chosen.items():
        loop, scan = next((x, s) for x in loops for s, n in _scans(tested(x)) if n == name)
        image, brain = _scan(loop, _kind(loop), name)
        truth = read_volume(label_of(scan, loop.args.labels_name)).array > 0
        marked = read_volume(loop.predictions(row, _kind(loop)) / f"{name}.nii.gz").array > 0
        panels[f"{what}: Dice {value:.2f}"] = Case(
            image.array, brain, truth, marked & brain, image.grid.voxel_ml
        )
    return panels


def tested(loop: NnunetLoop) -> Path:
    folder: Path = loop.args.test or loop.args.tumour
    return folder


def _kind(loop: NnunetLoop) -> str:
    return "test" if loop.args.test else "tumour"


def _scans(folder: Path) -> list[tuple[Scan, str]]:
    return [(scan, safe_name(scan.name)) for scan in find_scans(folder).scans]


def _scan(loop: NnunetLoop, kind: str, name: str) -> tuple[Volume, np.ndarray]:
    """A scan as it was predicted, and its brain (bool)."""
    image = read_volume(loop.work / kind / "imagesTr" / f"{name}_0000.nii.gz")
    return image, read_volume(loop.work / kind / "masks" / f"{name}.nii.gz").array > 0


def _masks(loop: NnunetLoop, kind: str, name: str) -> Iterator[tuple[tuple[str, object], np.ndarray, float]]:
    """Row and level, what is marked there (bool), and ml of a voxel."""
    image, brain = _scan(loop, kind, name)
    for deviations in DEVIATIONS:
        mask = flair_threshold(image.array, brain, deviations)
        yield ("threshold", deviations), mask, image.grid.voxel_ml
    for network in loop.networks:
        label = loop.predictions(f"{network}{NO_GATE}", kind) / f"{name}.nii.gz"
        probability = tumour_probability(label.with_name(f"{name}.npz"), read_volume(label))
        for level in PROBABILITIES:
            yield (network, level), (probability > level) & brain, image.grid.voxel_ml


def _means(columns: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in columns.items()}
