"""`pilot_network.py score`: segmentations against experts' labels, a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour.brain.measures import distance_mm
from synthtumour.errors import InputError, require
from synthtumour.files.names import is_image, stem_of
from synthtumour.pilot.figure import write_figure
from synthtumour.runs.table import write_table
from synthtumour.stage2.heads import HeadFiles, find_recipients, read_head
from synthtumour.text import counted, print_safely
from synthtumour.volume.grid import bounding_box, grown, largest_component
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

TABLE, FIGURE = "scores.csv", "scores.png"
_SUBJECT_LABELS = ("whole_tumour", "seg", "label")  # in a subject's folder, or at the end of its name
_LEAST_LESION_ML = 0.1
_THRESHOLD_SD = 2.0  # robust standard deviations of the brain above its median
_CORNERS = np.ones((3, 3, 3))
_FACTS = ("dice", "hd95_mm", "volume_ml", "expert_ml", "lesions", "lesions_found", "false_lesions")


@dataclass(frozen=True)
class Scoring:
    """Labels to compare; fields have the options' names."""

    predictions: Path
    labels: Path
    output: Path
    tumour_free: Path | None = None
    images: Path | None = None
    brain_masks: Path | None = None
    tell: str = "usual"


def score(asked: Scoring) -> int:
    """Print the table, write it and a figure; the exit code: 1 if a scan could not be scored."""
    predictions, experts = labels_in(asked.predictions), labels_in(asked.labels)
    both = [name for name in predictions if name in experts]
    require(bool(both), f"{asked.labels}: holds no label of a case in {asked.predictions}")
    free = labels_in(asked.tumour_free) if asked.tumour_free else {}
    heads = {}
    if asked.images is not None:
        found = find_recipients(
            asked.images, 1, asked.brain_masks, None, what="scans that were segmented", option="--images"
        )
        heads = {head.name: head for head in found}
    rows = []
    failed = [f"not scored: {name}: no expert's label" for name in predictions if name not in experts]
    for name in both:
        try:
            predicted, expert = read_volume(predictions[name]), read_volume(experts[name])
            row = {"case": name, "kind": "tumour", **compared(predicted, expert)}
        except InputError as error:
            failed.append(f"not scored: {name}: {error}")
            continue
        rows.append(row)
        if name in heads:
            try:
                row["threshold_dice"] = _threshold_dice(heads[name], expert)
            except InputError as error:
                failed.append(f"no FLAIR threshold: {name}: {error}")
    for name, path in free.items():
        try:
            label = read_volume(path)
        except InputError as error:
            failed.append(f"not scored: {name}: {error}")
        else:
            volume_ml = label.grid.volume_ml(label.array > 0)
            rows.append({"case": name, "kind": "tumour-free", "volume_ml": volume_ml})
    asked.output.mkdir(parents=True, exist_ok=True)
    columns = ("case", "kind", *_FACTS, *(["threshold_dice"] if heads else []))
    write_table(rows, {column: column for column in columns}, asked.output / TABLE)
    for line in summary(rows):
        print_safely(line)
    for line in failed:
        print_safely(line)
    if asked.tell != "quiet":
        print_safely(f"table: {asked.output / TABLE}")
        print_safely(write_figure(rows, asked.output / FIGURE))
    return int(bool(failed))


def _threshold_dice(files: HeadFiles, expert: Volume) -> float:
    head = read_head(files)
    marked = Volume.with_array(head.channels[0], flair_threshold(head.channels[0].array, head.brain))
    return float(compared(marked, expert)["dice"])


def labels_in(folder: Path) -> dict[str, Path]:
    """Labels CASE.nii.gz by their case, or those in subject folders by their subject."""
    require(folder.is_dir(), f"{folder}: no such folder")
    found = {}
    for entry in sorted(folder.iterdir()):
        if is_image(entry):
            found[stem_of(entry)] = entry
        elif entry.is_dir() and not entry.name.startswith("."):
            images = filter(is_image, sorted(entry.iterdir()))
            if label := next((file for file in images if stem_of(file).endswith(_SUBJECT_LABELS)), None):
                found[entry.name] = label
    require(bool(found), f"{folder}: holds no label CASE.nii.gz and no subject's {_SUBJECT_LABELS[0]}.nii.gz")
    return found


def compared(predicted: Volume, expert: Volume) -> dict[str, Any]:
    """Dice, HD95 in mm, volumes in ml and lesions of two labels on one grid; anything above 0 is tumour.

    HD95 is the 95th percentile of the distances from either surface to the other (Maier-Hein et al., Nature
    Methods 2024), None if a label is empty. A lesion is a part of the expert's label, found if any of it is
    marked.
    """
    if differences := predicted.grid.differences(expert.grid):
        raise InputError(f"the labels are on different grids: {differences}; resample one")
    one, other, grid = predicted.array > 0, expert.array > 0, expert.grid
    total = int(one.sum()) + int(other.sum())
    lesions, found = _lesions(other, one, grid.voxel_ml)
    marks, true = _lesions(one, other, grid.voxel_ml)
    return {
        "dice": 2 * int((one & other).sum()) / total if total else 1.0,
        "hd95_mm": _hd95_mm(one, other, expert) if one.any() and other.any() else None,
        "volume_ml": grid.volume_ml(one),
        "expert_ml": grid.volume_ml(other),
        "lesions": lesions,
        "lesions_found": found,
        "false_lesions": marks - true,
    }


def _hd95_mm(one: np.ndarray, other: np.ndarray, like: Volume) -> float:
    box = grown(bounding_box(one | other), float(like.grid.spacing_mm.max()), like.grid)
    borders = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (one, other)]
    to_one, to_other = (distance_mm(border, like.grid.spacing_mm) for border in borders)
    return max(float(np.percentile(d[b], 95)) for d, b in ((to_other, borders[0]), (to_one, borders[1])))


def _lesions(mask: np.ndarray, against: np.ndarray, voxel_ml: float) -> tuple[int, int]:
    """How many parts `mask` has, but for specks, and how many of them meet `against`."""
    numbers, count = ndimage.label(mask, structure=_CORNERS)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:] * voxel_ml
    met = np.bincount(numbers[against], minlength=count + 1)[1:] > 0
    large = sizes >= _LEAST_LESION_ML
    return int(large.sum()), int((large & met).sum())


def flair_threshold(scan: np.ndarray, brain: np.ndarray, deviations: float = _THRESHOLD_SD) -> np.ndarray:
    """The largest part of a `brain` (bool) that is brighter than its median by so many robust deviations."""
    values = scan[brain].astype(np.float64)
    middle = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - middle))
    return largest_component(brain & (scan > middle + deviations * deviation))


def summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the means, for a terminal."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=("case", "kind", *_FACTS, "threshold_dice"))
    tumour, free = table[table["kind"] == "tumour"], table[table["kind"] == "tumour-free"]
    lines = []
    if len(tumour):
        means = [
            ("Dice", "dice", ".3f"),
            ("HD95, mm", "hd95_mm", ".1f"),
            ("volume, ml", "volume_ml", ".1f"),
            ("expert's volume, ml", "expert_ml", ".1f"),
            ("Dice of a FLAIR threshold", "threshold_dice", ".3f"),
        ]
        lines.append(f"{len(tumour)} scans with expert's labels{'':10}mean   median    least     most")
        for name, column, form in means:
            if column in tumour and tumour[column].notna().any():
                values = tumour[column].astype(float).dropna()
                said = (values.mean(), values.median(), values.min(), values.max())
                lines.append(f"{name:<34}" + "".join(f"{value:>9{form}}" for value in said))
        found, all_ = int(tumour["lesions_found"].sum()), int(tumour["lesions"].sum())
        lines.append(f"lesions found: {found} of {all_}; false ones: {int(tumour['false_lesions'].sum())}")
    if len(free):
        volumes = free["volume_ml"].astype(float)
        lines.append(
            f"false tumour in {counted(len(free), 'tumour-free scan')}: mean {volumes.mean():.2f} ml, most "
            f"{volumes.max():.2f} ml; empty: {int((volumes == 0).sum())}"
        )
    return lines
