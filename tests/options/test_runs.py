"""Options of a run that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

import prompt_multi_tumor


@pytest.mark.parametrize("options", [["--overwrite"], ["--dask", "tcp://127.0.0.1:9"], ["--finalise"]])
def test_refused_with_a_shard(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "Dataset001_A"
    assert prompt_multi_tumor.main(["--output", str(output), "--shard", "1/2", *options]) == 2
    assert options[0] in capsys.readouterr().err and not output.exists()
