"""What a folder holds in which no scan or label was found, and the option that would find one."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from synthtumour.dataset.naming import SEPARATORS, is_mask
from synthtumour.files.names import is_image, stem_of
from synthtumour.text import counted

_FLAIR = re.compile("flair|t2f|dark-?fluid", re.IGNORECASE)
_LABEL = re.compile("seg|label|tumou?r|lesion", re.IGNORECASE)
_LOOKED_AT = 1000  # entries of a folder: enough to tell how its files are called


def what_was_seen(folder: Path, is_bids: bool = False) -> str:
    """'3 folders with *_flair.nii: --image-name '*_flair.nii'': how scans are called in `folder`.

    FLAIR goes first, then the name that most have. '' if there is no image in it, nor in its folders.
    """
    entries = list(islice(_listed(folder), _LOOKED_AT))
    folders = [entry for entry in entries if entry.is_dir()]
    if is_bids:
        patterns = ("anat", "ses-*/anat")
        folders = [
            place for entry in folders for pattern in patterns for place in sorted(entry.glob(pattern))
        ]
    else:  # what is in folders of sessions
        folders += [
            place for entry in folders if entry.name[:4] in ("ses-", "sub-") for place in _listed(entry)
        ]
    if seen := _named(folders, entries, _is_scan, "--image-name"):
        return seen
    for place in folders:
        if any(_is_scan(file) for deeper in _listed(place) if deeper.is_dir() for file in _listed(deeper)):
            return f"scans that lie one folder deeper; give {place}"
    return ""


def what_labels_were_seen(folder: Path) -> str:
    """'3 folders with *_seg.nii: --label-name '*_seg.nii'': how labels are called in `folder`, or ''."""
    entries = list(islice(_listed(folder), _LOOKED_AT))
    folders = [entry for entry in entries if entry.is_dir()]
    return _named(folders, entries, _is_label, "--label-name")


def _named(
    folders: Sequence[Path], entries: Sequence[Path], is_wanted: Callable[[Path], bool], option: str
) -> str:
    """The name of most of what `is_wanted` in the `folders`, or else among the `entries` themselves."""
    for files, what in (
        ({place: [file for file in _listed(place) if is_wanted(file)] for place in folders}, "folder"),
        ({entry: [entry] for entry in entries if is_wanted(entry)}, "file"),
    ):
        if seen := _best(files):
            name, count = seen
            there = counted(count, what) + " with" * (what == "folder")
            return f"{there} {name}: {option} {shlex.quote(name)}"
    return ""


def _best(files: Mapping[Path, Sequence[Path]]) -> tuple[str, int] | None:
    """The name or pattern to give, and for how many of the keys of `files` it means one file."""
    means: dict[str, dict[Path, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, inside in files.items():
        for file in inside:
            for name in _names(file, place != file):
                means[name][place].append(file.name[len(stem_of(file)) :])
    counts = {name: sum(len(set(found)) == len(found) for found in of.values()) for name, of in means.items()}
    if not any(counts.values()):
        return None

    def rank(name: str) -> tuple[bool, bool, int, bool, int, str]:
        whole = "*" not in name and counts[name] > 1  # as good as a pattern, and said more simply
        flair, label = _FLAIR.search(name) is not None, _LABEL.search(name) is not None
        return (not counts[name] or not flair, label, -counts[name], not whole, len(name), name)

    best = min(counts, key=rank)
    endings = sorted({ending for found in means[best].values() for ending in found})
    if len(endings) > 1:
        endings = [".nii*" if all(ending.startswith(".nii") for ending in endings) else ".*"]
    return best + endings[0], counts[best]


def _names(file: Path, whole: bool) -> Iterator[str]:
    """`*_flair` for `case7_flair`, a pattern for the last word; the `whole` stem if folders may share it."""
    stem = stem_of(file)
    if word := re.search(f"[{SEPARATORS}][^{SEPARATORS}]+$", stem):
        yield f"*{word[0]}"
    if whole:
        yield stem


def _is_scan(file: Path) -> bool:
    return is_image(file) and not is_mask(file) and os.path.isfile(file)


def _is_label(file: Path) -> bool:
    return _is_scan(file) and _LABEL.search(stem_of(file)) is not None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []
