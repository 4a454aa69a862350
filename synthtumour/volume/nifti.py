"""NIfTI headers, and where ITK takes a damaged file for a whole one or loses voxels."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.text import counted
from synthtumour.volume.forms import NiftiGeometry

NOT_GREY = "has colour, vector or complex voxels, or of an unknown type; a greyscale scan is needed"
_HEADER_BYTES, _NIFTI2_HEADER_BYTES = 348, 540  # which is also how the two begin
_GZIP = b"\x1f\x8b"
_TYPE, _OFFSET = (70, "h"), (108, "f")  # where of the voxels, with struct's types
_MAGIC = slice(344, 346)
_NIFTI_VOXEL_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}


@dataclass(frozen=True)
class NiftiHeader:
    """Where and how a NIfTI file keeps its voxels; `order` is struct's sign of the byte order."""

    order: str
    type_code: int
    voxel_bytes: int
    offset: int
    geometry: NiftiGeometry

    @property
    def spacing(self) -> np.ndarray:
        """(3,) as the header has it, in its own unit of length."""
        return np.array(self.geometry.pixdim[1:])

    @property
    def sform(self) -> np.ndarray | None:
        """(3, 3) in that unit, if ITK places the scan by it."""
        qform, sform = self.geometry.codes
        chosen = sform > 0 and (qform <= 0 or sform == 1)
        return np.reshape(self.geometry.rows, (3, 4))[:, :3] if chosen else None


def nifti_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI file; InputError for what ITK would silently take for something else."""
    content = _first_bytes(path, _HEADER_BYTES)
    begin = content[:4]
    if begin in _sizes(_NIFTI2_HEADER_BYTES):
        raise InputError(
            f"{path}: a NIfTI-2 file, which SimpleITK cannot read; convert it to NIfTI-1 (nibabel: "
            "Nifti1Image.from_image)"
        )
    if begin[:2] == _GZIP:
        twice = path.name.lower().endswith(".gz")
        how = "twice by gzip; decompress it once" if twice else "by gzip; rename it to .nii.gz"
        raise InputError(f"{path}: compressed {how}")
    if begin not in _sizes(_HEADER_BYTES) or len(content) < _HEADER_BYTES:
        raise InputError(f"{path}: not a NIfTI image, or damaged or cut short; copy or convert it again")
    order = "<>"[_sizes(_HEADER_BYTES).index(begin)]
    (type_code,), (offset,) = (struct.unpack_from(order + kind, content, at) for at, kind in (_TYPE, _OFFSET))
    if content[_MAGIC] != b"n+":
        raise InputError(f"{path}: its voxels lie in another file, or it is no NIfTI; convert it to one file")
    if type_code not in _NIFTI_VOXEL_BYTES:
        raise InputError(f"{path}: {NOT_GREY}")
    # The header ends with four bytes that say whether extensions follow.
    if not (offset >= _HEADER_BYTES + 4 and offset < 2**31 and offset == int(offset)):
        raise InputError(f"{path}: its voxels cannot begin at byte {offset:g}; the header is damaged")
    geometry = NiftiGeometry.of(content, order)
    return NiftiHeader(order, type_code, _NIFTI_VOXEL_BYTES[type_code], int(offset), geometry)


def _sizes(size: int) -> tuple[bytes, bytes]:
    """The first field of a header of `size` bytes, in both byte orders."""
    return struct.pack("<i", size), struct.pack(">i", size)


def is_faithful_read(path: Path, image: sitk.Image) -> bool:
    """Whether the header of a .nii.gz file and the voxels of `image` have the sum that its gzip records.

    That is proof, without decompressing it again, that the file is whole and that ITK took its voxels as they
    are. False, too, if it cannot be had so simply: no compression, scaled voxels, the other byte order.
    """
    at, kind = _OFFSET
    try:
        with path.open("rb") as file:
            header = zlib.decompressobj(31).decompress(file.read(4096), 1024)
            file.seek(-8, os.SEEK_END)
            recorded, length = struct.unpack("<II", file.read(8))
        offset = int(struct.unpack_from("<" + kind, header, at)[0])
    except (OSError, zlib.error, struct.error, ValueError, OverflowError):
        return False
    voxels = sitk.GetArrayViewFromImage(image)
    if not _HEADER_BYTES <= offset <= len(header) or (offset + voxels.nbytes) % 2**32 != length:
        return False
    return zlib.crc32(voxels.data, zlib.crc32(header[:offset])) == recorded


def whole_nifti(path: Path, image: sitk.Image, header: NiftiHeader) -> bytes:
    """The uncompressed bytes of a NIfTI file from which ITK has read `image`.

    ITK fills what is missing of a damaged file with zeros and says nothing, so this reads it to its end
    (gzip checks its sum on the way) and raises InputError if it is shorter or longer than the header says.
    """
    voxel_bytes = image.GetNumberOfPixels() * header.voxel_bytes
    content = _first_bytes(path, header.offset + voxel_bytes + 1)
    if len(content) <= header.offset + voxel_bytes - 1:
        raise InputError(f"{path}: cut short, only {counted(len(content), 'byte')}; copy it again")
    if len(content) > header.offset + voxel_bytes:
        raise InputError(
            f"{path}: damaged, or size or data type of its header are wrong: more follows the {voxel_bytes} "
            "bytes of voxels that it promises; copy or convert it again"
        )
    return content


def _first_bytes(path: Path, count: int) -> bytes:
    """The first `count` bytes, uncompressed, of a NIfTI file; InputError if it is damaged."""
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            return file.read(count)
    except gzip.BadGzipFile as error:
        with path.open("rb") as file:
            begin = file.read(4)
        if begin in (*_sizes(_HEADER_BYTES), *_sizes(_NIFTI2_HEADER_BYTES)):
            raise InputError(f"{path}: not compressed; rename it to .nii, or compress it (gzip)") from error
        raise InputError(
            f"{path}: not an image compressed by gzip, or damaged ({error}); copy it again"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); copy it again") from error


def with_lost_values(image: sitk.Image, content: bytes, header: NiftiHeader) -> sitk.Image:
    """`image` with the NaN and infinite voxels that ITK has turned into zeros on reading NIfTI."""
    voxel_type = {16: "f4", 64: "f8"}.get(header.type_code)
    if not voxel_type:
        return image
    stored = np.frombuffer(content, header.order + voxel_type, image.GetNumberOfPixels(), header.offset)
    lost = ~np.isfinite(stored)
    if not lost.any():
        return image
    array = sitk.GetArrayFromImage(image)
    array.reshape(-1)[lost] = stored[lost]
    restored = sitk.GetImageFromArray(array)
    restored.CopyInformation(image)
    return restored
