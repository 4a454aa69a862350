"""Stage 1 over a folder, one scan in a worker: read it, make its cases, say what each manifest row shows.

A module of its own, not a part of the script: workers on other machines import it by this name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtumour.brain.masks import has_bright_rim, prepare_brain, skull_stripped, tell_bright_rim
from synthtumour.brain.measures import tell_black
from synthtumour.dataset.subjects import Scan
from synthtumour.errors import InputError
from synthtumour.presets import Preset
from synthtumour.runs.cases import Case, drawing
from synthtumour.stage1.contrasts import SameTumours
from synthtumour.stage1.synthesis import Synthesis, recipient_of, synthesise, untouched
from synthtumour.tumour.placing import Recipient
from synthtumour.volume.grid import brain_box_columns
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import write_in_place


@dataclass(frozen=True)
class Source:
    """A scan as a worker needs it."""

    shown: str  # the path in messages and in the manifest, relative to the input
    scan: Scan
    skull_strip: bool
    location_prior: Path | None = None
    channels: tuple[tuple[str, Path], ...] = ()  # contrast and file
    made_mask: str = ""  # of a brain mask made for this dataset: its path in it
    unmasked: str = ""  # why none could be made
    any_brain_volume: bool = False


@dataclass(frozen=True)
class Loaded:
    """A scan in a worker's memory, for all of its cases."""

    source: Source
    scan: Volume
    brain: Volume
    recipient: Recipient
    bright_rim: bool  # of the brain mask
    prior: Volume | None
    channels: tuple[tuple[str, Volume], ...]
    brain_box: Mapping[str, float]  # as columns of the manifest


def load_scan(source: Source) -> Loaded:
    """The scan, its brain mask and, if they are wanted, its location prior and other channels."""
    if source.unmasked:
        raise InputError(source.unmasked)
    scan = read_volume(source.scan.image)
    brain = prepare_brain(scan, source.scan.image, source.scan.mask, source.any_brain_volume)
    prior = read_volume(source.location_prior) if source.location_prior else None
    channels = [(contrast, read_volume(path)) for contrast, path in source.channels]
    if source.skull_strip:
        scan = skull_stripped(scan, brain)
        for n, (contrast, channel) in enumerate(channels):
            try:
                channels[n] = contrast, skull_stripped(channel, brain)
            except InputError as error:
                raise InputError(f"{source.channels[n][1]}: {error}") from error
    box = brain_box_columns(brain.array > 0, brain.grid)
    try:
        recipient = recipient_of(scan, brain)
    except InputError as error:
        raise InputError(f"{source.shown}: {error}") from error
    tell_black(recipient.black, source.shown)
    if bright := has_bright_rim(recipient.array, recipient.brain, recipient.grid):
        tell_bright_rim(source.shown)
    return Loaded(source, scan, brain, recipient, bright, prior, tuple(channels), box)


def make_case(loaded: Loaded, case: Case) -> Mapping[str, object]:
    """Write label, images and perhaps a picture of one case and return what the manifest says of it."""
    parameters: Mapping[str, Any] = case.parameters
    if case.there:
        _draw(loaded, case, _made_before(loaded, case))
        return {}
    try:
        made, others = _synthetic(loaded, parameters)
    except InputError as error:
        raise InputError(f"{loaded.source.shown}: {error}") from error
    head_scale = parameters["head_scale"]
    written = made.resized(head_scale)
    volumes = (written.label, written.image, *(other.resized(head_scale) for other in others))
    for volume, path in zip(volumes, case.files, strict=True):
        write_in_place(volume, path)
    _draw(loaded, case, written)
    record = {**made.record, "skull_strip": loaded.source.skull_strip, "head_scale": head_scale}
    if loaded.source.made_mask:
        record["brain_mask"] = loaded.source.made_mask
    drawn = {f"tumour{n}": tumour for n, tumour in enumerate(record["tumours"], 1)}
    return {
        **flattened(written.record["measured"]),
        "tumours": len(drawn),
        "head_scale": head_scale,
        **{column: round(mm * head_scale, 3) for column, mm in loaded.brain_box.items()},
        **flattened(record["rendering"]),
        **flattened(drawn),
        "record": json.dumps(record),
    }


def _draw(loaded: Loaded, case: Case, written: Synthesis) -> None:
    """Write the picture of a case, if there is to be one."""
    for path in case.drawn:
        with drawing(path):
            from synthtumour.stage1.picture import write_picture

            head_scale = float(str(case.parameters["head_scale"]))
            before = loaded.scan.resized(head_scale), loaded.brain.resized(head_scale)
            write_picture(path, case.name, *before, written, with_brain=loaded.bright_rim)


def _made_before(loaded: Loaded, case: Case) -> Synthesis:
    """A case as it was written, of which all is there but its picture."""
    label, image = (loaded.scan.with_array(read_volume(path).array) for path in case.there[:2])
    made = Synthesis(image, label, json.loads(str(case.made["record"])))
    return made.resized(float(str(case.parameters["head_scale"])))


def _synthetic(loaded: Loaded, parameters: Mapping[str, Any]) -> tuple[Synthesis, list[Volume]]:
    """The case that `parameters` ask for, and the other channels of its head."""
    scan, brain, recipient = loaded.scan, loaded.brain, loaded.recipient
    preset = Preset(**parameters["preset"])
    drawn_for = {"seed": parameters["seed"], "case": parameters["drawn_for"]}
    if parameters["kind"] == "tumour-free":
        made = untouched(scan, brain, preset, recipient=recipient, **drawn_for)
    else:
        made = synthesise(
            scan,
            brain,
            preset,
            task=parameters["task"],
            shape_engine=parameters["shape_engine"],
            location_prior=loaded.prior,
            recipient=recipient,
            **drawn_for,
        )
    if not loaded.channels:
        return made, []
    same = SameTumours(scan, brain, made.record, recipient=recipient)
    return made, [same.put_into(channel, contrast) for contrast, channel in loaded.channels]


def flattened(nested: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """One level of columns: `shape.centre_ras_mm` of a tumour becomes `shape_centre_r_mm`, `..._a_mm`, ..."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}_"))
        elif isinstance(value, (list, tuple)):
            world = len(value) == 3 and ("_ras_" in key or key == "angles_deg")
            stem, unit = re.fullmatch(r"(.*?)((?:_mm|_deg|_ml)?)", key.replace("_ras_", "_")).groups()  # type: ignore[union-attr]
            numbered = zip("ras" if world else range(1, len(value) + 1), value, strict=True)
            flat.update(flattened({f"{stem}_{n}{unit}": item for n, item in numbered}, prefix))
        elif value is not None:
            flat[prefix + key] = value
    return flat
