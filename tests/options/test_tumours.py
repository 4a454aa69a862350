"""Options of tumours that make no sense are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import resect_multi_tumor
from tests.conftest import MakeHead


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "paper", "--mass-effect", "3"], "--mass-effect needs --preset diverse"),
        (["--preset", "paper", "--labels", "brats"], "--labels needs --preset diverse"),
        (["--preset", "paper", "--distractors", "1"], "--distractors needs --preset diverse"),
        (["--preset", "paper", "--nodules", "1"], "--nodules needs --preset diverse"),
        (["--preset", "paper", "--texture", "0"], "--texture needs --preset diverse"),
        (["--preset", "diverse", "--nodules", "1.5"], "--nodules 1.5: needs 0 to 1"),
        (["--preset", "diverse", "--texture", "nan"], "--texture nan: needs 0 to 5"),
        (["--preset", "paper", "--shape", "infiltrative"], "--shape infiltrative needs --preset diverse"),
        (["--preset", "diverse", "--shape-engine", "resector"], "no infiltrative shapes"),
        (["--preset", "diverse", "--distractors", "2"], "--distractors 2"),
        (["--preset", "diverse", "--mass-effect", "5", "2"], "--mass-effect 5 2"),
        (["--location-prior", "missing.nii.gz"], "missing.nii.gz: no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    scan = make_head()
    outputs = [str(tmp_path / "i.nii.gz"), str(tmp_path / "l.nii.gz")]
    assert resect_multi_tumor.main([str(scan), *outputs, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "i.nii.gz").exists()
