"""Which files are donors and recipients, and whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import rows_of, run_stage2


def test_subjects_of_stage_1_are_taken_from_its_manifest(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["case,subject", "patient0,h0", "patient1,h0", "patient2,h1"]
    (folders / "D/manifest.csv").write_text("\n".join(lines) + "\n")
    assert run_stage2(folders, "-num", "3") == 0
    pairs = {(row["id1"], row["id2"]) for row in rows_of(folders / "CHECK/CarveMixID.csv")}
    assert pairs == {("patient0", "h1"), ("patient1", "h1"), ("patient2", "h0")}
