"""Segmentation in a worker: read a scan, segment it, refine and write the label, say what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from synthtumour.brain.measures import black_level, measure
from synthtumour.brain.sequence import check_flair
from synthtumour.errors import InputError
from synthtumour.pilot.segment import Networks, Segmentation, networks_in, segmented
from synthtumour.presets import Refinement
from synthtumour.runs.cases import Case, drawing
from synthtumour.stage2.heads import HeadFiles, read_head
from synthtumour.stage2.pseudo_labels import Head
from synthtumour.stage2.refinement import refined_mask
from synthtumour.text import volume_text
from synthtumour.volume.reading import read_volume
from synthtumour.volume.writing import write_in_place


@dataclass(frozen=True)
class PredictSource:
    """A scan to segment, and by what."""

    files: HeadFiles
    weights: tuple[Path, ...]
    digests: tuple[str, ...]
    refinement: Refinement | None
    min_logit: float | None
    unmasked: str = ""  # why no brain mask could be made


def predict_case(
    source: PredictSource, label: Path, probabilities: Path | None, picture: Path | None
) -> Case:
    """The case that one scan is."""
    outputs = [path for path in (label, probabilities, picture) if path]
    parameters = {
        "weights": source.digests,
        "refinement": source.refinement and asdict(source.refinement),
        "min_logit": source.min_logit,
        "probabilities": probabilities is not None,
        "files": source.files.about,
    }
    mask = source.files.mask
    columns = {"source": source.files.channels[0].name, **({"mask": mask.name} if mask else {})}
    return Case(
        source.files.name,
        tuple(outputs),
        parameters,
        source.files.files,
        columns,
        pictures=int(picture is not None),
    )


def load_for_prediction(source: PredictSource) -> tuple[Head, PredictSource, Networks]:
    """The scan with its brain, and the networks."""
    torch.set_num_threads(1)  # a process a core
    if source.unmasked:
        raise InputError(source.unmasked)
    return read_head(source.files), source, networks_in(source.weights, source.digests)


def make_prediction(loaded: tuple[Head, PredictSource, Networks], case: Case) -> Mapping[str, object]:
    """Write the label of one scan, and perhaps its probabilities and picture; what the manifest says."""
    head, source, networks = loaded
    scan = head.channels[0]
    if case.there:
        label = read_volume(case.there[0]).array > 0
        _draw(case, head, label, label, dict(case.made))
        return {}
    check_flair(scan.array, head.brain, head.grid, source.files.channels[0])
    found = segmented(scan.array, head.brain, head.grid, networks, source.min_logit)
    label, said = _refined(head, found, source.refinement)
    write_in_place(scan.with_array(label), case.files[0])
    if case.parameters["probabilities"]:
        _write_probabilities(head, found.probability, case.files[1])
    said = {**_columns(head, found, label), **said}
    _draw(case, head, found.tumour, label, said)
    return said


def _refined(head: Head, found: Segmentation, how: Refinement | None) -> tuple[np.ndarray, dict[str, object]]:
    """The label whose border the scan's contrast says, and what became of its parts."""
    if how is None or not found.tumour.any():
        return found.tumour, {"refinement": "" if how else "off"}
    label, parts = refined_mask(head.channels[0].array, head.brain, found.tumour, head.grid, how)
    return label, {"refinement": "; ".join(part.kept or "refined" for part in parts)}


def _columns(head: Head, found: Segmentation, label: np.ndarray) -> dict[str, object]:
    scan = head.channels[0].array
    measured = measure(scan, label, head.brain, head.grid, black_level(scan, head.brain))
    sure = max(found.kept, key=lambda mark: mark.volume_ml, default=None)
    lost = max(found.dropped, key=lambda mark: mark.volume_ml, default=None)
    centre = measured["centre_ras_mm"] or ()
    return {
        "volume_ml": measured["volume_ml"],
        "volume_before_ml": head.grid.volume_ml(found.tumour),
        "parts": len(found.kept),
        "mean_logit": sure and round(sure.mean_logit, 3),
        "thickness_mm": sure and round(sure.thickness_mm, 1),
        "dropped": len(found.dropped),
        "dropped_ml": lost and round(lost.volume_ml, 3),
        "dropped_mean_logit": lost and round(lost.mean_logit, 3),
        "contrast": measured["contrast"],
        **{f"centre_{axis}_mm": mm for axis, mm in zip("ras", centre, strict=False)},
    }


def _write_probabilities(head: Head, tumour: np.ndarray, path: Path) -> None:
    """As nnU-Net has them: (background and tumour, z, y, x) of the scan's file, float32."""
    stored = head.channels[0].with_array(tumour).in_stored_order().transpose(2, 1, 0)
    with path.open("wb") as file:
        np.savez_compressed(file, probabilities=np.stack([1 - stored, stored]).astype(np.float32))


def _draw(case: Case, head: Head, before: np.ndarray, after: np.ndarray, said: Mapping[str, object]) -> None:
    """Write the picture of a case, if there is to be one."""
    for path in case.drawn:
        with drawing(path):
            from synthtumour.stage2.refine_picture import write_picture

            volume_ml = float(str(said["volume_ml"]))
            facts = volume_text(volume_ml) if volume_ml else "nothing marked"
            write_picture(path, case.name, facts, head, before.astype(np.uint8), after.astype(np.uint8))
