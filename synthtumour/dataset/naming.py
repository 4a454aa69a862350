"""How scans, brain masks and labels are called: by the usual names, or as an option says.

An option gives a name (`t2.nii.gz`) or a pattern (`*_flair.nii*`). `.nii` and `.nii.gz` stand for each other.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from pathlib import Path

from synthtumour.errors import InputError
from synthtumour.files.names import EXTENSIONS, ending_of, first_taken, is_image, stem_of

USUAL_SCAN = "flair.nii.gz"
BROKEN_LINK = "broken link: datalad get"
# BraTS's FLAIR: <folder>_flair up to 2021, <folder>-t2f since
_BRATS_ENDING = re.compile("_flair|-t2f", re.IGNORECASE)
_MASK_ENDING = re.compile("_(brain_?mask|bet|mask)$", re.IGNORECASE)
SEPARATORS = "_. -"


def check_given(option: str, name: str | None) -> None:
    """Raise InputError for a name that leads out of a folder."""
    if name is not None and (not name or Path(name).is_absolute() or {"..", "**"} & set(Path(name).parts)):
        raise InputError(f"{option} {name!r}: must be a file name inside each subject's folder")


def is_pattern(name: str) -> bool:
    return any(letter in name for letter in "*?[")


def is_mask(file: Path) -> bool:
    """Whether a file is called as brain masks are."""
    return _MASK_ENDING.search(stem_of(file)) is not None


def with_either_ending(path: Path) -> tuple[Path, ...]:
    """`path` and, of NIfTI, the same with and without compression."""
    if path.name.endswith(".nii.gz"):
        return path, path.with_name(path.name[:-3])
    return (path, path.with_name(f"{path.name}.gz")) if path.name.endswith(".nii") else (path,)


def in_folder(folder: Path, name: str, masks: bool = False) -> list[Path]:
    """The files in `folder` that an option's `name` means, broken links too; of each stem one.

    A pattern means what is called as brain masks are only if `masks`, or if it ends so itself.
    """
    if there := first_taken(with_either_ending(folder / name)):
        return [there]
    if not is_pattern(name):
        return []
    files = folder.glob(name) if len(Path(name).parts) > 1 else folder.iterdir()
    return _one_of_a_stem(file for file in files if _fits(file, Path(name).name, masks))


def usual_in_folder(folder: Path) -> list[Path]:
    """The scan in a subject's folder by the usual names: flair.nii.gz, or BraTS's <folder>_flair.nii.gz."""
    usual = folder / USUAL_SCAN
    if os.path.lexists(usual):
        return [usual]
    files = [file for file in folder.iterdir() if is_image(file)]
    own = [file for file in files if stem_of(file) == stem_of(Path(USUAL_SCAN))]
    own = own or [
        file
        for file in files
        if file.name.startswith(folder.name) and _BRATS_ENDING.fullmatch(stem_of(file)[len(folder.name) :])
    ]
    return _one_of_a_stem(own)


def case_of(file: Path, name: str | None, usual: str, masks: bool = False) -> str | None:
    """The case that a file among others is the scan of, or with `masks` the mask; None if it is none.

    Without a `name` the case is what stands before `_<usual>`, with a name what stands before `_<name>`, and
    with a pattern all up to the end of what its first `*` means.
    """
    if name is None:
        stem = stem_of(file)
        is_one = file.name.lower().endswith(EXTENSIONS) and stem.endswith(f"_{usual}")
        return stem.removesuffix(f"_{usual}") if is_one else None
    for ending in with_either_ending(Path(f"_{name}")):
        if file.name.endswith(ending.name):
            return file.name.removesuffix(ending.name)
    if not is_pattern(name) or not _fits(file, name, masks):
        return None
    before, star, after = name.partition("*")
    match = re.fullmatch(f"({_as_regex(before)}.*?){_as_regex(after)}", file.name, re.DOTALL)
    return match[1].rstrip(SEPARATORS) if star and match and match[1] else stem_of(file)


def file_of_case(folder: Path, case: str, name: str) -> Path | None:
    """The file in `folder` that `name` means for `case`, a mask or a label; None if there is none."""
    if not is_pattern(name):
        return first_taken(with_either_ending(folder / f"{case}_{name}"))
    fits = re.compile(re.escape(case) + f"[{SEPARATORS}]?" + _as_regex(name.lstrip("*")), re.DOTALL).fullmatch
    found = _one_of_a_stem(file for file in folder.iterdir() if fits(file.name))
    return found[0] if found else None


def whats_wrong(path: Path) -> str:
    """Why a name that is taken is not that of a file."""
    if os.path.islink(path) and not os.path.exists(path):
        return BROKEN_LINK
    return "not a file but a folder, pipe, socket or device"


def _fits(file: Path, pattern: str, masks: bool = False) -> bool:
    if file.name.startswith(".") or not fnmatch.fnmatchcase(file.name, pattern):
        return False
    return masks or is_mask(Path(pattern)) or not is_mask(file)


def _as_regex(pattern: str) -> str:
    return fnmatch.translate(pattern).removeprefix("(?s:").removesuffix("Z").removesuffix("z")[:-2]


def _one_of_a_stem(files: Iterable[Path]) -> list[Path]:
    """`files` sorted, and of those that differ in their extension only the first of EXTENSIONS."""

    def rank(file: Path) -> int:
        return (*EXTENSIONS, "").index(ending_of(file.name))

    kept: dict[Path, Path] = {}
    for file in sorted(files, key=lambda file: (rank(file), file)):
        kept.setdefault(file.with_name(stem_of(file)), file)
    return sorted(kept.values())
