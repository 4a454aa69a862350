"""Writing images, whole or not at all, and new values in a scan's own data type."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.files.checks import check_name
from synthtumour.files.names import extension_of
from synthtumour.files.staging import scratch_beside, staged_outputs
from synthtumour.volume.grid import Box, bounding_box, is_oblique
from synthtumour.volume.nifti import is_faithful_read, nifti_header
from synthtumour.volume.stderr import silent_stderr
from synthtumour.volume.volume import Volume


def write_volumes(volumes: Mapping[str | os.PathLike[str], Volume]) -> None:
    """Write all `volumes` beside their paths first, then move all into place: none is ever half there."""
    by_path = {Path(path): volume for path, volume in volumes.items()}
    with staged_outputs(by_path) as partial:
        for path, volume in by_path.items():
            write_in_place(volume, partial[path])


def write_in_place(volume: Volume, path: Path) -> None:
    """Write `volume` to `path` as it is; for whoever stages the file (`staged_outputs`).

    Raises OSError or, from SimpleITK, RuntimeError if it cannot be written.
    """
    check_name(path)
    extension, image = extension_of(path), volume.to_image()
    source = volume.stored.nifti_geometry
    if source is None or extension not in (".nii", ".nii.gz"):
        _write(image, path)
        return
    # ITK writes both forms by the one that it has read, rounded anew, in mm: the source's own go back.
    uncompressed = scratch_beside(path)
    try:
        _write(image, uncompressed)
        content = bytearray(uncompressed.stat().st_size)
        with uncompressed.open("rb") as file:
            file.readinto(content)
    finally:
        uncompressed.unlink(missing_ok=True)
    source.put_into(content)
    if extension == ".nii.gz":
        level = 4 if is_oblique(volume.grid) else 2  # the one as ever, the other as quick as ITK
        path.write_bytes(gzip.compress(content, compresslevel=level, mtime=0))
    else:
        path.write_bytes(content)


def _write(image: sitk.Image, path: Path) -> None:
    """Write an image and make sure of it: on a full disk ITK cuts NIfTI and NRRD short and says nothing."""
    extension = extension_of(path)
    with silent_stderr():  # ITK remarks on metadata that other formats do not keep
        sitk.WriteImage(image, str(path), useCompression=extension != ".nii")
    whole = False
    if extension == ".nii.gz":
        whole = is_faithful_read(path, image)
    elif extension == ".nii":
        length = sitk.GetArrayViewFromImage(image).nbytes
        with contextlib.suppress(InputError):
            whole = path.stat().st_size == nifti_header(path).offset + length
    elif extension == ".nrrd":
        _, _, voxels = path.read_bytes().partition(b"\n\n")
        with contextlib.suppress(EOFError, zlib.error):
            whole = gzip.decompress(voxels) == sitk.GetArrayViewFromImage(image).tobytes()
    else:  # ITK tells of MHA
        whole = True
    if not whole:
        full = shutil.disk_usage(path.parent).free < sitk.GetArrayViewFromImage(image).nbytes
        code = errno.ENOSPC if full else errno.EFBIG
        raise OSError(code, os.strerror(code), str(path))


def stored_where_it_fits(
    image: np.ndarray, patch: Box, changed: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """`image` with `values` where `changed`, rounded for integers; floating point if they do not fit.

    Raises InputError if no type holds both the values and the integers that nothing has touched.
    """
    where = changed.T  # as most files lie in memory
    new = values.T[where]
    if image.dtype.kind in "iu" and len(new):
        limits = np.iinfo(image.dtype)
        new = np.rint(new)
        if int(new.min()) < limits.min or int(new.max()) > limits.max:
            largest = max(-int(image.min()), int(image.max()))
            if largest > 2**53:
                raise InputError(
                    f"its integers of up to {largest} stay exact in no type that a tumour fits; rescale it"
                )
            single = image.astype(np.float32, order="K")
            # beyond 2^24 float32 would change voxels that nothing has touched
            image = single if np.array_equal(single, image) else image.astype(np.float64, order="K")
    image[patch].T[where] = new
    return image


def with_changes(
    stored: np.ndarray, before: np.ndarray, after: np.ndarray, brain: np.ndarray, black: float = 0.0
) -> np.ndarray:
    """`stored` with what differs between `before` and `after` inside `brain`, in its own dtype if that fits.

    The two are `stored` less `black`, so what is put in is `after` and `black`.
    """
    box = bounding_box(brain)
    changed = brain[box] & (after[box] != before[box])
    image = stored.copy(order="K")
    return stored_where_it_fits(image, box, changed, after[box] + black if black else after[box])
