"""One scan: priors, channels, and files that are no record."""

from __future__ import annotations

from pathlib import Path

import pytest

import resect_multi_tumor
from tests.conftest import TINY, MakeHead, in_order, one_line, resect


def test_location_prior_on_another_grid_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, other = make_head(), make_head("other", spacing=(3.0, 3.0, 3.0))
    outputs = [str(tmp_path / "i.nii.gz"), str(tmp_path / "l.nii.gz")]
    assert resect_multi_tumor.main([str(scan), *outputs, "--location-prior", str(other)]) == 2
    assert "another grid" in capsys.readouterr().err


def test_channel_option(make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, t2 = make_head(), make_head("t2", "RAS", seed=0)
    outputs = [str(tmp_path / f"{n}.nii.gz") for n in ("i", "l", "t2")]
    common = [str(scan), *outputs[:2], "--seed", "1", "--max-volume", "30000"]
    channel = ["--channel", "t2", str(t2), outputs[2]]
    record = ["--record", str(tmp_path / "r.json")]
    assert resect_multi_tumor.main([*common, "--preset", "diverse", *record, *channel]) == 0
    first = Path(outputs[2]).read_bytes()
    assert (in_order(tmp_path / "t2.nii.gz") != in_order(t2)).any()
    again = ["--from-record", str(tmp_path / "r.json")]
    assert resect_multi_tumor.main([str(scan), *outputs[:2], *again, *channel]) == 0
    assert Path(outputs[2]).read_bytes() == first
    capsys.readouterr()
    coarse = make_head("coarse", spacing=(3.0, 3.0, 3.0))
    for arguments, said in (
        (["--preset", "paper", *channel], "need tumours of --preset diverse"),
        (["--preset", "diverse", "--channel", "t2", str(coarse), outputs[2]], "another grid"),
        (
            ["--preset", "diverse", "--skull-strip", "--channel", "t2", str(coarse), outputs[2]],
            "another grid",
        ),
        (["--preset", "diverse", "--channel", "pd", str(t2), outputs[2]], "--channel pd: choose one of"),
    ):
        assert resect_multi_tumor.main([*common, *arguments]) == 2
        assert said in capsys.readouterr().err


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
    scan, path = make_head(**TINY), tmp_path / name
    path.write_bytes(RECORDS[name])
    case = ["--case", "c"] if path.suffix == ".csv" else []
    outputs = [tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"]
    assert resect(scan, *outputs, "--from-record", path, *case) == 2
    assert name in one_line(capsys)
    if path.suffix == ".csv":
        path.write_bytes(RECORDS[name].replace(b"record", b"Volume"))
        assert resect(scan, *outputs, "--volumes-path", path) == 2
        assert name in one_line(capsys)
