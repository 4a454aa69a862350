"""Finds the scans in a folder, whichever of three layouts it has, and says what is wrong with the rest.

- subject folders: `<subject>/flair.nii.gz` and `<subject>/flair_brainmask.nii.gz`;
- BIDS, recognised by `dataset_description.json`: `sub-*/[ses-*/]anat/*_FLAIR.nii.gz`, brain masks beside the
  scans or under `derivatives/`;
- nnU-Net: `CASE_0000.nii.gz` side by side, a brain mask `CASE_brainmask.nii.gz` if there is one.

Only names are looked at here; whether a scan can be used shows when it is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthtumour.errors import InputError
from synthtumour.files.names import EXTENSIONS, brain_mask_beside, first_taken, stem_of

IMAGE_NAME = "flair.nii.gz"
_BIDS_IMAGE = "FLAIR"
_BIDS_OTHERS = ("derivatives", "code", "sourcedata", "phenotype", "stimuli")
_NNUNET_IMAGE = "0000"
# What the name of a brain mask may hold between the scan's entities and its end; a lesion mask holds more.
_BRAIN_MASK_PART = re.compile(
    r"FLAIR|bet|brain|(space|res|from|hemi|run)-\w+|desc-brain\w*|label-brain", re.IGNORECASE
)


@dataclass(frozen=True)
class Scan:
    """One scan: `name` is unique in its folder, `subject` is what a split must not tear apart."""

    name: str
    subject: str
    session: str
    image: Path
    mask: Path | None  # None: no brain mask was found, so the scan has to be skull-stripped


@dataclass(frozen=True)
class Found:
    """The scans of a folder in the order of their names, and what was passed over with the reason."""

    layout: str  # 'subject folders', 'BIDS' or 'nnU-Net'
    scans: tuple[Scan, ...]
    skipped: tuple[tuple[str, str], ...]


def find_scans(folder: Path, image_name: str | None = None, mask_name: str | None = None) -> Found:
    """The scans in `folder`.

    `image_name` and `mask_name` are file names in a subject folder, and in the other layouts what follows the
    entities or the case and an underscore (`FLAIR.nii.gz`, `0000.nii.gz`). A mask that `mask_name` names has
    to be there; without the option, one that goes by the usual names is taken.
    Raises InputError if `folder` is not there or holds no scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for option, name in (("--image-name", image_name), ("--mask-name", mask_name)):
        if name is not None and (not name or Path(name).is_absolute() or ".." in Path(name).parts):
            raise InputError(f"{option} {name!r}: must be a file name inside each subject's folder")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    hidden = [(entry.name, "hidden") for entry in entries if entry.name.startswith(".")]
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    if os.path.isfile(folder / "dataset_description.json"):
        found = _in_bids(folder, visible, image_name, mask_name)
    elif any(os.path.isfile(entry / (image_name or IMAGE_NAME)) for entry in visible):
        found = _in_subject_folders(visible, image_name or IMAGE_NAME, mask_name)
    elif any(_is_ending(entry, image_name, _NNUNET_IMAGE) for entry in visible):
        found = _in_nnunet_folder(visible, image_name, mask_name)
    else:
        raise InputError(_nothing_found(folder, image_name or IMAGE_NAME))
    if not found.scans:
        raise InputError(_nothing_found(folder, image_name or f"*_{_BIDS_IMAGE}.nii.gz"))
    scans, again = _each_once(folder, found.scans)
    return Found(found.layout, scans, tuple(sorted((*hidden, *found.skipped, *again))))


def _each_once(folder: Path, scans: Sequence[Scan]) -> tuple[tuple[Scan, ...], list[tuple[str, str]]]:
    """`scans` without links to one another, which a split could put on both its sides; and those."""

    def is_link(scan: Scan) -> bool:
        return scan.image.resolve() != folder.resolve() / scan.image.relative_to(folder)

    by_file: dict[object, list[Scan]] = {}
    for scan in scans:
        try:
            status = scan.image.stat()
            by_file.setdefault((status.st_dev, status.st_ino), []).append(scan)
        except OSError:  # gone since it was listed, as reading it will say
            by_file[scan] = [scan]
    again = {}
    for same in by_file.values():
        if len(same) > 1:
            first, *others = sorted(same, key=is_link)
            again.update({scan: (scan.name, f"the same file as {first.name}") for scan in others})
    return tuple(scan for scan in scans if scan not in again), list(again.values())


def _in_subject_folders(entries: Iterable[Path], image_name: str, mask_name: str | None) -> Found:
    scans, skipped = [], []
    for entry in entries:
        image = entry / image_name
        if os.path.isfile(image):  # which is False, too, where that cannot be asked
            mask = entry / mask_name if mask_name else brain_mask_beside(image)
            scans.append(Scan(entry.name, entry.name, "", image, mask))
        elif entry.is_dir():
            skipped.append((entry.name, _without_scan(entry, image_name)))
        elif entry.name.lower().endswith(EXTENSIONS):
            skipped.append((entry.name, "an image outside any subject's folder"))
    return Found("subject folders", tuple(scans), tuple(skipped))


def _in_nnunet_folder(entries: Sequence[Path], image_name: str | None, mask_name: str | None) -> Found:
    scans: dict[str, Scan] = {}
    skipped = []
    for entry in entries:
        if entry.is_dir():
            skipped.append((entry.name, "a folder among nnU-Net cases"))
        elif os.path.lexists(entry) and not os.path.isfile(entry) and entry.name.lower().endswith(EXTENSIONS):
            skipped.append((entry.name, "not a file but a pipe, socket, device or broken link"))
        if not _is_ending(entry, image_name, _NNUNET_IMAGE):
            continue
        case = _before_ending(entry, image_name, _NNUNET_IMAGE)
        if case in scans:
            skipped.append((entry.name, f"the same case as {scans[case].image.name}"))
            continue
        usual = (entry.with_name(f"{case}_brainmask{extension}") for extension in EXTENSIONS)
        mask = brain_mask_beside(entry) or first_taken(usual)
        if mask_name:
            mask = entry.with_name(f"{case}_{mask_name}")
        scans[case] = Scan(case, case, "", entry, mask)
    used = {file for scan in scans.values() for file in (scan.image, scan.mask)}
    for entry in entries:
        if entry in used or entry.name in dict(skipped) or re.search(r"_(\d{4}|brainmask)$", stem_of(entry)):
            continue
        if entry.name.lower().endswith(EXTENSIONS):
            skipped.append((entry.name, f"does not end in _{image_name or _NNUNET_IMAGE + '.nii.gz'}"))
    return Found("nnU-Net", tuple(scans.values()), tuple(skipped))


def _in_bids(folder: Path, entries: Iterable[Path], image_name: str | None, mask_name: str | None) -> Found:
    scans: dict[str, Scan] = {}
    skipped = []
    for subject in entries:
        if not subject.is_dir() or subject.name in _BIDS_OTHERS:
            continue
        if not subject.name.startswith("sub-"):
            skipped.append((subject.name, "not a subject of a BIDS dataset (sub-*)"))
            continue
        before = len(scans)
        for session in (subject, *sorted(s for s in subject.glob("ses-*") if s.is_dir())):
            for image in sorted(f for f in (session / "anat").glob("*") if os.path.isfile(f)):
                where = image.relative_to(folder).as_posix()
                if image.name.startswith("."):
                    skipped.append((where, "hidden"))
                elif _is_ending(image, image_name, _BIDS_IMAGE):
                    name = _before_ending(image, image_name, _BIDS_IMAGE)
                    if name in scans:
                        skipped.append((where, f"the same scan as {scans[name].image.name}"))
                        continue
                    mask = _bids_mask(folder, image, name, mask_name)
                    label = "" if session is subject else session.name
                    scans[name] = Scan(name, subject.name, label, image, mask)
        if len(scans) == before:
            ending = image_name or f"{_BIDS_IMAGE}.nii.gz"
            skipped.append((subject.name, f"no anat/*_{ending} in it"))
    return Found("BIDS", tuple(scans.values()), tuple(skipped))


def _bids_mask(folder: Path, image: Path, entities: str, mask_name: str | None) -> Path | None:
    """The brain mask of a BIDS scan: beside it, else in a derivative; in the scan's own space if it says."""
    anat = image.parent.relative_to(folder)
    places = [image.parent, folder / "derivatives" / anat]
    places += sorted(place / anat for place in (folder / "derivatives").glob("*"))
    if mask_name:
        named = [place / f"{entities}_{mask_name}" for place in places]
        return first_taken(named) or named[0]
    candidates = []
    for rank, place in enumerate(places):
        for file in sorted(place.glob("*")) if place.is_dir() else ():
            if file.name.startswith(f"{entities}_") and file.name.endswith((".nii", ".nii.gz")):
                *parts, last = file.name[len(entities) + 1 :].split(".nii")[0].split("_")
                if last in ("mask", "brainmask") and all(map(_BRAIN_MASK_PART.fullmatch, parts)):
                    spaces = [p.split("-")[1] for p in parts if p.startswith("space-")]
                    elsewhere = any(space.lower() not in ("flair", "orig", "native") for space in spaces)
                    unsaid = not spaces and _BIDS_IMAGE not in parts
                    candidates.append((elsewhere, rank > 0, unsaid, rank, file))
    return min(candidates)[-1] if candidates else None


def _is_ending(file: Path, image_name: str | None, usual: str) -> bool:
    if not os.path.isfile(file):
        return False
    if image_name:
        return file.name.endswith(f"_{image_name}")
    return file.name.lower().endswith(EXTENSIONS) and stem_of(file).endswith(f"_{usual}")


def _before_ending(file: Path, image_name: str | None, usual: str) -> str:
    return file.name.removesuffix(f"_{image_name}") if image_name else stem_of(file).removesuffix(f"_{usual}")


def _without_scan(folder: Path, image_name: str) -> str:
    if os.path.exists(folder / image_name):
        return f"{image_name} in it is not a file but a folder, pipe, socket or device"
    if os.path.islink(folder / image_name):
        return f"{image_name} in it is a broken link"
    try:
        others = sorted(f.name for f in folder.iterdir() if f.name.lower().endswith(EXTENSIONS))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"no {image_name} in it" + (f" (it holds {', '.join(others[:3])})" if others else "")


def _nothing_found(folder: Path, image_name: str) -> str:
    message = f"{folder}: holds no scan (looked for */{image_name}, a BIDS dataset and CASE_0000.nii.gz)"
    if os.path.isfile(folder / image_name):
        return f"{message}; it is one subject's folder, so give the folder it lies in"
    if (folder / "imagesTr").is_dir():
        return f"{message}; give {folder / 'imagesTr'} to use the images of an nnU-Net dataset"
    return f"{message}; see --image-name"
