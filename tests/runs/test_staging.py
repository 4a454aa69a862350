"""Folders for unfinished work."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from tests.runs.conftest import groups_in, manifest, run


def test_an_output_folder_that_vanishes_ends_the_run(tmp_path: Path) -> None:
    def take_away() -> None:
        while not (tmp_path / "made/c0_0.txt").exists():
            time.sleep(0.01)
        (tmp_path / "made").rename(tmp_path / "away")

    thread = threading.Thread(target=take_away)
    thread.start()
    with pytest.raises(InputError, match="made: vanished while the run was on; the same command carries on"):
        run(tmp_path, groups_in(tmp_path, 30, sleep=0.05), workers=1)
    thread.join()
    assert "made" not in {row["status"] for row in manifest(tmp_path)}
