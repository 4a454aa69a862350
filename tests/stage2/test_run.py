"""Two runs of Stage 2 do not mix into one folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from synthtumour.files.lock import hold
from synthtumour.report import page
from synthtumour.runs.cases import report_of
from synthtumour.runs.folder import held
from synthtumour.stage2.summary import write_mix_ids
from tests.conftest import ROOT, mixed_files, rows_of, run_stage2, stage2_command


def test_two_runs_do_not_mix_into_one_folder(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folders / "D/imagesTrMix"
    images.mkdir()
    with hold(images):  # as a run with another CHECK does
        assert run_stage2(folders, "-num", "2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{images}: another run is writing here (process {os.getpid()}" in line
    assert run_stage2(folders, "-num", "2") == 0
    assert sorted(path.suffix for path in images.iterdir()) == [".gz", ".gz"]


MIXING = ("-num", "4", "--jitter", "2")


def pictures(folders: Path) -> dict[str, bytes]:
    check = folders / "CHECK"
    return {p.name: p.read_bytes() for p in (*(check / "pictures").glob("*"), check / "contact_sheet.png")}


def test_pictures_added_later_are_those_of_the_start_and_all_that_is_made(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage2(folders, *MIXING) == 0
    before = mixed_files(folders / "D")
    times = {path: path.stat().st_mtime_ns for path in (folders / "D").glob("*Mix/*")}
    assert run_stage2(folders, *MIXING, "--preview") == 0
    said = capsys.readouterr().out
    assert "pictures drawn of 4 of those kept" in said and "0 made, 4 kept" in said
    assert {path: path.stat().st_mtime_ns for path in times} == times
    later, table = pictures(folders), (folders / "CHECK/mix_ids.csv", folders / "CHECK/report.html")
    said_later = [path.read_bytes() for path in table if path.is_file()]
    assert run_stage2(folders, *MIXING, "--preview", "--overwrite") == 0
    assert pictures(folders) == later and len(later) == 5 and mixed_files(folders / "D") == before
    assert [path.read_bytes() for path in table if path.is_file()] == said_later


@pytest.mark.parametrize("attempt", range(3))
def test_two_shards_that_start_together(folders: Path, attempt: int) -> None:
    script = str(ROOT / "stage2_mixed_with_pseudo_label.py")
    command = [sys.executable, script, *stage2_command(folders, "-num", "4", "--workers", "1")]
    shards = [
        subprocess.Popen([*command, "--shard", f"{n}/2"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in (1, 2)
    ]
    said = [shard.communicate(timeout=300) for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], said
    assert run_stage2(folders, "-num", "4", "--finalise") == 0
    assert len(mixed_files(folders / "D")) == 8


def test_a_shard_that_waits_for_the_gate_says_so(folders: Path) -> None:
    script = str(ROOT / "stage2_mixed_with_pseudo_label.py")
    command = [sys.executable, script, *stage2_command(folders, "-num", "4", "--workers", "1")]
    with held(folders / "CHECK/gate", command=("stage2.py", "--shard", "1/2")):
        shard = subprocess.Popen([*command, "--shard", "2/2"], stderr=subprocess.PIPE, text=True)
        assert shard.stderr is not None
        line = shard.stderr.readline()
    assert shard.wait(timeout=300) == 0
    shard.stderr.close()
    assert line.startswith("waiting for it to end: another run is writing here (process ")
    assert "stage2.py --shard 1/2" in line and str(folders / "CHECK/gate") in line


def test_the_lock_s_note_is_the_command_that_main_was_given(folders: Path, capsys) -> None:
    images = folders / "D/imagesTrMix"
    images.mkdir()
    with held(images, command=("given.py", "--x")):
        assert run_stage2(folders, "-num", "2") == 2
    assert "given.py --x" in capsys.readouterr().err


def test_a_page_that_fails_is_one_line_for_the_senior_s_dataset_too(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(page, "_page", fail)
    senior = folders / "Dataset102_Senior"
    assert run_stage2(folders, "-num", "4", "--preview", "--combine", str(senior)) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("no report: ")]) == 2
    assert (senior / "dataset.json").is_file() and (senior / "splits_final.json").is_file()
    assert {row["status"] for row in rows_of(senior / "manifest.csv")} == {"made"}


def test_the_table_is_byte_for_byte_what_pandas_wrote(tmp_path: Path) -> None:
    odd = [1, 2.5, None, True, "a,b", 'say "x"', "two\nlines", "\udcff", float("nan"), 1e-7, 1e16]
    ids = {"id1": "d", "id2": "r"}
    rows = [
        {
            "case": f"p_CarveMix_{n}",
            "status": "failed" if n % 4 == 3 else "made",
            "reason": "",
            **ids,
            "odd": odd[n % len(odd)],
            "whole": n,
            "decimal": n / 4,
            **({} if n % 3 else {"rare": n, "rarely": n % 2 == 0}),
            "seconds": 0.5,
        }
        for n in reversed(range(24))
    ]
    write_mix_ids(report_of(rows, 0), tmp_path / "t.csv")
    there = [
        {
            "id": row["case"],
            **{k: v for k, v in row.items() if k not in ("case", "status", "reason", "seconds")},
        }
        for row in reversed(rows)
        if row["status"] == "made"
    ]
    wanted = pd.DataFrame(there).to_csv(index=False).encode("utf-8", "surrogateescape")
    assert (tmp_path / "t.csv").read_bytes() == wanted
    assert b'p_CarveMix_6,d,r,"two\nlines",6,1.5,6.0,True' in wanted


def test_nobody_gets_the_tumour_of_his_name_in_other_letters(folders: Path) -> None:
    for name, other in (("h0", "Patient0"), ("h1", "PATIENT1")):
        (folders / "H" / name).rename(folders / "H" / other)
    assert run_stage2(folders, "-num", "4") == 0
    pairs = {(row["id1"], row["id2"]) for row in rows_of(folders / "CHECK/CarveMixID.csv")}
    others = {("patient0", "PATIENT1"), ("patient1", "Patient0")}
    assert pairs == others | {("patient2", name) for name in ("Patient0", "PATIENT1")}
