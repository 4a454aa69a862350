"""Reading images: looked at before anything is allocated, and refused if header and voxels disagree."""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.files.checks import check_file
from synthtumour.files.names import extension_to_read
from synthtumour.text import counted, in_brackets
from synthtumour.volume.forms import apart_mm, off_right_angles_deg
from synthtumour.volume.grid import is_oblique
from synthtumour.volume.nifti import (
    NOT_GREY,
    NiftiHeader,
    is_faithful_read,
    nifti_header,
    whole_nifti,
    with_lost_values,
)
from synthtumour.volume.stderr import silent_stderr
from synthtumour.volume.volume import Volume

# Larger than a whole brain at 0.25 mm: a header that promises more is damaged, or means harm.
MOST_VOXELS = 500_000_000
_SPACING_MM = (0.01, 100.0)
_PIXEL_TYPES = {  # and their bytes
    sitk.sitkUInt8: 1,
    sitk.sitkInt8: 1,
    sitk.sitkUInt16: 2,
    sitk.sitkInt16: 2,
    sitk.sitkUInt32: 4,
    sitk.sitkInt32: 4,
    sitk.sitkUInt64: 8,
    sitk.sitkInt64: 8,
    sitk.sitkFloat32: 4,
    sitk.sitkFloat64: 8,
}
# ITK would choose by the content too: a file that only says it is NIfTI must not reach another reader.
_READERS = {".nii": "NiftiImageIO", ".mha": "MetaImageIO", ".nrrd": "NrrdImageIO"}
_LONGEST_HEADER = 65536  # of the text that an .mha or .nrrd file begins with
_LONGEST_FIELD = 500  # of an .nrrd header: ITK's reader of NRRD writes its complaints into so much memory
_MHA_FIELD = rb"^\s*%s\s*[=:]\s*([^\r\n]*?)\s*$"
_GZIP_AT_BEST = 1032  # bytes from one


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a three-dimensional scalar image: .nii, .nii.gz, .mha or .nrrd, in one file.

    The header is looked at before anything is allocated. Raises InputError for a file that is missing, no
    regular file, damaged, not an image, not three-dimensional, of more than MOST_VOXELS, or whose header and
    voxels disagree.
    """
    path = Path(path)
    check_file(path)
    extension = extension_to_read(path)
    nifti = nifti_header(path) if extension in (".nii", ".nii.gz") else None
    if nifti is None:
        _check_one_file(path, extension)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[extension.removesuffix(".gz")])
    try:
        with silent_stderr(), _not_mistaken(path) as name:
            reader.SetFileName(name)
            reader.ReadImageInformation()
            _check_promises(path, reader, nifti)
            if extension == ".mha":
                _check_mha_voxels(path, reader)
            image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        reason = "not an image that SimpleITK can read, or damaged or cut short; copy or convert it again"
        if "orthonormal" in str(error):
            reason = _sheared(nifti, reader.GetDirection())
        raise InputError(f"{path}: {reason}") from error
    if nifti is None:
        return Volume.from_image(image)
    if not is_faithful_read(path, image):
        image = with_lost_values(image, whole_nifti(path, image, nifti), nifti)
    volume = Volume.from_image(image)
    _tell_forms_apart(path, volume, nifti)
    # NIfTI keeps oblique axes as float32 quaternions, and ITK would round them anew
    if nifti.geometry.says_only(volume.stored.affine) and not is_oblique(volume.grid):
        return volume
    return replace(volume, stored=replace(volume.stored, nifti_geometry=nifti.geometry))


@contextlib.contextmanager
def _not_mistaken(path: Path) -> Iterator[str]:
    """A name by which ITK reads `path`: of scan.nii.gz it takes the voxels of a scan.nii beside it."""
    if not (path.name.lower().endswith(".nii.gz") and path.with_name(path.name[:-3]).exists()):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder, path.name)
        try:
            alone.symlink_to(path.absolute())
        except OSError as error:
            raise InputError(
                f"{path}: has an uncompressed {path.name[:-3]} beside it; move one of them"
            ) from error
        yield str(alone)


def _tell_forms_apart(path: Path, volume: Volume, nifti: NiftiHeader) -> None:
    """Warn of a header whose two forms put the scan into two places."""
    forms = nifti.geometry.forms()
    if len(forms) < 2:
        return
    shape = volume.in_stored_order().shape
    apart = nifti.geometry.forms_apart_mm(shape)
    if apart <= 0.01 * volume.grid.spacing_mm.min():
        return
    off = {name: apart_mm(form, volume.stored.affine, shape) for name, form in forms.items()}
    used = min(off, key=lambda name: np.inf if np.isnan(off[name]) else off[name])
    by = f"up to {apart:.3g} mm" if np.isfinite(apart) else "one is no place in space"
    warnings.warn(
        f"{path}: its qform and sform disagree ({by}); here the {used} counts, to nibabel, FSL and SPM the "
        "sform; make them agree (fslorient -copysform2qform or -copyqform2sform)",
        stacklevel=3,
    )


def _sheared(nifti: NiftiHeader | None, direction: tuple[float, ...]) -> str:
    """Why axes that are not at right angles cannot be used, and what to do.

    Of a NIfTI file it is the sform: a qform has right angles by its nature.
    """
    axes = (
        np.reshape(direction or np.eye(3), (3, 3)) if nifti is None else nifti.geometry.forms().get("sform")
    )
    off = np.nan if axes is None else off_right_angles_deg(axes[:3, :3])
    if not off > 1e-3:
        return "its axes have no directions of length 1; correct the header or convert it again"
    said = f"its axes are {off:.2g} degrees off right angles; "
    if nifti is None:
        return said + "correct its directions, or resample it if they are meant so"
    return said + (
        "if that is rounding, set both forms to right angles (nibabel: i.set_qform(i.affine, 1), then "
        "i.set_sform(i.get_qform(), 1), and save), else resample it"
    )


def _check_promises(path: Path, reader: sitk.ImageFileReader, nifti: NiftiHeader | None) -> None:
    """Raise InputError unless the header that `reader` has read is that of a scan we can use."""
    size, spacing = reader.GetSize(), np.array(reader.GetSpacing())
    if reader.GetDimension() != 3 or 1 in size:
        raise InputError(f"{path}: size {in_brackets(size)}; a single three-dimensional scan is needed")
    if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() not in _PIXEL_TYPES:
        raise InputError(f"{path}: {NOT_GREY}")
    voxels = math.prod(size)
    if voxels > MOST_VOXELS:
        raise InputError(
            f"{path}: promises {voxels} voxels (size {in_brackets(size)}), more than {MOST_VOXELS}; "
            "resample or crop it"
        )
    if path.name.lower().endswith(".gz") and nifti and voxels * nifti.voxel_bytes > _most_bytes(path):
        raise InputError(f"{path}: cut short, too small to hold {counted(voxels, 'voxel')}; copy it again")
    if nifti is not None and not (np.all(np.isfinite(nifti.spacing)) and np.all(nifti.spacing > 0)):
        spacing = nifti.spacing  # of which ITK has made 1 mm and says nothing
    low, high = _SPACING_MM
    if not np.all((low <= spacing) & (spacing <= high)):
        raise InputError(
            f"{path}: voxels of {in_brackets(spacing)} mm; sizes from {low:g} to {high:g} mm are needed; "
            "correct the header or convert it again"
        )
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    if not np.all(np.isfinite([*direction.ravel(), *reader.GetOrigin()])):
        raise InputError(
            f"{path}: its place in space is not a number; correct the header or convert it again"
        )
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-2:
        raise InputError(f"{path}: {_sheared(nifti, reader.GetDirection())}")
    if nifti is not None and nifti.sform is not None:
        by_sform = np.sqrt((nifti.sform**2).sum(axis=0))
        if np.abs(by_sform / nifti.spacing - 1).max() > 0.01:
            raise InputError(
                f"{path}: voxel sizes {in_brackets(nifti.spacing)} and sform {in_brackets(by_sform)} "
                "disagree; correct the header or convert it again"
            )


def _most_bytes(path: Path) -> int:
    """How many bytes a gzip file of this length can hold."""
    return _GZIP_AT_BEST * path.stat().st_size


def _check_one_file(path: Path, extension: str) -> None:
    """Raise InputError for an .mha or .nrrd header that ITK must not see.

    It may lead to other files, which may be anybody's; and a few kinds of nonsense in it end the process.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if extension == ".mha":
        end = re.search(_MHA_FIELD % b"ElementDataFile", head, re.MULTILINE)  # of the header, for ITK too
        inside = end is not None and end[1].upper() == b"LOCAL"
        if end and inside and re.findall(_MHA_FIELD % b"NDims", head[: end.start()], re.MULTILINE) != [b"3"]:
            raise InputError(f"{path}: its NDims is not 3; a single three-dimensional scan is needed")
    else:
        text = re.match(rb"NRRD.*?\r?\n\r?\n", head, re.DOTALL)
        lines = text[0].splitlines() if text else []
        inside = bool(lines) and not any(re.match(rb"\s*data ?file\s*:", line, re.I) for line in lines)
        free = re.compile(rb"#|content:|[^:]*:=")  # comments, and keys of one's own
        if any(len(line) > _LONGEST_FIELD and not free.match(line) for line in lines):
            raise InputError(f"{path}: its header has a field of endless length; convert it again")
    if not inside:
        raise InputError(f"{path}: damaged, or its voxels lie in another file; convert it to one file")


def _check_mha_voxels(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise InputError unless an .mha file holds as many bytes of voxels as its header promises, and no more.

    ITK takes whatever lies in memory for those that are missing of a compressed file, and says nothing.
    """
    promised = math.prod(reader.GetSize()) * _PIXEL_TYPES[reader.GetPixelID()]
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
        end = re.search(_MHA_FIELD % b"ElementDataFile", head, re.MULTILINE)
        assert end is not None  # _check_one_file has seen it
        begin = head.find(b"\n", end.end(1)) + 1
        left = path.stat().st_size - begin

        def values(name: bytes) -> list[bytes]:
            return re.findall(_MHA_FIELD % name, head[: end.start()], re.MULTILINE)

        # ITK leaves HeaderSize out; any other would make it read from elsewhere in the file
        whole = begin > 0 and set(values(b"HeaderSize")) <= {b"0", b"-1"}
        if any(value[:1] in (b"T", b"t", b"1") for value in values(b"CompressedData")):
            file.seek(begin)
            # without this field ITK inflates nothing, and without a word
            whole = whole and values(b"CompressedDataSize") == [b"%d" % left] and _inflates_to(file, promised)
        else:
            whole = whole and left == promised
    if not whole:
        raise InputError(f"{path}: damaged or cut short: not the voxels its header promises; copy it again")


def _inflates_to(file: BinaryIO, count: int) -> bool:
    """Whether the rest of `file` is one whole zlib or gzip stream, by its own checksum, of `count` bytes."""
    stream = zlib.decompressobj(47)
    length = 0
    try:
        while not stream.eof and length <= count and (chunk := stream.unconsumed_tail or file.read(2**20)):
            length += len(stream.decompress(chunk, 2**24))
    except zlib.error:
        return False
    return stream.eof and length == count and not stream.unused_data and not file.read(1)
