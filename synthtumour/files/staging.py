"""Files that are written whole or not at all: beside their place first, then moved, singly or as a group."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.checks import followed
from synthtumour.files.lock import locked
from synthtumour.signals import held_back

STAGING = ".synthtumour-"  # begins the names of folders for files that are being written
_LOCK, _ASIDE = ".lock", ".before"  # in such a folder: its lock, and the file that is being replaced


@contextlib.contextmanager
def staged_outputs(paths: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """A temporary file for each of `paths`; on success all take their names, on any error none does.

    Each lies in a folder of our own beside its place, so on the same file system, and is on the disk before
    the first takes its name: a power cut leaves no half file under a final name either. The folders' names
    follow from the paths, so that the next run takes up and clears away what a killed one has left.
    A link stays one: what it leads to is written. A file that is replaced keeps its mode and, where that is
    allowed, its owner. Raises InputError if the disk refuses, or another process is writing one of `paths`.
    """
    paths = list(paths)
    with contextlib.ExitStack() as stack:
        try:
            places = [followed(path) for path in paths]
            with held_back():
                folders = [stack.enter_context(_staging_folder(place)) for place in places]
            partial = {path: folder / path.name for path, folder in zip(paths, folders, strict=True)}
            yield partial
            for temporary, place in zip(partial.values(), places, strict=True):
                sync(temporary)
                _keep_mode(place, temporary)
            if len(paths) == 1:
                os.replace(partial[paths[0]], places[0])
            else:
                staged = dict(zip(places, partial.values(), strict=True))
                aside = {place: folder / _ASIDE for place, folder in zip(places, folders, strict=True)}
                with held_back():
                    _replace_all(staged, aside)
        except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError when it cannot write
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
            raise InputError(f"cannot write {', '.join(map(str, paths))}: {reason}") from error
        finally:
            with held_back():
                stack.close()


def _replace_all(partial: Mapping[Path, Path], aside: Mapping[Path, Path]) -> None:
    """Give every file its name, or leave all as it was; killed half-way, no old file is beside a new one."""
    try:
        for path in partial:
            if path.is_file():
                os.replace(path, aside[path])
        for path, temporary in partial.items():
            os.replace(temporary, path)
    except BaseException:
        for path, temporary in partial.items():
            if aside[path].exists():
                os.replace(aside[path], path)
            elif not temporary.exists():
                path.unlink(missing_ok=True)
        raise


def give_name(temporary: Path, path: Path) -> None:
    """Make a whole file take the name `path`; links, mode and owner as `staged_outputs` has them."""
    place = followed(path)
    if place != path:  # perhaps on another file system
        with staged_outputs([path]) as partial:
            shutil.copyfile(temporary, partial[path])
        temporary.unlink()
        return
    _keep_mode(place, temporary)
    os.replace(temporary, place)


def _keep_mode(there: Path, new: Path) -> None:
    """Give the file that replaces another its mode, and its owner where that is allowed."""
    try:
        status = there.stat()
    except OSError:  # a new one follows the umask
        return
    for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with contextlib.suppress(OSError):  # only its owner may
            os.chown(new, owner, group)
    with contextlib.suppress(OSError):
        new.chmod(stat.S_IMODE(status.st_mode) & 0o777)


@contextlib.contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` for this process alone; it is gone at the end."""
    folder = staging_folder(path)
    with contextlib.ExitStack() as stack:
        while True:
            folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was just leaving it
                if any(folder.iterdir()) and not (folder / _LOCK).exists():
                    raise FileExistsError(f"{folder} is in the way; it is not of this program, so move it")
                stack.enter_context(locked(folder / _LOCK))
                break
        _clear(folder)
        try:
            yield folder
        finally:
            _clear(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove the files in a folder of our own, whatever link they were to be written through."""
    for leftover in folder.iterdir() if folder.is_dir() else ():
        if leftover.name != _LOCK and (leftover.is_symlink() or leftover.is_file()):
            leftover.unlink(missing_ok=True)


def staging_folder(path: Path) -> Path:
    """The folder beside `path` where it is written before it takes its name."""
    return path.with_name(f"{STAGING}{_digest(path.name)}")


def sync(path: Path) -> None:
    """Wait until `path` is on the disk, which also brings up what a network file system has yet to refuse."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def scratch_beside(path: Path) -> Path:
    """Where the uncompressed form of a staged image may lie for a moment."""
    return path.with_name(f"{_digest(path.name)}.nii")


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def write_json(content: object, path: Path) -> None:
    """Write `content` as JSON, whole or not at all; a file that says the same is left alone."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(text.encode("utf-8", "surrogateescape"), path)


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content`, whole or not at all; a file that holds the same is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    with staged_outputs([path]) as partial:
        partial[path].write_bytes(content)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ValueError if it holds anything else, or is no regular file."""
    if not path.is_file():
        raise ValueError("not a file")
    try:
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        dotted(content)  # can whoever uses it follow it to its depth?
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return content


def dotted(nested: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(dotted(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
