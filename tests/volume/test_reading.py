"""Bytes that are no image, lead to other files, or promise too much."""

from __future__ import annotations

import contextlib
import gzip
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.volume.reading import MOST_VOXELS, read_volume
from tests.conftest import MakeHead

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "half a header": lambda whole: whole[:200],
    "cut short": lambda whole: whole[:-1],
    "something after it": lambda whole: whole + b"\0",
    "a bomb after it": lambda whole: whole + bytes(2**26),
    "text": lambda whole: b"no image\n" * 100,
}


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("what", BYTES)
def test_bytes_that_are_no_image(what: str, extension: str, nifti: bytes, tmp_path: Path) -> None:
    content = BYTES[what](nifti)
    path = tmp_path / f"scan{extension}"
    path.write_bytes(gzip.compress(content, 1) if extension == ".nii.gz" else content)
    with pytest.raises(InputError, match="scan.nii"):
        read_volume(path)


def test_names_do_not_make_a_format(nifti: bytes, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "whole.nii")), str(tmp_path / "whole.nrrd"))
    nrrd = (tmp_path / "whole.nrrd").read_bytes()
    for name, content in (
        ("plain.nii.gz", nifti),
        ("packed.nii", gzip.compress(nifti)),
        ("nifti.mha", nifti),
        ("nifti.nrrd", nifti),
        ("nrrd.nii", nrrd),
        ("nrrd.mha", nrrd),
        ("damaged.nii.gz", gzip.compress(nifti)[:-9] + b"\1" * 9),
        ("rubbish_after.nii.gz", gzip.compress(nifti) + b"rubbish"),
        ("scan.jpg", nifti),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


def test_headers_that_lead_to_other_files_are_refused(tmp_path: Path) -> None:
    mha = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = {}\n"
    nrrd = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n{}\n\n"
    (tmp_path / "voxels.raw").write_bytes(bytes(64))
    for n, target in enumerate(("voxels.raw", "/etc/passwd", "LIST", "slice%02d.raw 1 4 1", "| id")):
        (tmp_path / f"{n}.mha").write_text(mha.format(target))
        with pytest.raises(InputError, match="another file"):
            read_volume(tmp_path / f"{n}.mha")
        (tmp_path / f"{n}.mha").write_text(
            mha.replace(" =", ":").format(target) + "ElementDataFile = LOCAL\n"
        )
        with pytest.raises(InputError, match="another file"):
            read_volume(tmp_path / f"{n}.mha")
        for field in ("data file", "datafile", "DATA FILE"):
            (tmp_path / f"{n}.nrrd").write_text(nrrd.format(f"{field}: {target}"))
            with pytest.raises(InputError, match="another file"):
                read_volume(tmp_path / f"{n}.nrrd")


@pytest.mark.parametrize("dimensions", ["-1", "2147483648", "16", "3\nNDims = 99"])
def test_what_ends_the_process_of_whoever_reads_it_mha(dimensions: str, tmp_path: Path) -> None:
    head = f"NDims = {dimensions}\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "scan.mha").write_bytes(head.encode() + bytes(64))
    with pytest.raises(InputError, match="NDims"):
        read_volume(tmp_path / "scan.mha")


@pytest.mark.parametrize("field", ["type: {}", "{}", "{}: x", "space: {}", "kinds: {}"])
def test_what_ends_the_process_of_whoever_reads_it_nrrd(field: str, tmp_path: Path) -> None:
    fields = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 4 4 4", "encoding: raw"]
    for line, refused in ((field.format("A" * 5000), True), ("# " + "A" * 5000, False)):
        head = "\n".join([*fields, line]) + "\n\n"
        (tmp_path / "scan.nrrd").write_bytes(head.encode() + bytes(64))
        with pytest.raises(InputError, match="endless") if refused else contextlib.nullcontext():
            assert read_volume(tmp_path / "scan.nrrd").array.shape == (4, 4, 4)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_bomb_is_refused_before_anything_is_allocated(extension: str, nifti: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"bomb{extension}"
    if extension == ".mha":
        path.write_text(
            "ObjectType = Image\nNDims = 3\nDimSize = 9999 9999 9999\nElementType = MET_DOUBLE\n"
            "CompressedData = True\nElementDataFile = LOCAL\n"
        )
    elif extension == ".nrrd":
        path.write_text(
            "NRRD0004\ntype: double\ndimension: 3\nsizes: 9999 9999 9999\nencoding: gzip\nendian: little\n\n"
        )
    else:
        content = bytearray(nifti)
        struct.pack_into("<3h", content, 42, 9999, 9999, 9999)
        path.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    most_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=f"promises 999700029999 voxels .*more than {MOST_VOXELS}"):
        read_volume(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < most_kb + 50_000


VOXELS = np.random.default_rng(0).integers(0, 99, 120, np.int16).tobytes()  # of 6 x 5 x 4


STREAM = zlib.compress(VOXELS)


PACKED = "CompressedData = True\n"


MHA: dict[str, tuple[str, bytes]] = {
    "one byte less": ("", VOXELS[:-1]),
    "something after it": ("", VOXELS + b"\0"),
    "a HeaderSize": ("HeaderSize = 8\n", VOXELS),
    "half the voxels, compressed": (PACKED, zlib.compress(VOXELS[:120])),
    "a voxel more, compressed": (PACKED, zlib.compress(VOXELS + b"\0\0")),
    "a bomb": (PACKED, zlib.compress(bytes(2**26))),
    "stream cut": (PACKED, STREAM[:60]),
    "sum cut off": (PACKED, STREAM[:-1]),
    "one bit flipped": (PACKED, STREAM[:-1] + bytes([STREAM[-1] ^ 1])),
    "no size": (PACKED, STREAM),
    "two streams": (PACKED, STREAM + STREAM),
    "a size too small": (f"{PACKED}CompressedDataSize = 20\n", STREAM),
    "a size too large": (f"{PACKED}CompressedDataSize = 99999\n", STREAM),
}


@pytest.mark.parametrize("what", MHA)
def test_an_mha_file_without_just_the_voxels_it_promises(what: str, tmp_path: Path) -> None:
    fields, content = MHA[what]
    head = "NDims = 3\nDimSize = 6 5 4\n{}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path = tmp_path / "scan.mha"
    packed = f"{PACKED}CompressedDataSize = {len(STREAM)}\n"
    for whole_fields, whole in (("", VOXELS), ("HeaderSize = -1\n", VOXELS), (packed, STREAM)):
        path.write_bytes(head.format(whole_fields).encode() + whole)
        assert read_volume(path).in_stored_order().tobytes(order="F") == VOXELS
    if fields == PACKED and what != "no size":
        fields += f"CompressedDataSize = {len(content)}\n"
    path.write_bytes(head.format(fields).encode() + content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read_volume(path)


def test_damaged_file_is_told_from_a_whole_one(make_head: MakeHead) -> None:
    """ITK reads a cut .nii.gz silently as zeros; one flipped bit must be seen as well."""
    from synthtumour.errors import InputError
    from synthtumour.volume.reading import read_volume

    scan = make_head()
    content = bytearray(scan.read_bytes())
    content[len(content) // 2] ^= 0xFF
    scan.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_volume(scan)
    plain = scan.with_suffix("")
    plain.write_bytes(gzip.decompress(make_head().read_bytes())[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_volume(plain)
