"""Names of files: image extensions, stems, and the brain mask that belongs to a scan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from synthtumour.errors import InputError

EXTENSIONS = (".nii.gz", ".nii", ".mha", ".nrrd")
_UNKNOWN = f"unknown image extension; use one of {', '.join(EXTENSIONS)}"


def extension_of(path: str | os.PathLike[str]) -> str:
    """The image extension of `path`, '.nii.gz' in one piece; InputError if it is none we write."""
    name = Path(path).name
    for extension in EXTENSIONS:
        if name.endswith(extension) and len(name) > len(extension):
            return extension
    raise InputError(f"{path}: {_UNKNOWN}")


def extension_to_read(path: Path) -> str:
    """The image extension of a file to read, in lower case; InputError if it is none."""
    if extension := ending_of(path.name):
        return extension
    raise InputError(f"{path}: {_UNKNOWN}")


def ending_of(name: str) -> str:
    """The image extension of a name, in lower case; '' if it has none."""
    return next((extension for extension in EXTENSIONS if name.lower().endswith(extension)), "")


def stem_of(file: Path) -> str:
    """The name without its image extension, or without its suffix if it has none."""
    extension = ending_of(file.name) or file.suffix
    return file.name[: len(file.name) - len(extension)]


def is_image(file: Path) -> bool:
    """Whether a name is that of an image, and not hidden."""
    return not file.name.startswith(".") and file.name.lower().endswith(EXTENSIONS)


def brain_mask_beside(scan: Path) -> Path | None:
    """`<stem>_brainmask` beside the scan, as .nii.gz, in the scan's own format or as .nii; None if absent."""
    stem = stem_of(scan)
    endings = dict.fromkeys((".nii.gz", scan.name[len(stem) :], ".nii"))
    return first_taken(scan.with_name(f"{stem}_brainmask{ending}") for ending in endings)


def first_taken(candidates: Iterable[Path]) -> Path | None:
    """The first that is there; if it is no regular file, reading it will say so."""
    return next((candidate for candidate in candidates if os.path.lexists(candidate)), None)
