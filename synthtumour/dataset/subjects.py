"""Finds the scans in a folder, whichever of these layouts it has, and whose they are.

- subject folders: `<subject>/flair.nii.gz` and `<subject>/flair_brainmask.nii.gz`, or BraTS's names;
- the same within folders of sessions: `ses-*/sub-*/flair.nii.gz`, `sub-*/ses-*/flair.nii.gz`;
- BIDS, known by `dataset_description.json`: `sub-*/[ses-*/]anat/*_FLAIR.nii.gz`, brain masks beside the scans
  or under `derivatives/`;
- side by side: nnU-Net's `CASE_0000.nii.gz`, a brain mask `CASE_brainmask.nii.gz` if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from synthtumour.dataset.hints import what_was_seen
from synthtumour.dataset.layouts import (
    BIDS_IMAGE,
    SEVERAL,
    Found,
    Scan,
    in_bids,
    in_one_folder,
    in_session_folders,
    in_subject_folders,
)
from synthtumour.dataset.naming import BROKEN_LINK, USUAL_SCAN, check_given
from synthtumour.dataset.sessions import check_pattern, of_one_spelling, session_of, subject_of
from synthtumour.errors import InputError
from synthtumour.text import counted

__all__ = ["Found", "Scan", "broken_links", "find_scans"]


def find_scans(
    folder: Path,
    image_name: str | None = None,
    mask_name: str | None = None,
    subject_pattern: str | None = None,
) -> Found:
    """The scans in `folder`.

    `image_name` and `mask_name` are file names in a subject folder, in the other layouts what follows the
    entities or the case and an underscore (`FLAIR.nii.gz`, `0000.nii.gz`), and everywhere patterns
    (`*_flair.nii*`). A mask that `mask_name` names has to be there; without the option, one that goes by the
    usual names is taken. `subject_pattern` as `subject_of` takes it.
    Raises InputError if `folder` is not there or holds no scan.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for option, name in (("--image-name", image_name), ("--mask-name", mask_name)):
        check_given(option, name)
    check_pattern(subject_pattern)
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    hidden = [(entry.name, "hidden") for entry in entries if entry.name.startswith(".")]
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    if os.path.isfile(folder / "dataset_description.json"):
        tried = [in_bids(folder, visible, image_name, mask_name)]
    else:
        tried = [in_subject_folders(visible, image_name, mask_name)]
        for other in (in_one_folder, in_session_folders):
            if not tried[-1].scans:
                tried.append(other(visible, image_name, mask_name))
        if not tried[-1].scans:  # BIDS that has lost its description
            tried.append(in_bids(folder, visible, image_name, mask_name))
    found = tried[-1]
    if not found.scans:
        raise InputError(_nothing_found(folder, image_name, tried))
    scans, again = _each_once(folder, found.scans)
    scans = _with_subjects(scans, subject_pattern)
    return Found(found.layout, scans, tuple(sorted((*hidden, *found.skipped, *again))))


def _with_subjects(scans: Sequence[Scan], pattern: str | None) -> tuple[Scan, ...]:
    """`scans` with the subject and the session that their names tell."""
    subjects = [subject_of(scan.name, pattern, scan.subject) for scan in scans]
    spelt = of_one_spelling(subjects)
    sessions = (
        scan.session if scan.subject else session_of(scan.name, subject)
        for scan, subject in zip(scans, subjects, strict=True)
    )
    return tuple(
        replace(scan, subject=spelt[subject], session=session)
        for scan, subject, session in zip(scans, subjects, sessions, strict=True)
    )


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
            again.update({scan.name: f"the same file as {first.name}" for scan in others})
    return tuple(scan for scan in scans if scan.name not in again), list(again.items())


def broken_links(skipped: Sequence[tuple[str, str]]) -> str:
    """'2 broken links (sub-01, sub-02): datalad get'; '' if nothing was passed over for that."""
    names = [name for name, reason in skipped if BROKEN_LINK in reason]
    shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return f"{counted(len(names), 'broken link')} ({shown}): datalad get" if names else ""


def _nothing_found(folder: Path, image_name: str | None, tried: Sequence[Found]) -> str:
    is_bids = tried[0].layout == "BIDS"
    image_name = image_name or (f"*_{BIDS_IMAGE}.nii.gz" if is_bids else USUAL_SCAN)
    message = f"{folder}: holds no scan (looked for */{image_name}, a BIDS dataset and CASE_0000.nii.gz)"
    skipped = list(dict.fromkeys(entry for found in tried for entry in found.skipped))
    if os.path.isfile(folder / image_name):
        return f"{message}; it is one subject's folder, so give the folder it lies in"
    if (folder / "imagesTr").is_dir():
        return f"{message}; give {folder / 'imagesTr'} to use the images of an nnU-Net dataset"
    if links := broken_links(skipped):
        return f"{message}; {links}"
    for name, reason in skipped:
        if reason.startswith(SEVERAL):
            return f"{message}; {name} has {reason}"
    if seen := what_was_seen(folder, is_bids):
        return f"{message}; seen: {seen}"
    return f"{message}; no image was seen in it or its folders, see --image-name"
