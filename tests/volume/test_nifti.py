"""NIfTI headers that lie, scale, or mean no scaling."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from synthtumour.volume.reading import MOST_VOXELS, read_volume
from tests.conftest import INF, NAN, MakeHead, one_line, resect

LIES = {
    "dim[0] is 9": ((40, "h", 9), "not an image"),
    "negative size": ((42, "h", -5), "not an image"),
    "no voxel": ((42, "h", 0), "not an image"),
    "too many voxels": ((42, "3h", 32767, 32767, 32767), f"more than {MOST_VOXELS}"),
    "larger than the file": ((42, "3h", 700, 700, 700), "cut short"),
    "one slice more than there is": ((46, "h", 5), "cut short"),
    "one slice less": ((46, "h", 3), "more follows"),
    "type wider than the data": ((70, "h", 16), "cut short"),
    "type narrower": ((70, "h", 2), "more follows"),
    "complex type": ((70, "h", 32), "greyscale"),
    "RGB type": ((70, "h", 128), "greyscale"),
    "no such type": ((70, "h", 999), "greyscale"),
    "zero pixdim": ((80, "f", 0.0), "voxels of (0, 1, 1) mm"),
    "NaN pixdim": ((80, "f", NAN), "voxels of (nan, 1, 1) mm"),
    "infinite pixdim": ((84, "f", INF), "voxels of (1, inf, 1) mm"),
    "negative pixdim": ((80, "f", -2.0), "voxels of (-2, 1, 1) mm"),
    "voxels of kilometres": ((123, "b", 1), "voxels of (1000, 1000, 1000) mm"),
    "vox_offset before the end of the header": ((108, "f", 0.0), "begin at byte 0"),
    "vox_offset NaN": ((108, "f", NAN), "begin at byte nan"),
    "vox_offset beyond the file": ((108, "f", 1e30), "begin at byte 1e+30"),
    "vox_offset off by 8": ((108, "f", 360.0), "cut short"),
    "sform sheared": ((280, "4f", -1, 0.5, 0, 0), "sform (1, 1.11803, 1) disagree"),
    "sform singular": ((280, "12f", *[0.0] * 12), "sform (0, 0, 0) disagree"),
    "sform NaN": ((280, "12f", *[NAN] * 12), "not a number"),
    "sform of other voxels": ((280, "12f", -3, 0, 0, 0, 0, -3, 0, 0, 0, 0, 3, 0), "disagree"),
    "voxels in another file": ((344, "4s", b"ni1\0"), "another file"),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_nifti_header_that_lies_is_refused(
    lie: str, compressed: bool, nifti: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (at, kind, *values), words = LIES[lie]
    content = bytearray(nifti)
    struct.pack_into("<" + kind, content, at, *values)
    scan = tmp_path / ("scan.nii.gz" if compressed else "scan.nii")
    scan.write_bytes(gzip.compress(content) if compressed else content)
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert words in one_line(capsys)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([scan.name, "whole.nii"])


@pytest.mark.parametrize("slope", [NAN, 0.0, INF])
def test_a_slope_that_is_none_does_not_scale(slope: float, nifti: bytes, tmp_path: Path) -> None:
    content = bytearray(nifti)
    struct.pack_into("<2f", content, 112, slope, NAN)
    (tmp_path / "scan.nii").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, read_volume(tmp_path / "whole.nii").array)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_scaled_integers_are_read_as_what_they_mean(
    make_head: MakeHead, tmp_path: Path, extension: str
) -> None:
    """scl_slope and scl_inter, float32 at bytes 112 and 116 of a NIfTI-1 header."""
    from synthtumour.volume.reading import read_volume

    scan = make_head()
    expected = read_volume(scan).array * 0.5 + 10
    content = bytearray(gzip.decompress(scan.read_bytes()))
    content[112:120] = np.array([0.5, 10.0], "<f4").tobytes()
    scaled = tmp_path / f"scaled{extension}"
    scaled.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    assert np.array_equal(read_volume(scaled).array, expected)
    mask = scan.parent / "flair_brainmask.nii.gz"
    assert resect(scaled, tmp_path / "i.nii", tmp_path / "l.nii", "--brain-mask", mask) == 0
