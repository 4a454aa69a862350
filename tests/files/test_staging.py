"""Files are written whole or not at all, and nothing of anybody's is in the way."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import MakeHead, resect


def test_files_in_a_folder_named_like_ours_survive(make_head: MakeHead, tmp_path: Path) -> None:
    from synthtumour.files.staging import staging_folder

    scan = make_head()
    unlucky = staging_folder(tmp_path / "i.nii.gz") / "i.nii.gz"
    unlucky.parent.mkdir()
    unlucky.write_bytes(scan.read_bytes())
    assert resect(unlucky, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert unlucky.read_bytes() == scan.read_bytes()
    assert not (tmp_path / "l.nii.gz").exists()
