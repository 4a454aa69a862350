"""Stage 2 over folders: finds donors and recipients, and does in a worker what each of them needs.

Three kinds of work run on `fanout`: every head is looked at once (the gate), every pair is mixed, and the
senior network's dataset is put together.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from synthtumour.fanout import Case
from synthtumour.journal import read_json
from synthtumour.nnunet import VAL_SUFFIX, dataset_at, safe_name
from synthtumour.presets import GateLimits, Mixing
from synthtumour.pseudo_labels import Donor, Head, Rejected, check_channels, checked_donor
from synthtumour.shape import brain_box_columns
from synthtumour.stage1 import case_generator, prepare_brain, skull_stripped
from synthtumour.stage2 import DoesNotFit, Mixed, draw, mix, place
from synthtumour.subjects import Found, Scan, find_scans
from synthtumour.volume import (
    EXTENSIONS,
    InputError,
    check_file,
    read_volume,
    write_in_place,
)

_DRAWS_PER_PAIR = 4


@dataclass(frozen=True)
class HeadFiles:
    """The files of one head; a donor has a `label`, and perhaps the `softmax` that nnU-Net saved with it."""

    name: str
    subject: str
    channels: tuple[Path, ...]
    mask: Path | None
    label: Path | None = None
    softmax: Path | None = None
    skull_strip: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(file for file in (*self.channels, self.mask, self.label, self.softmax) if file)

    @property
    def about(self) -> list[object]:
        """What else than the bytes in them a case made from these files follows from."""
        return [
            self.skull_strip,
            *(file and file.name for file in (*self.channels, self.mask, self.label, self.softmax)),
        ]


@dataclass(frozen=True)
class MixSource:
    """A donor and the recipients, by name, that its cases may need."""

    donor: HeadFiles
    limits: GateLimits
    recipients: Mapping[str, HeadFiles]


# ---------------------------------------------------------------- finding


def find_donors(
    images: Path, labels: Path, channels: int, masks: Path | None, subject_pattern: str | None
) -> tuple[list[HeadFiles], list[tuple[str, str, str]]]:
    """The scans in `images` that have a pseudo-label in `labels`, and (name, kind, reason) of the others.

    Raises InputError if there is no scan at all.
    """
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder; give the pseudo-labels with --labelsTr_path")
    scans = _scans_in(images, "real tumour scans", "--imagesTr_path").scans
    subjects = _subjects_of_stage1(images.parent / "manifest.csv")
    by_name = {_stem(file): file for file in sorted(labels.iterdir()) if _is_image(file)}
    found, refused = [], []
    for scan in scans:
        label = by_name.pop(scan.name, None)
        if label is None:
            refused.append((scan.name, "missing label", f"no {scan.name}.nii.gz in {labels}"))
            continue
        softmax = labels / f"{scan.name}.npz"
        subject = subject_of(subjects.get(scan.name, scan.subject), subject_pattern)
        found.append(
            HeadFiles(
                scan.name,
                subject,
                _channels(scan, channels),
                _mask_in(masks, scan),
                label,
                softmax if os.path.lexists(softmax) else None,
            )
        )
    refused += [(name, "label without a scan", f"no scan for {file}") for name, file in by_name.items()]
    return found, refused


def find_recipients(
    folder: Path, channels: int, masks: Path | None, subject_pattern: str | None
) -> list[HeadFiles]:
    """The tumour-free scans in `folder`, in any layout that Stage 1 takes; InputError if there is none."""
    found = _scans_in(folder, "tumour-free scans", "--healthyimgTr")
    if channels > 1 and found.layout != "nnU-Net":
        raise InputError(
            f"{folder}: --modality_num {channels} needs the scans in nnU-Net form (CASE_0000.nii.gz, "
            f"CASE_0001.nii.gz, ...), and this is a folder of {found.layout}"
        )
    return [
        HeadFiles(
            scan.name,
            subject_of(scan.subject, subject_pattern),
            _channels(scan, channels),
            _mask_in(masks, scan),
        )
        for scan in found.scans
    ]


def _scans_in(folder: Path, what: str, option: str) -> Found:
    try:
        return find_scans(folder)
    except InputError as error:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the {what} with {option}") from error
        raise InputError(
            f"{folder}: holds no scan; {option} is a folder of {what} CASE_0000.nii.gz, of subject folders "
            "<subject>/flair.nii.gz, or a BIDS dataset"
        ) from error


def subject_of(name: str, pattern: str | None) -> str:
    """Who was scanned: the first group of `pattern` (or all it matches) in `name`.

    Without a pattern the endings that Stage 1 gives go (`_v03`, `_free`, `val`), and of a BIDS name all but
    `sub-...`.
    """
    if pattern is not None:
        match = re.search(pattern, name)
        if match is None:
            raise InputError(f"--subject-pattern {pattern!r}: does not match {name!r}")
        return match[1] if match.re.groups and match[1] else match[0]
    if match := re.match(r"sub-[A-Za-z0-9]+", name):
        return match[0]
    return re.sub(r"(_v\d{2,}|_free)?(val)?$", "", name) or name


def _subjects_of_stage1(manifest: Path) -> dict[str, str]:
    """The subject of every case that Stage 1's manifest beside the images tells of; {} if there is none."""
    if not manifest.is_file():  # nor a pipe, which would wait for ever
        return {}
    import pandas as pd

    try:
        table = pd.read_csv(manifest, dtype=str, usecols=["case", "subject"]).dropna()
    except (OSError, ValueError):
        return {}  # somebody else's table
    return dict(zip(table["case"], table["subject"], strict=True))


def _channels(scan: Scan, count: int) -> tuple[Path, ...]:
    if count == 1:
        return (scan.image,)
    first = scan.image.name
    place = first.rindex("_0000")
    return tuple(
        scan.image.with_name(f"{first[:place]}_{number:04d}{first[place + 5 :]}") for number in range(count)
    )


def _mask_in(masks: Path | None, scan: Scan) -> Path | None:
    """The brain mask of `scan` in the folder `masks`, or else the one beside it."""
    if masks is None:
        return scan.mask
    for stem in (scan.name, f"{scan.name}_brainmask", f"{scan.name}_mask"):
        for extension in EXTENSIONS:
            if os.path.lexists(masks / f"{stem}{extension}"):
                return masks / f"{stem}{extension}"
    return masks / f"{scan.name}.nii.gz"  # not there, which reading it will say


def _stem(file: Path) -> str:
    extension = next(e for e in EXTENSIONS if file.name.lower().endswith(e))
    return file.name[: -len(extension)]


def _is_image(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.lower().endswith(EXTENSIONS)


# ---------------------------------------------------------------- reading


def read_head(files: HeadFiles) -> Head:
    """The channels and the brain; zero outside the brain if the files are to be skull-stripped."""
    channels = [read_volume(path) for path in files.channels]
    brain = prepare_brain(channels[0], files.channels[0], files.mask)
    head = check_channels(tuple(channels), brain.array > 0, files.channels)
    if files.skull_strip:
        return replace(head, channels=tuple(skull_stripped(channel, brain) for channel in channels))
    return head


def _recipient(files: HeadFiles) -> Head:
    """A recipient, kept for the next cases of this worker while its files stay the same."""
    return _kept_head(files, tuple(file.stat().st_mtime_ns for file in files.files))


@lru_cache(maxsize=4)
def _kept_head(files: HeadFiles, _: tuple[int, ...]) -> Head:
    return read_head(files)


def read_donor(files: HeadFiles, limits: GateLimits) -> Donor:
    """The donor with its label cleaned; Rejected if the label is no tumour."""
    return _checked_donor(read_head(files), files, limits)


def _checked_donor(head: Head, files: HeadFiles, limits: GateLimits) -> Donor:
    assert files.label is not None
    return checked_donor(head, read_volume(files.label), limits, files.softmax)


# ---------------------------------------------------------------- the gate


def gate_case(files: HeadFiles, limits: GateLimits) -> Case:
    """The look at one head: a donor if it has a label, else a recipient."""
    role = "donor" if files.label else "healthy"
    parameters = {"limits": asdict(limits) if files.label else None, "files": files.about}
    return Case(f"{role}/{files.name}", (), parameters, files.files, {"role": role, "name": files.name})


def load_for_gate(source: tuple[HeadFiles, GateLimits]) -> tuple[HeadFiles, GateLimits]:
    return source


def look_at(loaded: tuple[HeadFiles, GateLimits], case: Case) -> Mapping[str, object]:
    """Measures of a head that can be used; the kind and the reason of a rejection otherwise."""
    files, limits = loaded
    try:
        head = read_head(files)
        outside = np.count_nonzero(head.channels[0].array[~head.brain])
        seen = {"whole_head": bool(outside > 0.1 * head.brain.sum())}
        if files.label is None:
            return {"brain_ml": round(int(head.brain.sum()) * head.grid.voxel_ml, 1), **seen}
        measured = {**_checked_donor(head, files, limits).measured, **seen}
    except Rejected as error:
        return {"rejected": error.kind, "why": str(error)}
    except InputError as error:
        return {"rejected": "unusable file", "why": str(error)}
    contrasts = measured.pop("contrast")
    measured.update({f"contrast{_suffix(number)}": value for number, value in enumerate(contrasts)})
    return measured


# ---------------------------------------------------------------- mixing


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
        "limits": asdict(source.limits),
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
    return Case(name, outputs, parameters, tuple(inputs), columns)


def make_mixed(loaded: tuple[Donor, Mapping[str, HeadFiles]], case: Case) -> Mapping[str, object]:
    """Mix one case, trying its recipients in turn, write it, and return what the tables say of it."""
    donor, known = loaded
    parameters: Mapping[str, Any] = case.parameters
    mixing = Mixing(**parameters["mixing"])
    candidates = [known[name] for name, _ in parameters["recipients"]]
    rng = case_generator(parameters["seed"], case.name)
    files, recipient, mixed, attempts = _first_that_fits(donor, candidates, mixing, rng)
    count = len(mixed.channels)
    for image, path in zip((*mixed.channels, mixed.label), case.outputs[: count + 1], strict=True):
        write_in_place(image, path)
    for path in case.outputs[count + 1 :]:
        from synthtumour.preview import volume_text, write_stage2_preview

        volume = volume_text(mixed.record["measured"]["volume_ml"])
        turned = " mirrored" if mixed.record["placement"]["mirrored"] else ""
        facts = f"{volume}, {parameters['donor'][0]}{turned} in {files.name}, seed {parameters['seed']}"
        write_stage2_preview(path, case.name, facts, donor, recipient, mixed)
    chosen = {"id2": files.name, "recipient_subject": files.subject, "attempts": attempts}
    return {**chosen, **_columns(mixed.record), **brain_box_columns(recipient.brain, recipient.grid)}


def _first_that_fits(
    donor: Donor, recipients: Iterable[HeadFiles], mixing: Mixing, rng: np.random.Generator
) -> tuple[HeadFiles, Head, Mixed, int]:
    """The first recipient and draw that leave enough of the tumour; InputError if none does."""
    refusals: list[str] = []
    for files in recipients:
        recipient = _recipient(files)
        # Where only the side is drawn there are but two variations, and both shall have their turn.
        drawn = (draw(mixing, rng) for _ in range(8 * _DRAWS_PER_PAIR))
        for variation in islice(dict.fromkeys(drawn), _DRAWS_PER_PAIR):
            try:
                mixed = mix(donor, recipient, place(donor, recipient, mixing, variation))
            except DoesNotFit as error:
                refusals.append(f"{files.name}: {error}")
            else:
                return files, recipient, mixed, len(refusals) + 1
    raise InputError(f"no pair fits after {len(refusals)} draws ({'; '.join(dict.fromkeys(refusals))})")


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


# ---------------------------------------------------------------- the senior's dataset


@dataclass(frozen=True)
class Member:
    """Where a case of the combined dataset comes from: a donor, a tumour-free scan, or `files` to copy."""

    head: HeadFiles | None
    limits: GateLimits
    files: tuple[Path, ...] = ()
    volume_ml: object = None  # of the label among `files`, as measured when it was made

    @property
    def parameters(self) -> dict[str, object]:
        """What the bytes of the case follow from."""
        if self.head is None:
            return {"copied": True}
        if self.head.label is None:
            return {"tumour-free": self.head.about}
        return {"donor": self.head.about, "limits": asdict(self.limits)}

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.files if self.head is None else self.head.files


@dataclass(frozen=True)
class Stage1Case:
    """A case of a Stage 1 dataset: its files (channels, then the label), subject and side of the split."""

    name: str
    subject: str
    split: str
    kind: str
    files: tuple[Path, ...]
    volume_ml: float


def find_stage1_cases(folder: Path, channels: int, subject_pattern: str | None) -> list[Stage1Case]:
    """The cases that prompt_multi_tumor.py made in `folder`; InputError if it is no such dataset."""
    import pandas as pd

    dataset = dataset_at(folder)
    columns = dict.fromkeys(("case", "subject", "split", "kind", "status"), str) | {"volume_ml": float}
    try:
        check_file(folder / "manifest.csv")
        labels = read_json(dataset.files[0])["labels"]
        table = pd.read_csv(folder / "manifest.csv", dtype=columns, usecols=list(columns))
        if not isinstance(labels, dict):
            raise ValueError("dataset.json has no labels")
        if not all(map(_is_stage1_row, table[list(columns)].itertuples(index=False, name=None))):
            raise ValueError("manifest.csv is not as it was written")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{folder}: not a finished dataset of prompt_multi_tumor.py ({error}); give that to --stage1"
        ) from error
    if "tumour" not in labels and "tumour" not in labels.values():
        raise InputError(
            f"{folder}: made with --labels brats; the senior learns whole tumours, so leave that out"
        )
    found = []
    for case, subject, split, kind, status, volume_ml in table[list(columns)].itertuples(index=False):
        files = (*(dataset.image(case, number) for number in range(channels)), dataset.label(case))
        if status != "made":
            continue
        if missing := [file for file in files if not file.is_file()]:
            what = "not a file" if os.path.lexists(missing[0]) else "no such file"
            raise InputError(f"{missing[0]}: {what}; run Stage 1 again, or leave --stage1 out")
        whose = subject_of(subject, subject_pattern)
        found.append(Stage1Case(case, whose, split, kind, files, volume_ml))
    return found


def _is_stage1_row(row: tuple[object, ...]) -> bool:
    """Whether a manifest's row can be of Stage 1: a name becomes that of files to read and write."""
    case, subject, split, kind, _, _ = row
    return (
        isinstance(case, str)
        and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", case) is not None
        and isinstance(subject, str)
        and split in ("train", "val")
        and isinstance(kind, str)
    )


def member_name(donor: str) -> str:
    """A donor's name as nnU-Net can take it; the ending of Stage 1's validation task may stay here."""
    stem = donor.removesuffix(VAL_SUFFIX)
    return safe_name(stem) + donor[len(stem) :] if stem else safe_name(donor)


def load_member(source: Member) -> Member:
    return source


def make_member(member: Member, case: Case) -> Mapping[str, object]:
    """Copy a case, or write a donor with its cleaned pseudo-label or a tumour-free scan with an empty one."""
    if member.head is None:
        for file, output in zip(member.files, case.outputs, strict=True):
            shutil.copyfile(file, output)
        return {"volume_ml": member.volume_ml}
    if member.head.label is None:
        head, tumour, volume_ml = read_head(member.head), None, 0.0
    else:
        donor = read_donor(member.head, member.limits)
        head, tumour, volume_ml = donor.head, donor.label, donor.measured["volume_ml"]
    label = head.channels[0].with_array(np.zeros_like(head.brain) if tumour is None else tumour)
    for volume, path in zip((*head.channels, label), case.outputs, strict=True):
        write_in_place(volume, path)
    return {"volume_ml": volume_ml}
