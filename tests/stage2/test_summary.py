"""What a Stage 2 run says to be careful with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import rows_of, run_stage2


def test_what_a_user_should_know_is_said_and_in_the_report(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage2(folders, "-num", "13") == 0
    said = capsys.readouterr().out
    page = (folders / "CHECK/report.html").read_text(encoding="utf-8")
    looks = [(r["id1"], r["id2"], r["mirrored"]) for r in rows_of(folders / "CHECK/CarveMixID.csv")]
    repeats = f"exact repeats of another case, for want of donors and scans: {13 - len(set(looks))} of 13; "
    skulls = "of 5 scans, the rest skull-stripped; --skull-strip makes them alike"
    for words in (repeats, skulls):
        assert words in said and words in page
    assert run_stage2(folders, "-num", "13", "--skull-strip", "--jitter", "3", "--overwrite") == 0
    assert "  note " not in capsys.readouterr().out
