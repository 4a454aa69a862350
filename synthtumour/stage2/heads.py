"""The files of donors and recipients: found, and read."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from synthtumour.brain import hdbet
from synthtumour.brain.masks import has_bright_rim, prepare_brain, skull_stripped, tell_bright_rim
from synthtumour.brain.measures import black_level, tell_black
from synthtumour.dataset.hints import what_labels_were_seen
from synthtumour.dataset.naming import case_of, file_of_case, in_folder
from synthtumour.dataset.sessions import caution_of_sessions, subject_of_case
from synthtumour.dataset.subjects import Found, Scan, broken_links, find_scans
from synthtumour.errors import InputError
from synthtumour.files.names import EXTENSIONS, is_image, stem_of
from synthtumour.presets import GateLimits
from synthtumour.runs.cases import Report
from synthtumour.runs.run import Working
from synthtumour.stage2.pseudo_labels import Donor, Head, check_channels, checked_donor
from synthtumour.volume.reading import read_volume


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
    any_brain_volume: bool = False

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


def find_donors(
    images: Path,
    labels: Path,
    channels: int,
    masks: Path | None,
    subject_pattern: str | None,
    image_name: str | None = None,
    label_name: str | None = None,
    options: tuple[str, str] = ("--imagesTr_path", "--labelsTr_path"),
) -> tuple[list[HeadFiles], list[tuple[str, str, str]]]:
    """The scans in `images` that have a pseudo-label in `labels`, and (name, kind, reason) of the others.

    Labels are CASE.nii.gz, or as `label_name` says, beside each other or in folders as the scans are.
    Raises InputError, which names the `options` of the two folders, if there is no scan at all.
    """
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder; give the pseudo-labels with {options[1]}")
    scans = _scans_in(images, "real tumour scans", options[0], channels, image_name).scans
    whose = _subjects_of_stage1(images.parent / "manifest.csv")
    mask_of = _masks_of(scans, masks)
    by_name = _labels_by_name(labels, label_name)
    found, refused = [], []
    for scan in scans:
        label = by_name.pop(scan.name, None) or _label_in_folder(labels, label_name, images, scan)
        if label is None:
            wanted = label_name or f"{scan.name}.nii.gz"
            refused.append((scan.name, "missing label", f"no {wanted} in {labels}"))
            continue
        softmax = label.with_name(f"{stem_of(label)}.npz")
        name, known = whose.get(scan.name, (scan.name, scan.subject))
        found.append(
            HeadFiles(
                scan.name,
                subject_of_case(name, subject_pattern, known),
                _channels(scan, channels),
                mask_of[scan],
                label,
                softmax if os.path.lexists(softmax) else None,
            )
        )
    if not found and label_name is None and (seen := what_labels_were_seen(labels)):
        refused = [(name, kind, f"{reason}; there are {seen}") for name, kind, reason in refused]
    refused += [(name, "label without a scan", f"no scan for {file}") for name, file in by_name.items()]
    return found, refused


def find_recipients(
    folder: Path,
    channels: int,
    masks: Path | None,
    subject_pattern: str | None,
    image_name: str | None = None,
    what: str = "tumour-free scans",
    option: str = "--healthyimgTr",
) -> list[HeadFiles]:
    """The scans in `folder`, in any layout that Stage 1 takes.

    Raises InputError, which says `what` they are and by which `option`, if there is none.
    """
    scans = _scans_in(folder, what, option, channels, image_name).scans
    mask_of = _masks_of(scans, masks)
    return [
        HeadFiles(
            scan.name,
            subject_of_case(scan.name, subject_pattern, scan.subject),
            _channels(scan, channels),
            mask_of[scan],
        )
        for scan in scans
    ]


def caution_of(donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], pattern: str | None) -> str:
    """One line about sessions that count as subjects of their own; '' if there are none."""
    return caution_of_sessions({head.name: head.subject for head in (*donors, *recipients)}, pattern)


def _scans_in(folder: Path, what: str, option: str, channels: int, image_name: str | None) -> Found:
    """The scans in `folder`: those of `image_name` or, if there are none, those by the usual names."""
    try:
        try:
            found = find_scans(folder, image_name)
        except InputError:
            if image_name is None:
                raise
            found = _by_usual_names(folder, image_name)
    except InputError as error:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the {what} with {option}") from error
        raise InputError(
            f"{error}; {option} is a folder of {what} CASE_0000.nii.gz, of subject folders "
            "<subject>/flair.nii.gz, or a BIDS dataset"
        ) from error
    if links := broken_links(found.skipped):
        warnings.warn(f"{folder}: {links}", stacklevel=3)
    other = next((scan for scan in found.scans if not stem_of(scan.image).endswith("_0000")), None)
    if channels > 1 and other:
        raise InputError(
            f"{folder}: --modality_num {channels} needs the scans in nnU-Net form (CASE_0000.nii.gz, "
            f"CASE_0001.nii.gz, ...), and this is a folder of {found.layout} ({other.image.name})"
        )
    return found


def _by_usual_names(folder: Path, image_name: str) -> Found:
    """One folder may have other names than --image-name says, as it is there for two."""
    try:
        found = find_scans(folder)
    except InputError:
        return find_scans(folder, image_name)  # which says what was looked for
    warnings.warn(f"{folder}: holds no {image_name}; read by the usual names ({found.layout})", stacklevel=4)
    return found


def _labels_by_name(labels: Path, label_name: str | None) -> dict[str, Path]:
    """The labels that lie beside each other, by the case that they are of."""
    files = [file for file in sorted(labels.iterdir()) if is_image(file)]
    if label_name is None:
        return {stem_of(file): file for file in files}
    cases = ((case_of(file, label_name, ""), file) for file in files)
    return {case: file for case, file in cases if case is not None}


def _label_in_folder(labels: Path, label_name: str | None, images: Path, scan: Scan) -> Path | None:
    """The label of `scan` that lies in `labels` as the scan does in `images`, if it is just one."""
    place = labels / scan.image.parent.relative_to(images)
    if label_name is None or place == labels or not place.is_dir():
        return None
    own = file_of_case(place, scan.name, label_name)
    files = [file for file in in_folder(place, label_name, masks=True) if file != scan.image]
    return own or (files[0] if len(files) == 1 else None)


def _subjects_of_stage1(manifest: Path) -> dict[str, tuple[str, str]]:
    """Scan and subject of every case in Stage 1's manifest beside the images; {} if there is none."""
    if not manifest.is_file():  # nor a pipe, which would wait for ever
        return {}
    import pandas as pd

    try:
        table = pd.read_csv(manifest, dtype=str, usecols=lambda column: column in ("case", "scan", "subject"))
        table = table.dropna(subset=["case", "subject"])
        scans = table["scan"].fillna(table["subject"]) if "scan" in table else table["subject"]
        return dict(zip(table["case"], zip(scans, table["subject"], strict=True), strict=True))
    except (OSError, ValueError, KeyError):
        return {}  # somebody else's table


def _channels(scan: Scan, count: int) -> tuple[Path, ...]:
    if count == 1:
        return (scan.image,)
    first = scan.image.name
    place = first.rindex("_0000")
    return tuple(
        scan.image.with_name(f"{first[:place]}_{number:04d}{first[place + 5 :]}") for number in range(count)
    )


def _masks_of(scans: Sequence[Scan], folder: Path | None) -> dict[Scan, Path | None]:
    """The brain mask of each scan: in `folder`, or else the one beside the scan.

    HD-BET names it after the image file: CASE_0000_bet_mask, and CASE_0000_bet (version 2) or CASE_0000_mask.
    """
    if folder is None:
        return {scan: scan.mask for scan in scans}
    there = {file.name for file in folder.iterdir()}
    images = Counter(stem_of(scan.image) for scan in scans)  # flair in all folders is nobody's name
    masks: dict[Scan, Path | None] = {}
    for scan in scans:
        image = stem_of(scan.image)
        names = dict.fromkeys((image, scan.name) if images[image] == 1 else (scan.name,))
        by_hdbet = (f"{name}{end}" for end in ("_bet_mask", "_brainmask", "_mask", "_bet") for name in names)
        stems = (scan.name, f"{scan.name}_brainmask", f"{scan.name}_mask", *by_hdbet)
        files = (f"{stem}{extension}" for stem in stems for extension in EXTENSIONS)
        # one that is not there is what reading it will say
        masks[scan] = folder / next((file for file in files if file in there), f"{scan.name}.nii.gz")
    return masks


def with_made_masks(
    heads: Sequence[HeadFiles], output: Path, working: Working, sharing: Mapping[str, Any]
) -> tuple[list[HeadFiles], Report]:
    """`heads` with a brain mask made by HD-BET, in a folder of `output`, for those that have none."""
    masks = output / hdbet.FOLDER
    without = {h.name: h.channels[0] for h in heads if not (h.mask and os.path.lexists(h.mask))}
    report = hdbet.make_masks(without, masks, working, **sharing)
    failed = dict(report.failed)
    return [
        replace(head, mask=hdbet.mask_in(masks, head.name))
        if head.name in without and head.name not in failed
        else head
        for head in heads
    ], report


def read_head(files: HeadFiles, is_tumour_free: bool = False) -> Head:
    """The channels and the brain; zero outside the brain if the files are to be skull-stripped."""
    channels = [read_volume(path) for path in files.channels]
    brain = prepare_brain(channels[0], files.channels[0], files.mask, files.any_brain_volume)
    for path, channel in zip(files.channels, channels, strict=True):
        tell_black(black_level(channel.array, brain.array > 0), path)
    if is_tumour_free and has_bright_rim(channels[0].array, brain.array > 0, brain.grid):
        tell_bright_rim(files.channels[0])
    head = check_channels(tuple(channels), brain.array > 0, files.channels)
    if files.skull_strip:
        return replace(head, channels=tuple(skull_stripped(channel, brain) for channel in channels))
    return head


def recipient_of(files: HeadFiles) -> Head:
    """A recipient, kept for the next cases of this worker while its files stay the same."""
    return _kept_head(files, tuple(file.stat().st_mtime_ns for file in files.files))


@lru_cache(maxsize=4)
def _kept_head(files: HeadFiles, _: tuple[int, ...]) -> Head:
    return read_head(files, is_tumour_free=True)


def read_donor(files: HeadFiles, limits: GateLimits) -> Donor:
    """The donor with its label cleaned; Rejected if the label is no tumour."""
    return checked_donor_of(read_head(files), files, limits)


def checked_donor_of(head: Head, files: HeadFiles, limits: GateLimits) -> Donor:
    assert files.label is not None
    return checked_donor(head, read_volume(files.label), limits, files.softmax)
