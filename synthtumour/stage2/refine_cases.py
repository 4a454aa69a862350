"""Refinement of labels in a worker: read a scan and its label, write the refined label, say what changed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour.brain.measures import black_level, contrast, measure
from synthtumour.errors import InputError
from synthtumour.presets import Refinement
from synthtumour.runs.cases import Case, drawing
from synthtumour.stage2.confidence import CORNERS, Gate, logits_from, marks_in
from synthtumour.stage2.heads import HeadFiles, read_head
from synthtumour.stage2.pseudo_labels import Head, tumour_probability
from synthtumour.stage2.refinement import Part, in_classes_of, refined
from synthtumour.text import counted, volume_text
from synthtumour.volume.grid import bounding_box, largest_component
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume, cure
from synthtumour.volume.writing import write_in_place

EMPTY, OUTSIDE, UNSURE = "empty label", "outside the brain", "dropped by the confidence gate"


@dataclass(frozen=True)
class RefineSource:
    """A scan with its label, and how that is refined; `threshold` of the probability in its softmax file,
    `gate` on its logits."""

    files: HeadFiles
    how: Refinement | None
    threshold: float | None
    gate: Gate | None = None
    confirming: Path | None = None  # the same scan's label by another network
    unmasked: str = ""  # why no brain mask could be made


def refine_case(outputs: tuple[Path, ...], source: RefineSource, pictures: int) -> Case:
    """The label of one scan: `outputs` are the refined one and perhaps, `pictures` of them, a picture."""
    files = source.files
    assert files.label is not None
    how, gate = source.how and asdict(source.how), source.gate and asdict(source.gate)
    parameters: dict[str, object] = {"how": how, "softmax": source.threshold, "files": files.about}
    parameters |= {"gate": gate} if gate else {}
    parameters |= {"confirming": source.confirming.name} if source.confirming else {}
    columns = {
        "source": files.channels[0].name,
        "label": files.label.name,
        **({"mask": files.mask.name} if files.mask else {}),
    }
    inputs = (*files.files, *([source.confirming] if source.confirming else []))
    return Case(files.name, outputs, parameters, inputs, columns, pictures=pictures)


def load_for_refinement(source: RefineSource) -> tuple[Head, Volume, RefineSource]:
    """The scan with its brain, and its label: of a softmax file, what it says of it."""
    files = source.files
    if source.unmasked:
        raise InputError(source.unmasked)
    head, path = read_head(files), files.label
    assert path is not None
    label = read_volume(path)
    if differences := label.grid.differences(head.grid):
        remedy = cure((label, "the label"), (head.channels[0], "the scan"), "resample it")
        raise InputError(f"{path}: on another grid than the scan: {differences}; {remedy}")
    _check_classes(label.array, path)
    if source.threshold is not None:
        tumour = largest_component(_probability(files, label, "--softmax") >= source.threshold)
        label = label.with_array(in_classes_of(label.array, tumour))
    return head, label, source


def _probability(files: HeadFiles, label: Volume, option: str) -> np.ndarray:
    if files.softmax is None:
        raise InputError(
            f"{files.label}: no .npz beside it; predict with --save_probabilities, or leave out {option}"
        )
    return tumour_probability(files.softmax, label)


def _through_gate(source: RefineSource, label: Volume) -> tuple[Volume, dict[str, object]]:
    """`label` without the parts that the gate or the other network drops; what the manifest says of it."""
    if source.gate is None and source.confirming is None:
        return label, {}
    marked, said = label.array > 0, dict[str, object]()
    if source.gate is None:
        numbers, count = ndimage.label(marked, structure=CORNERS)
        kept = set(range(1, count + 1))
    else:
        logits = logits_from(_probability(source.files, label, "--gate-from"))
        numbers, marks = marks_in(logits, label.grid.spacing_mm, marked)
        kept = {number for number, mark in marks if source.gate.lets_through(mark)}
        largest = max((mark for _, mark in marks), key=lambda mark: mark.volume_ml, default=None)
        said["mean_logit"] = largest and round(largest.mean_logit, 3)
    if source.confirming is not None:
        kept &= set(numbers[_other_label(source.confirming, label)].tolist())
    sure = np.isin(numbers, list(kept))
    said |= {"dropped": int(numbers.max()) - len(kept), "dropped_ml": label.grid.volume_ml(marked & ~sure)}
    return label.with_array(np.where(sure, label.array, 0).astype(label.array.dtype)), said


def _other_label(path: Path, label: Volume) -> np.ndarray:
    """Where another network has marked tumour in the scan of `label` (bool)."""
    other = read_volume(path)
    if differences := other.grid.differences(label.grid):
        raise InputError(
            f"{path}: on another grid than the label: {differences}; predict the same scans with both"
        )
    marked: np.ndarray = other.array > 0
    return marked


def _check_classes(label: np.ndarray, path: Path) -> None:
    """Raise InputError for a label whose values are no classes."""
    if label.dtype.kind == "f" and not (np.mod(label[label > 0], 1) == 0).all():
        raise InputError(
            f"{path}: holds values that are no whole numbers, so it is no label; for nnU-Net's probabilities "
            "there is --softmax"
        )


def make_refined(loaded: tuple[Head, Volume, RefineSource], case: Case) -> Mapping[str, object]:
    """Write one refined label, and perhaps its picture; return what the manifest says of it."""
    head, label, source = loaded
    scan = head.channels[0]
    if case.there:
        _draw(case, head, label, label.with_array(read_volume(case.there[0]).array), dict(case.made))
        return {}
    made, dropped = _through_gate(source, label)
    why = EMPTY if not label.array.any() else UNSURE if not made.array.any() else ""
    parts: Sequence[Part] = ()
    if source.how is not None:
        made, parts = refined(scan, scan.with_array(head.brain), made, source.how)
        why = _why_left(parts) if parts else why or OUTSIDE
    write_in_place(made, case.files[0])
    said = {**_columns(head, label, made, parts, why), **dropped}
    _draw(case, head, label, made, said)
    return said


def _columns(head: Head, before: Volume, after: Volume, parts: Sequence[Part], why: str) -> dict[str, object]:
    """What became of a label, or `why` nothing; the levels are those of its largest part."""
    black = black_level(head.channels[0].array, head.brain)
    old, new = before.array > 0, after.array > 0
    box = bounding_box(head.brain | old)  # half the time and memory of the whole
    grid, brain, scan = head.grid.cropped(box), head.brain[box], head.channels[0].array[box]
    old, new = old[box], new[box]
    measured = measure(scan, new, brain, grid, black)
    centre = measured["centre_ras_mm"] or ()
    record = [{name: _finite(value) for name, value in asdict(part).items()} for part in parts]
    columns = {
        "volume_before_ml": grid.volume_ml(old),
        "volume_ml": measured["volume_ml"],
        "added_ml": grid.volume_ml(new & ~old),
        "removed_ml": grid.volume_ml(old & ~new),
        "parts": len(parts),
        "left_as_it_was": why,
        "tissue_level": record[0]["tissue_level"] if record else None,
        "tumour_level": record[0]["tumour_level"] if record else None,
        "contrast_before": contrast(scan, old, old, brain & ~old, grid, black) if old.any() else None,
        "contrast": measured["contrast"],
        **{f"centre_{axis}_mm": mm for axis, mm in zip("ras", centre, strict=False)},
        "record": json.dumps({"parts": record}),
    }
    return {name: _finite(value) for name, value in columns.items()}


def _why_left(parts: Sequence[Part]) -> str:
    """'too small' of a label in one part, '2 of 3 parts: 1 too small, 1 too little left' of others."""
    reasons = Counter(part.kept for part in parts if part.kept)
    if len(parts) == 1 or not reasons:
        return next(iter(reasons), "")
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"{sum(reasons.values())} of {counted(len(parts), 'part')}: {listed}"


def _finite(value: Any) -> Any:
    """None for a number that is none: there is no tissue around a label that fills the brain."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(case: Case, head: Head, before: Volume, after: Volume, said: Mapping[str, object]) -> None:
    """Write the picture of a case, if there is to be one."""
    for path in case.drawn:
        with drawing(path):
            from synthtumour.stage2.refine_picture import write_picture

            volumes = (volume_text(float(str(said[key]))) for key in ("volume_before_ml", "volume_ml"))
            left = f", left as it was: {said['left_as_it_was']}" if said["left_as_it_was"] else ""
            write_picture(path, case.name, " to ".join(volumes) + left, head, before.array, after.array)
