"""The contact sheet shows what there is, and cannot fail a run."""

from __future__ import annotations

from pathlib import Path

from synthtumour.report.sheet import write_sheet

ROWS = [{"case": "a", "status": "made", "split": "train", "volume_ml": 1.0}]


def test_no_picture_no_sheet_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    assert write_sheet(tmp_path, "previews", ROWS, "title") == []
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews/a.png").write_bytes(b"no picture")
    (line,) = write_sheet(tmp_path, "previews", ROWS, "title")
    assert line.startswith(f"no contact sheet: {tmp_path / 'contact_sheet.png'}: ") and "a.png" in line
