"""What may be read and written is looked at before any work."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import MakeHead, resect


def test_output_over_a_linked_input_is_refused(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head()
    link = tmp_path / "link.nii.gz"
    os.symlink(scan, link)
    before = scan.read_bytes()
    assert resect(scan, link, tmp_path / "l.nii.gz") == 2
    assert scan.read_bytes() == before
