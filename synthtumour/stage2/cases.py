"""Stage 2 in a worker: a look at every head (the gate), and one mixed case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from synthtumour.errors import InputError
from synthtumour.presets import GateLimits, Mixing
from synthtumour.runs.cases import Case, drawing
from synthtumour.stage2.heads import HeadFiles, checked_donor_of, read_donor, read_head, recipient_of
from synthtumour.stage2.mix import Mixed, mix
from synthtumour.stage2.placement import DoesNotFit, draw, place
from synthtumour.stage2.pseudo_labels import Donor, Head, Rejected
from synthtumour.streams import case_generator
from synthtumour.text import counted, volume_text
from synthtumour.volume.grid import brain_box_columns
from synthtumour.volume.reading import read_volume
from synthtumour.volume.writing import write_in_place

_DRAWS_PER_PAIR = 4


@dataclass(frozen=True)
class MixSource:
    """A donor and the recipients, by name, that its cases may need."""

    donor: HeadFiles
    limits: GateLimits
    recipients: Mapping[str, HeadFiles]


def gate_case(files: HeadFiles, limits: GateLimits) -> Case:
    """The look at one head: a donor if it has a label, else a recipient."""
    role = "donor" if files.label else "healthy"
    parameters = {"limits": limits.parameters if files.label else None, "files": files.about}
    return Case(f"{role}/{files.name}", (), parameters, files.files, {"role": role, "name": files.name})


def load_for_gate(source: tuple[HeadFiles, GateLimits]) -> tuple[HeadFiles, GateLimits]:
    return source


def look_at(loaded: tuple[HeadFiles, GateLimits], case: Case) -> Mapping[str, object]:
    """Measures of a head that can be used; the kind and the reason of a rejection otherwise."""
    files, limits = loaded
    try:
        head = read_head(files, files.label is None)
        outside = np.count_nonzero(head.channels[0].array[~head.brain])
        seen = {"whole_head": bool(outside > 0.1 * head.brain.sum())}
        if files.label is None:
            return {"brain_ml": round(int(head.brain.sum()) * head.grid.voxel_ml, 1), **seen}
        measured = {**checked_donor_of(head, files, limits).measured, **seen}
    except Rejected as error:
        return {"rejected": error.kind, "why": str(error), **error.volumes_ml}
    except InputError as error:
        return {"rejected": "unusable file", "why": str(error)}
    contrasts = measured.pop("contrast")
    measured.update({f"contrast{_suffix(number)}": value for number, value in enumerate(contrasts)})
    return measured


def load_for_mixing(source: MixSource) -> tuple[Donor, Mapping[str, HeadFiles]]:
    return read_donor(source.donor, source.limits), source.recipients


def mix_case(
    name: str,
    outputs: tuple[Path, ...],
    source: MixSource,
    recipients: tuple[str, ...],
    mixing: Mixing,
    seed: int,
    split: str,
) -> Case:
    """One mixed case: `outputs` are its channels, its label and perhaps a picture."""
    donor, first = source.donor, source.recipients[recipients[0]]
    parameters = {
        "seed": seed,
        "mixing": asdict(mixing),
        "limits": source.limits.parameters,
        "donor": [donor.name, donor.about],
        "recipients": [[recipient, source.recipients[recipient].about] for recipient in recipients],
    }
    columns = {
        "id1": donor.name,
        "id2": first.name,
        "donor_subject": donor.subject,
        "recipient_subject": first.subject,
        "split": split,
        "seed": seed,
    }
    inputs = [
        *donor.files,
        *(file for recipient in recipients for file in source.recipients[recipient].files),
    ]
    pictures = len(outputs) - len(donor.channels) - 1
    return Case(name, outputs, parameters, tuple(inputs), columns, pictures=pictures)


def make_mixed(loaded: tuple[Donor, Mapping[str, HeadFiles]], case: Case) -> Mapping[str, object]:
    """Mix one case, trying its recipients in turn, write it, and return what the tables say of it."""
    donor, known = loaded
    if case.there:
        _draw_again(donor, known, case)
        return {}
    parameters: Mapping[str, Any] = case.parameters
    mixing = Mixing(**parameters["mixing"])
    candidates = [known[name] for name, _ in parameters["recipients"]]
    rng = case_generator(parameters["seed"], case.name)
    files, recipient, mixed, attempts = _first_that_fits(donor, candidates, mixing, rng)
    for image, path in zip((*mixed.channels, mixed.label), case.files, strict=True):
        write_in_place(image, path)
    _draw(case, donor, files.name, recipient, mixed)
    chosen = {"id2": files.name, "recipient_subject": files.subject, "attempts": attempts}
    labelled = {
        "pseudo_label_volume_ml": donor.measured["raw_volume_ml"],
        "refinement": donor.measured["refinement"],
    }
    box = brain_box_columns(recipient.brain, recipient.grid)
    return {**chosen, **labelled, **_columns(mixed.record), **box}


def _draw(case: Case, donor: Donor, name: str, recipient: Head, mixed: Mixed) -> None:
    """Write the picture of a case, if there is to be one; `name` is the recipient's."""
    for path in case.drawn:
        with drawing(path):
            from synthtumour.stage2.picture import write_picture

            parameters: Mapping[str, Any] = case.parameters
            volume = volume_text(mixed.record["measured"]["volume_ml"])
            turned = " mirrored" if mixed.record["placement"]["mirrored"] else ""
            facts = f"{volume}, {parameters['donor'][0]}{turned} in {name}, seed {parameters['seed']}"
            write_picture(path, case.name, facts, donor, recipient, mixed)


def _draw_again(donor: Donor, known: Mapping[str, HeadFiles], case: Case) -> None:
    """Draw a case of which all is there but its picture, from its files."""
    name = str(case.made["id2"])
    recipient = recipient_of(known[name])
    *channels, label = (recipient.channels[0].with_array(read_volume(path).array) for path in case.there)
    mixed = Mixed(tuple(channels), label, json.loads(str(case.made["record"])))
    _draw(case, donor, name, recipient, mixed)


def _first_that_fits(
    donor: Donor, recipients: Iterable[HeadFiles], mixing: Mixing, rng: np.random.Generator
) -> tuple[HeadFiles, Head, Mixed, int]:
    """The first recipient and draw that leave enough of the tumour; InputError if none does."""
    refusals: list[str] = []
    for files in recipients:
        recipient = recipient_of(files)
        # Where only the side is drawn there are but two variations, and both shall have their turn.
        drawn = (draw(mixing, rng) for _ in range(8 * _DRAWS_PER_PAIR))
        for variation in islice(dict.fromkeys(drawn), _DRAWS_PER_PAIR):
            try:
                mixed = mix(donor, recipient, place(donor, recipient, mixing, variation))
            except DoesNotFit as error:
                refusals.append(f"{files.name}: {error}")
            else:
                return files, recipient, mixed, len(refusals) + 1
    raise InputError(
        f"no pair fits after {counted(len(refusals), 'draw')} ({'; '.join(dict.fromkeys(refusals))})"
    )


def _columns(record: Mapping[str, Any]) -> dict[str, object]:
    """The record as columns of a table, and whole as JSON in the last."""
    placement, measured = dict(record["placement"]), dict(record["measured"])
    affine = placement.pop("donor_to_recipient_ras")
    columns: dict[str, object] = {}
    for name, value in {**placement, **measured}.items():
        if name == "channels":
            for number, channel in enumerate(value):
                columns.update({f"{key}{_suffix(number)}": v for key, v in channel.items()})
        elif name.endswith("_ras_mm"):
            columns.update({f"{name[:-7]}_{axis}_mm": v for axis, v in zip("ras", value, strict=True)})
        else:
            columns[name] = value
    columns["donor_to_recipient_ras"] = json.dumps(affine)
    columns["record"] = json.dumps(record)
    return columns


def _suffix(number: int) -> str:
    return f"_{number:04d}" if number else ""
