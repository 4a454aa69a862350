"""Whether a file can be read, or written, looked at before any work."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from synthtumour.errors import InputError


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a regular file that can be opened: a pipe would wait for ever."""
    check_name(path)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        what = "broken link: datalad get" if path.is_symlink() else "no such file, so it cannot be read"
        raise InputError(f"{path}: {what}; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a file but a folder, pipe, socket or device; give a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read (Permission denied)")


def check_output(path: Path, *inputs: Path | None) -> None:
    """Raise InputError unless `path` can be written and is none of `inputs`."""
    folder = followed(path).parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: cannot be written; choose another output path")
    for other in inputs:
        if other is not None and path.exists() and other.exists() and path.samefile(other):
            raise InputError(f"{path}: output would overwrite the input {other}; choose another output path")


def followed(path: Path) -> Path:
    """Where a file is written: `path`, or what it leads to as a link, which need not be there yet.

    Raises InputError for a link in a circle, one into no folder, and for what is there but no file.
    """
    real = path
    if os.path.islink(path):
        real = Path(os.path.realpath(path))
        if os.path.islink(real):
            raise InputError(f"{path}: a link that leads in a circle, so it cannot be written; remove it")
        if not real.parent.is_dir():
            raise InputError(
                f"{path}: a link into the folder {real.parent}, which does not exist; create it, or remove "
                "the link"
            )
    if _is_no_file(real):
        raise InputError(
            f"{path}: no file but a folder, pipe, socket or device, so it cannot be written; choose another "
            "output path"
        )
    return real


def check_name(path: Path) -> None:
    """Raise InputError for a name that is not UTF-8: SimpleITK would end the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the file or folder name is not valid UTF-8; rename it") from error


def check_regular(path: Path) -> None:
    """Raise InputError for a name that is taken, but by no file: one would wait for a pipe for ever."""
    if _is_no_file(path):
        raise InputError(f"{path}: not a regular file; move it, or choose another output folder")


def _is_no_file(path: Path) -> bool:
    """Whether something else has the name: asked once, as another run may remove its file meanwhile."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not (path.is_file() if stat.S_ISLNK(mode) else stat.S_ISREG(mode))
