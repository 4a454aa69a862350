"""Files and names that lie, hang, or mean harm: one clear line each, and nothing of anybody's is touched."""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ROOT, MakeHead
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prompt_multi_tumor
import resect_multi_tumor
from synthtumour.errors import InputError
from synthtumour.files.state import file_state
from synthtumour.options import program
from synthtumour.runs.cases import Case, Group
from synthtumour.runs.journal import Journal
from synthtumour.runs.run import Working, run
from synthtumour.runs.settings import JOURNAL_FILE, RUN_FILE
from synthtumour.stage2.senior import find_stage1_cases
from synthtumour.volume.reading import MOST_VOXELS, read_volume

NAN, INF = float("nan"), float("inf")
SMALL = {"size_mm": (60.0, 72.0, 54.0), "spacing": (4.0, 4.0, 4.0)}
VOLUMES = ["--min-volume", "500", "--max-volume", "2000"]


def resect(*args: object) -> int:
    return resect_multi_tumor.main([str(a) for a in args])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("resect_multi_tumor.py: error: "), err
    assert err.rstrip("\n").isprintable() and "Traceback" not in err
    return err


# ---------------------------------------------------------------- headers that lie


@pytest.fixture
def nifti(tmp_path: Path) -> bytes:
    """A whole uncompressed NIfTI file of 6 x 5 x 4 int16 voxels."""
    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    sitk.WriteImage(image, str(tmp_path / "whole.nii"))
    return (tmp_path / "whole.nii").read_bytes()


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
    begin = time.process_time()
    with pytest.raises(InputError, match=f"promises 999700029999 voxels .*more than {MOST_VOXELS}"):
        read_volume(path)
    assert time.process_time() - begin < 2


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


# ---------------------------------------------------------------- what is no file


@pytest.fixture(params=["folder", "pipe", "socket", "device", "circle of links"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """no_file(path) puts something there that is no regular file."""
    held = []

    def make(path: Path) -> None:
        if request.param == "folder":
            path.mkdir()
        elif request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        elif request.param == "circle of links":
            path.symlink_to(path)
        else:
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].bind(os.path.relpath(path))

    yield make
    for one in held:
        one.close()


def test_what_is_no_file_is_refused_at_once(
    no_file: Callable[[Path], None],
    make_head: MakeHead,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = make_head(**SMALL)
    monkeypatch.chdir(tmp_path)
    for name in ("x.nii.gz", "x.json", "x.csv"):
        no_file(tmp_path / name)
    outputs = ("i.nii.gz", "l.nii.gz")
    for arguments_ in (
        ("x.nii.gz", *outputs),
        (scan, *outputs, "--brain-mask", "x.nii.gz"),
        (scan, *outputs, "--location-prior", "x.nii.gz"),
        (scan, *outputs, "--from-record", "x.json"),
        (scan, *outputs, "--from-record", "x.csv", "--case", "c"),
        (scan, *outputs, "--volumes-path", "x.csv"),
    ):
        assert resect(*arguments_) == 2
        assert "x." in one_line(capsys)
    assert not any((tmp_path / name).exists() for name in outputs)


def test_a_brain_mask_or_prior_that_is_a_pipe_is_not_passed_over(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head("in/a", mask=False, **SMALL)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.nii.gz")
    how = ["--workers", "1", *VOLUMES]
    with_prior = ["--location-prior", "fifo.nii.gz"]
    assert prompt_multi_tumor.main(["--input", "in", "--output", "Dataset001_A", *how, *with_prior]) != 0
    assert "fifo.nii.gz: not a file but a folder, pipe" in capsys.readouterr().out
    os.mkfifo(scan.with_name("flair_brainmask.nii.gz"))
    assert resect(scan, "i.nii.gz", "l.nii.gz") == 2
    assert "flair_brainmask.nii.gz: not a file but a folder, pipe" in one_line(capsys)
    assert prompt_multi_tumor.main(["--input", "in", "--output", "Dataset002_B", *how]) != 0
    assert "flair_brainmask.nii.gz: not a file but a folder, pipe" in capsys.readouterr().out


# ---------------------------------------------------------------- names

NAMES = (
    ";rm -rf ~", "$(touch pwned)", "`touch pwned`", "a\nb", "-rf", "=1+1", "@x", "x" * 240, "Ünïcode 脑 🧠",
    "\x1b[31mred\x1b]0;title\x07", "'\"\\", "%s{0}", os.fsdecode(b"\xff\xfe"),
)  # fmt: skip


def test_names_of_subjects_are_only_names(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every subject is made or told why not, and no control character reaches the terminal."""
    first = make_head("first", **SMALL)
    for name in NAMES:
        (tmp_path / "in" / name).mkdir(parents=True)
        for file in first.parent.iterdir():
            (tmp_path / "in" / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "in/pipe").mkdir()
    os.mkfifo(tmp_path / "in/pipe/flair.nii.gz")
    monkeypatch.chdir(tmp_path)
    code = prompt_multi_tumor.main(
        ["--input", "in", "--output", "Dataset001_A", "--workers", "1", "--shape", "ellipsoid", *VOLUMES]
    )
    out, err = capsys.readouterr()
    assert code == 1 and "skipped pipe: flair.nii.gz in it is not a file" in out
    assert "FAILED" in out and "not valid UTF-8" in out and f"{len(NAMES) - 1} made" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert "\x1b[31m" not in err and "\x07" not in err
    assert len(list((tmp_path / "Dataset001_A/imagesTr").iterdir())) == len(NAMES) - 1
    assert not [p for p in tmp_path.rglob("pwned")]


@pytest.mark.parametrize("name", [name for name in NAMES if name.isascii() and "\n" not in name])
def test_names_of_outputs_are_only_names(name: str, make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(**SMALL)
    folder = tmp_path / "made"
    folder.mkdir()
    outputs = [folder / f"{name}{n}.nii.gz" for n in "il"]
    code = resect(scan, *outputs, "--shape", "ellipsoid", *VOLUMES)
    assert code == 0 and sorted(folder.iterdir()) == outputs


def test_arguments_are_repeated_without_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    for extra in (["a", "b", "c", "\x1b[31mred"], ["\x1b[31mred", "b.nii.gz", "c.nii.gz"]):
        with pytest.raises(SystemExit) if len(extra) == 4 else contextlib.nullcontext():
            assert resect(*extra) == 2
        err = capsys.readouterr().err
        assert "\x1b" not in err and "\\x1b[31mred" in err


# ---------------------------------------------------------------- records


def leaves(nested: object, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(nested, (dict, list)):
        for key, value in nested.items() if isinstance(nested, dict) else enumerate(nested):
            yield (*path, key)
            yield from leaves(value, (*path, key))


def with_value(record: dict, path: tuple, value: object) -> dict:
    changed = copy.deepcopy(record)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


ODD_VALUES = (KeyError, None, "x", [], {}, [1] * 5, NAN, INF, -1, 0, 1e308, 10**30, -0.5, True, "../../x")


@pytest.mark.parametrize("preset", ["paper", "diverse", pytest.param("all of both", marks=pytest.mark.slow)])
def test_records_with_surprising_values(
    preset: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(**SMALL)
    outputs = [tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"]
    for name in ("paper", "diverse") if preset == "all of both" else (preset,):
        more = ["--core-probability", "1", *VOLUMES, "--preset", name]
        more += ["--distractors", "1", "--mass-effect", "3"] if name == "diverse" else []
        assert resect(scan, *outputs, "--seed", "4", "--record", tmp_path / "r.json", *more) == 0
        record = json.loads((tmp_path / "r.json").read_text())
        changes = [(path, value) for path in leaves(record) for value in ODD_VALUES]
        if preset != "all of both":
            chosen = np.random.default_rng(7).choice(len(changes), 60, replace=False)
            changes = [changes[n] for n in chosen]
        for path, value in changes:
            for output in outputs:
                output.unlink(missing_ok=True)
            (tmp_path / "changed.json").write_text(json.dumps(with_value(record, path, value)))
            capsys.readouterr()
            begin = time.process_time()
            code = resect(scan, *outputs, "--from-record", tmp_path / "changed.json")
            assert time.process_time() - begin < 20, (path, value)
            assert code in (0, 2), (path, value, capsys.readouterr())
            if code:
                one_line(capsys)
                assert not any(output.exists() for output in outputs)


RECORDS = {
    "nested without end.json": b"[" * 10**6,
    "a list.json": b"[1, 2]",
    "no text.json": b"\xff\xfe\x00{}",
    "a number without end.json": b'{"seed": ' + b"9" * 10**5 + b"}",
    "nothing.json": b"",
    "a field without end.csv": b"case,record\nc," + b"x" * 10**6 + b"\n",
    "no columns.csv": b"\0\0\0\n",
    "nested.csv": b'case,record\nc,"' + b"[" * 10**5 + b'"\n',
}


@pytest.mark.parametrize("name", RECORDS)
def test_files_that_are_no_record(
    name: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, path = make_head(**SMALL), tmp_path / name
    path.write_bytes(RECORDS[name])
    case = ["--case", "c"] if path.suffix == ".csv" else []
    outputs = [tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"]
    assert resect(scan, *outputs, "--from-record", path, *case) == 2
    assert name in one_line(capsys)
    if path.suffix == ".csv":
        path.write_bytes(RECORDS[name].replace(b"record", b"Volume"))
        assert resect(scan, *outputs, "--volumes-path", path) == 2
        assert name in one_line(capsys)


@pytest.mark.parametrize("value", [-1.0, NAN, INF, 1e300, 0.0])
def test_location_priors_that_are_none(
    value: float, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(**SMALL)
    flair = sitk.ReadImage(str(scan))
    written = sitk.GetImageFromArray(np.full(flair.GetSize()[::-1], value))
    written.CopyInformation(flair)
    sitk.WriteImage(written, str(tmp_path / "prior.nii.gz"))
    code = resect(
        scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "--location-prior", tmp_path / "prior.nii.gz"
    )
    assert code == 2 and "location prior" in one_line(capsys)


# ---------------------------------------------------------------- journals

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=8,
)
KEYS = ("case", "started", "removed", "outputs", "status", "digest", "made", "inputs", "reserved", "staging")
LINES = st.dictionaries(
    st.sampled_from((*KEYS, "warnings", "reason")),
    st.one_of(JSON, st.just("made"), st.just({"made/a.txt": [1, 2, 3, 4]}), st.just({"a": {"b": None}})),
)


def journal_in(folder: Path, overwrite: bool = True) -> Journal:
    return Journal(folder, {"program": "p", "options": {}}, overwrite=overwrite)


def case_in(folder: Path) -> Case:
    return Case("a", (folder / "made" / "a.txt",), {"seed": 0})


@settings(derandomize=True, max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, min_size=1, max_size=3))
def test_lines_of_a_journal_that_mean_nothing(
    lines: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    case = case_in(folder)
    with journal_in(folder) as journal:
        journal.admit({case.name: case}, {case.name: case})
        assert not journal.is_done(case)
        journal.row(case)


def test_a_journal_leads_nowhere_else(tmp_path: Path) -> None:
    """Neither a line that claims somebody's file nor one that claims a folder makes us delete it."""
    folder, home = tmp_path / "run", tmp_path / "home"
    for place in (folder, home / ".synthtumour-0123456789abcdef"):
        place.mkdir(parents=True)
        (place / "mine.txt").write_text("mine")
    (home / "mine.txt").write_text("mine")
    state = file_state(home / "mine.txt")
    lines: list[dict] = [
        {"staging": ["../home/.synthtumour-0123456789abcdef"]},
        {"started": {"x": {"../home/mine.txt": None}}},
        {"case": "y", "digest": "", "status": "made", "outputs": {"../home/mine.txt": state}},
        {"case": "z", "digest": "", "status": "made", "outputs": {str(home / "mine.txt"): state}},
        {"case": "a", "digest": "", "status": "made", "outputs": {"../home/mine.txt": state}},
    ]
    (folder / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    case = case_in(folder)
    with journal_in(folder) as journal:
        notes = journal.admit({case.name: case}, {case.name: case})
        assert not journal.is_done(case)
        with journal.work([case]):
            journal.start([case])
    assert (home / "mine.txt").read_text() == "mine"
    assert (home / ".synthtumour-0123456789abcdef/mine.txt").read_text() == "mine"
    assert [note for note in notes if "../home/mine.txt" in note]


@pytest.mark.parametrize("what", ["[1]", '"x"', "{", "[" * 10**5, '{"a": ' * 900 + "1" + "}" * 900, None])
def test_a_run_file_of_somebody_else_is_refused(what: str | None, tmp_path: Path) -> None:
    if what is None:
        os.mkfifo(tmp_path / RUN_FILE)
    else:
        (tmp_path / RUN_FILE).write_text(what)
    with pytest.raises(InputError, match="another folder"), journal_in(tmp_path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [RUN_FILE]


@pytest.mark.parametrize(
    "name", [JOURNAL_FILE, RUN_FILE, "manifest.csv", "report.html", "dataset.json", "imagesTr"]
)
def test_pipes_where_a_run_would_write_are_refused(
    name: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("in/a", **SMALL)
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    os.mkfifo(folder / name)
    code = prompt_multi_tumor.main(["--input", str(tmp_path / "in"), "--output", str(folder), *VOLUMES])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1 and name in err
    assert (folder / name).is_fifo()


@pytest.mark.parametrize("case", ["../../x", "/etc/x", "", "a b", "-x", "a\nb"])
def test_names_in_a_stage_1_manifest_lead_nowhere_else(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}')
    cell = '"' + case + '"'
    table = f"case,subject,split,kind,status,volume_ml\n{cell},s,train,synthetic,made,1\n"
    (folder / "manifest.csv").write_text(table)
    with pytest.raises(InputError, match="not a finished dataset"):
        find_stage1_cases(folder, 1, None)


@pytest.mark.parametrize("labels", ["[]", '"tumour"', "null", "[" * 10**5, "{"])
def test_a_dataset_json_that_is_none(labels: str, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"labels": ' + labels + "}")
    (folder / "manifest.csv").write_text("case,subject,split,kind,status,volume_ml\n")
    with pytest.raises(InputError, match="not a finished dataset"):
        find_stage1_cases(folder, 1, None)


# ---------------------------------------------------------------- errors nobody has thought of


def fails_oddly(args: argparse.Namespace) -> int:
    raise ZeroDivisionError("of \x1b[31m\nthings")


def no_memory(args: argparse.Namespace) -> int:
    raise MemoryError("8 EiB")


def not_permitted(args: argparse.Namespace) -> int:
    os.listdir("/proc/self/mem")
    return 0


@pytest.mark.parametrize(
    "main, code, says",
    [
        (
            fails_oddly,
            1,
            ["unexpected ZeroDivisionError: of \\x1b[31m\\nthings", "test_hostile.py:", "--debug"],
        ),
        (no_memory, 1, ["not enough memory", "8 EiB"]),
        (not_permitted, 2, ["/proc/self/mem: Not a directory"]),
    ],
)
def test_whatever_happens_is_one_line(
    main: Callable, code: int, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser(prog="resect_multi_tumor.py")
    program.add_program_options(parser)
    assert program.run(main, parser, []) == code
    line = one_line(capsys)
    assert all(words in line for words in says)
    assert program.run(main, parser, ["--debug"]) == code
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and f"in {main.__name__}" in err and err.endswith(line)
    assert "\x1b" not in err


def load_nothing(source: object) -> object:
    return source


def make_oddly(loaded: object, case: Case) -> dict[str, object]:
    raise ZeroDivisionError("of things")


@pytest.mark.parametrize("debug", [False, True])
def test_a_case_that_fails_oddly(debug: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = case_in(tmp_path)
    groups = [Group("s", (case,))]
    with journal_in(tmp_path, overwrite=False) as journal:
        report = run(groups, load_nothing, make_oddly, journal, Working(1, debug=debug))
    ((name, reason),) = report.failed
    assert name == "a" and "unexpected ZeroDivisionError: of things (at test_hostile.py:" in reason
    assert "--debug" in reason and "Traceback" not in (tmp_path / JOURNAL_FILE).read_text()
    err = capfd.readouterr().err
    assert ("Traceback" in err and "in make_oddly" in err) == debug


def test_whoever_reads_what_is_printed_may_go(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(**SMALL)
    command = [sys.executable, ROOT / "resect_multi_tumor.py", scan, "i.nii.gz", "l.nii.gz", *VOLUMES]
    running = subprocess.Popen(
        [str(word) for word in command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdout.close()  # type: ignore[union-attr]
    assert running.stderr.read() == b""  # type: ignore[union-attr]
    assert running.wait() == 141 and (tmp_path / "l.nii.gz").is_file()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_nobody_may_listen(closed: str, make_head: MakeHead, tmp_path: Path) -> None:
    command = [ROOT / "resect_multi_tumor.py", make_head(**SMALL), "i.nii.gz", "l.nii.gz", *VOLUMES]
    descriptor = {"stdout": 1, "stderr": 2}[closed]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=lambda: os.close(descriptor),
    )
    assert done.returncode == 0 and done.stderr == b"" and (tmp_path / "l.nii.gz").is_file()


# ---------------------------------------------------------------- what the code never does


def test_no_pickle_is_loaded_no_shell_called_nothing_evaluated() -> None:
    files = [*ROOT.glob("*.py"), *(ROOT / "synthtumour").rglob("*.py")]
    assert len(files) > 20
    forbidden = {
        "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
        "pickle.Unpickler", "torch.load", "pd.read_pickle", "joblib.load", "marshal.loads", "shelve.open",
        "yaml.load", "sitk.ReadTransform", "subprocess.getoutput", "subprocess.getstatusoutput",
    }  # fmt: skip
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                where = f"{file.name}:{node.lineno}: {name}"
                assert name not in forbidden and not name.startswith(("os.exec", "os.spawn")), where
                assert "shell" not in options, where
                assert options.get("allow_pickle", "False") == "False", where
                assert not (name.startswith("subprocess.") and not isinstance(node.args[0], ast.List)), where
