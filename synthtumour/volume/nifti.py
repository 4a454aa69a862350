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

NOT_GREY = "has colour, vector or complex voxels, or of an unknown type; a greyscale scan is needed"
# Byte ranges of a NIfTI-1 header: qfac and spacing; qform and sform with their codes.
NIFTI_GEOMETRY = (slice(76, 92), slice(252, 328))
# By header size (NIfTI-1, NIfTI-2), where is what: the magic; with struct's types, voxel type, voxel sizes,
# offset of the voxels, codes of qform and sform, the sform.
_NIFTI = {
    348: (344, (70, "h"), (80, "3f"), (108, "f"), (252, "2h"), (280, "12f")),
    540: (4, (12, "h"), (112, "3d"), (168, "q"), (344, "2i"), (400, "12d")),
}
_NIFTI_VOXEL_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}


@dataclass(frozen=True)
class NiftiHeader:
    """Where and how a NIfTI file keeps its voxels; `order` is struct's sign of the byte order."""

    order: str
    type_code: int
    voxel_bytes: int
    offset: int
    spacing: np.ndarray  # (3,) as the header has it, in its own unit of length
    sform: np.ndarray | None  # (3, 3) if ITK places the scan by it


def nifti_header(path: Path) -> NiftiHeader:
    """The header of a NIfTI file; InputError for what ITK would silently take for something else."""
    content = _first_bytes(path, max(_NIFTI))
    order, size = next(
        ((o, n) for o in "<>" for n in _NIFTI if content[:4] == struct.pack(f"{o}i", n)),
        ("", len(content) + 1),
    )
    if len(content) < size:
        raise InputError(f"{path}: not a NIfTI image, or damaged or cut short; copy or convert it again")
    magic_at, *fields = _NIFTI[size]
    (type_code,), spacing, (offset,), (qform, sform), rows = (
        struct.unpack_from(order + kind, content, at) for at, kind in fields
    )
    if content[magic_at : magic_at + 2] != b"n+":
        raise InputError(f"{path}: its voxels lie in another file, or it is no NIfTI; convert it to one file")
    if type_code not in _NIFTI_VOXEL_BYTES:
        raise InputError(f"{path}: {NOT_GREY}")
    # The header ends with four bytes that say whether extensions follow.
    if not (offset >= size + 4 and offset < 2**31 and offset == int(offset)):
        raise InputError(f"{path}: its voxels cannot begin at byte {offset:g}; the header is damaged")
    # ITK's choice between the two
    affine = np.reshape(rows, (3, 4))[:, :3] if sform > 0 and (qform <= 0 or sform == 1) else None
    return NiftiHeader(
        order, type_code, _NIFTI_VOXEL_BYTES[type_code], int(offset), np.array(spacing), affine
    )


def header_of_faithful_read(path: Path, image: sitk.Image) -> bytes | None:
    """The first bytes of a .nii.gz file if they and the voxels of `image` have the sum that its gzip records.

    That is proof, without decompressing it again, that the file is whole and that ITK took its voxels as they
    are. None if it cannot be had so simply: no compression, scaled voxels, the other byte order, damage.
    """
    try:
        with path.open("rb") as file:
            header = zlib.decompressobj(31).decompress(file.read(4096), 1024)
            file.seek(-8, os.SEEK_END)
            recorded, length = struct.unpack("<II", file.read(8))
        offset = int(struct.unpack_from("<f", header, 108)[0])
    except (OSError, zlib.error, struct.error, ValueError, OverflowError):
        return None
    voxels = sitk.GetArrayViewFromImage(image)
    if not 348 <= offset <= len(header) or (offset + voxels.nbytes) % 2**32 != length:
        return None
    return header if zlib.crc32(voxels.data, zlib.crc32(header[:offset])) == recorded else None


def whole_nifti(path: Path, image: sitk.Image, header: NiftiHeader) -> bytes:
    """The uncompressed bytes of a NIfTI file from which ITK has read `image`.

    ITK fills what is missing of a damaged file with zeros and says nothing, so this reads it to its end
    (gzip checks its sum on the way) and raises InputError if it is shorter or longer than the header says.
    """
    voxel_bytes = image.GetNumberOfPixels() * header.voxel_bytes
    content = _first_bytes(path, header.offset + voxel_bytes + 1)
    if len(content) <= header.offset + voxel_bytes - 1:
        raise InputError(f"{path}: cut short, only {len(content)} bytes; copy it again")
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
