"""Two runs of Stage 2 do not mix into one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthtumour.files.lock import hold
from tests.conftest import run_stage2


def test_two_runs_do_not_mix_into_one_folder(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folders / "D/imagesTrMix"
    images.mkdir()
    with hold(images):  # as a run with another CHECK does
        assert run_stage2(folders, "-num", "2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{images}: another run is writing here (process {os.getpid()}" in line
    assert run_stage2(folders, "-num", "2") == 0
    assert sorted(path.suffix for path in images.iterdir()) == [".gz", ".gz"]
