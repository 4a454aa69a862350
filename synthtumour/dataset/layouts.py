"""The layouts that a folder of scans may have: subject folders (of sessions too), BIDS, cases side by side.

Only names are looked at here; whether a scan can be used shows when it is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from synthtumour.dataset.naming import (
    BROKEN_LINK,
    USUAL_SCAN,
    case_of,
    file_of_case,
    in_folder,
    is_mask,
    is_pattern,
    usual_in_folder,
    whats_wrong,
)
from synthtumour.files.names import EXTENSIONS, brain_mask_beside, first_taken, is_image, stem_of

BIDS_IMAGE = "FLAIR"
SEVERAL = "several scans"
_BIDS_OTHERS = ("derivatives", "code", "sourcedata", "phenotype", "stimuli")
_NNUNET_IMAGE = "0000"
# What the name of a brain mask may hold beside the scan's entities; a lesion mask holds more.
_BRAIN_MASK_PART = re.compile(
    r"FLAIR|bet|brain|(space|res|from|hemi|run|rec)-\w+|desc-brain\w*|label-brain", re.IGNORECASE
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

    layout: str  # 'subject folders', 'folders of sessions', 'BIDS', 'nnU-Net' or 'one folder'
    scans: tuple[Scan, ...]
    skipped: tuple[tuple[str, str], ...]


def in_subject_folders(
    entries: Iterable[Path], image_name: str | None, mask_name: str | None, depth: int = 1
) -> Found:
    """Scans in folders of their own; `image_name` is a file name or a pattern there.

    A scan is called as the last `depth` folders on the way to it are.
    """
    scans, skipped = [], []
    for entry in entries:
        name = entry.name if depth == 1 else "_".join(entry.parts[-depth:])
        if entry.is_dir():
            try:
                files = in_folder(entry, image_name) if image_name else usual_in_folder(entry)
                reason = _why_none(entry, files, image_name or USUAL_SCAN)
            except OSError as error:
                reason = f"cannot be read ({error.strerror})"
            if reason:
                skipped.append((name, reason))
            else:
                scans.append(Scan(name, "", "", files[0], _mask_in_folder(entry, files[0], mask_name)))
        elif is_image(entry):
            skipped.append((name, "an image outside any subject's folder"))
        elif not os.path.exists(entry):
            skipped.append((name, BROKEN_LINK))
    return Found("subject folders", tuple(scans), tuple(skipped))


def in_session_folders(entries: Iterable[Path], image_name: str | None, mask_name: str | None) -> Found:
    """Subjects in folders of sessions, or the other way round: ses-01/sub-01, sub-01/ses-01."""
    inner, skipped = [], []
    for entry in entries:
        within = {"sub-": "ses-", "ses-": "sub-"}.get(entry.name[:4])
        try:
            deeper = [place for place in sorted(entry.iterdir()) if within and place.name.startswith(within)]
        except OSError:  # a file, or a folder that may not be read
            deeper = []
        if not deeper and (entry.is_dir() or is_image(entry)):
            skipped.append((entry.name, "no subject of a session in it (ses-*/sub-* or sub-*/ses-*)"))
        inner += deeper
    found = in_subject_folders(inner, image_name, mask_name, depth=2)
    return Found("folders of sessions", found.scans, (*skipped, *found.skipped))


def _why_none(folder: Path, files: Sequence[Path], wanted: str) -> str:
    """Why `folder` has no scan, `files` being those that are called so; '' if it has one."""
    if len(files) > 1:
        return f"{SEVERAL}: {listed(files)} (narrow --image-name)"
    if files:
        if os.path.isfile(files[0]):
            return ""
        return f"{files[0].relative_to(folder).as_posix()} in it: {whats_wrong(files[0])}"
    others = sorted(file for file in folder.iterdir() if file.name.lower().endswith(EXTENSIONS))
    return f"no {wanted} in it" + (f" (it holds {listed(others)})" if others else "")


def _mask_in_folder(folder: Path, image: Path, mask_name: str | None) -> Path | None:
    """The mask that `mask_name` means, which has to be there, or else the one beside the scan."""
    if mask_name is None:
        return brain_mask_beside(image)
    named = [file for file in in_folder(folder, mask_name, masks=True) if file != image]
    return named[0] if named else folder / mask_name


def in_one_folder(entries: Sequence[Path], image_name: str | None, mask_name: str | None) -> Found:
    """Scans side by side: nnU-Net's CASE_0000.nii.gz, or as `image_name` says."""
    scans: dict[str, Scan] = {}
    skipped = []
    masks = {case_of(entry, mask_name, "", masks=True): entry for entry in entries if mask_name}
    for entry in entries:
        is_file = os.path.isfile(entry)  # which is False, too, where that cannot be asked
        if entry.is_dir():
            skipped.append((entry.name, "a folder among the cases"))
        elif not is_file and is_image(entry):
            skipped.append((entry.name, whats_wrong(entry)))
        case = case_of(entry, image_name, _NNUNET_IMAGE) if is_file else None
        if case is None:
            continue
        if case in scans:
            skipped.append((entry.name, f"the same case as {scans[case].image.name}"))
        else:
            mask = _mask_of_case(entry, case)
            if mask_name is not None:
                mask = masks.get(case) or masks.get(stem_of(entry)) or entry.with_name(f"{case}_{mask_name}")
            scans[case] = Scan(case, "", "", entry, mask)
    used = {file for scan in scans.values() for file in (scan.image, scan.mask)}
    known = {name for name, _ in skipped}
    wanted = image_name or f"{_NNUNET_IMAGE}.nii.gz"
    for entry in entries:
        if entry in used or entry.name in known or is_mask(entry) or re.search(r"_\d{4}$", stem_of(entry)):
            continue
        if is_image(entry):
            what = f"is not {wanted}" if is_pattern(wanted) else f"does not end in _{wanted}"
            skipped.append((entry.name, what))
    layout = "one folder" if is_pattern(wanted) else "nnU-Net"
    return Found(layout, tuple(scans.values()), tuple(skipped))


def _mask_of_case(image: Path, case: str) -> Path | None:
    usual = (image.with_name(f"{case}_brainmask{extension}") for extension in EXTENSIONS)
    return brain_mask_beside(image) or first_taken(usual)


def in_bids(folder: Path, entries: Iterable[Path], image_name: str | None, mask_name: str | None) -> Found:
    """Scans `sub-*/[ses-*/]anat/*_FLAIR.nii.gz`, their masks beside them or under `derivatives/`."""
    scans: dict[str, Scan] = {}
    skipped = []
    for subject in entries:
        if not os.path.exists(subject):
            skipped.append((subject.name, BROKEN_LINK))
        if not subject.is_dir() or subject.name in _BIDS_OTHERS:
            continue
        if not subject.name.startswith("sub-"):
            skipped.append((subject.name, "not a subject of a BIDS dataset (sub-*)"))
            continue
        before = len(scans) + len(skipped)
        for session, image in _in_bids_subject(subject):
            where = image.relative_to(folder).as_posix()
            name = case_of(image, image_name, BIDS_IMAGE)
            if image.name.startswith("."):
                skipped.append((where, "hidden"))
            elif image.parent.name != "anat" or (name is not None and not os.path.isfile(image)):
                skipped.append((where, whats_wrong(image)))
            elif name in scans:
                skipped.append((where, f"the same scan as {scans[name].image.name}"))
            elif name is not None:
                mask = _bids_mask(folder, image, name, mask_name)
                scans[name] = Scan(name, subject.name, session, image, mask)
        if len(scans) + len(skipped) == before:
            wanted = image_name or f"{BIDS_IMAGE}.nii.gz"
            skipped.append((subject.name, f"no anat/{'' if is_pattern(wanted) else '*_'}{wanted} in it"))
    return Found("BIDS", tuple(scans.values()), tuple(skipped))


def _in_bids_subject(subject: Path) -> Iterator[tuple[str, Path]]:
    """Session ('' if there are none) and path of all that lies in anat/, and of folders that lead nowhere."""
    for session in (subject, *sorted(subject.glob("ses-*"))):
        label, anat = "" if session is subject else session.name, session / "anat"
        for place in (session, anat):
            if os.path.islink(place) and not os.path.exists(place):
                yield label, place
        yield from ((label, file) for file in sorted(anat.glob("*")))


def _bids_mask(folder: Path, image: Path, name: str, mask_name: str | None) -> Path | None:
    """The brain mask of a BIDS scan: beside it, else in a derivative; in the scan's own space if it says.

    `name` holds the scan's entities; the mask need not share `desc-` and `rec-`.
    """
    anat = image.parent.relative_to(folder)
    places = [image.parent, folder / "derivatives" / anat]
    places += sorted(place / anat for place in (folder / "derivatives").glob("*"))
    own = name.split("_")
    shared = [part for part in own if not part.startswith(("desc-", "rec-"))]
    if mask_name:
        names = dict.fromkeys((name, "_".join(shared)))
        there = [place for place in places if place.is_dir()]
        found = (file_of_case(place, entities, mask_name) for entities in names for place in there)
        return next((file for file in found if file), image.with_name(f"{name}_{mask_name}"))
    candidates = []
    for rank, place in enumerate(places):
        for file in sorted(place.glob("*")) if place.is_dir() else ():
            if file.name.startswith(shared[0]) and file.name.endswith((".nii", ".nii.gz")):
                *parts, last = file.name.split(".nii")[0].split("_")
                more = [part for part in parts if part not in own]
                if last not in ("mask", "brainmask") or not set(shared) <= set(parts):
                    continue
                if all(map(_BRAIN_MASK_PART.fullmatch, more)):
                    spaces = [p.split("-")[1] for p in more if p.startswith("space-")]
                    elsewhere = any(space.lower() not in ("flair", "orig", "native") for space in spaces)
                    other = any(part.startswith("rec-") for part in more) or not set(own) <= set(parts)
                    unsaid = not spaces and BIDS_IMAGE not in more
                    candidates.append((elsewhere, other, rank > 0, unsaid, rank, file))
    return min(candidates)[-1] if candidates else None


def listed(files: Sequence[Path]) -> str:
    """'a.nii.gz, b.nii.gz, c.nii.gz, ...'"""
    return ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
