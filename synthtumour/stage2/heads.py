"""The files of donors and recipients: found, and read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from synthtumour.brain.masks import has_bright_rim, prepare_brain, skull_stripped, tell_bright_rim
from synthtumour.brain.measures import black_level, tell_black
from synthtumour.dataset.subjects import Found, Scan, find_scans
from synthtumour.errors import InputError
from synthtumour.files.names import EXTENSIONS, is_image, stem_of
from synthtumour.presets import GateLimits
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
    images: Path, labels: Path, channels: int, masks: Path | None, subject_pattern: str | None
) -> tuple[list[HeadFiles], list[tuple[str, str, str]]]:
    """The scans in `images` that have a pseudo-label in `labels`, and (name, kind, reason) of the others.

    Raises InputError if there is no scan at all.
    """
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder; give the pseudo-labels with --labelsTr_path")
    scans = _scans_in(images, "real tumour scans", "--imagesTr_path").scans
    subjects = _subjects_of_stage1(images.parent / "manifest.csv")
    by_name = {stem_of(file): file for file in sorted(labels.iterdir()) if is_image(file)}
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


def read_head(files: HeadFiles) -> Head:
    """The channels and the brain; zero outside the brain if the files are to be skull-stripped."""
    channels = [read_volume(path) for path in files.channels]
    brain = prepare_brain(channels[0], files.channels[0], files.mask, files.any_brain_volume)
    for path, channel in zip(files.channels, channels, strict=True):
        tell_black(black_level(channel.array, brain.array > 0), path)
    if files.label is None and has_bright_rim(channels[0].array, brain.array > 0, brain.grid):
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
    return read_head(files)


def read_donor(files: HeadFiles, limits: GateLimits) -> Donor:
    """The donor with its label cleaned; Rejected if the label is no tumour."""
    return checked_donor_of(read_head(files), files, limits)


def checked_donor_of(head: Head, files: HeadFiles, limits: GateLimits) -> Donor:
    assert files.label is not None
    return checked_donor(head, read_volume(files.label), limits, files.softmax)
