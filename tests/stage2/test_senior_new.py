"""Names of cases that meet in the senior's dataset are told before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import run_stage2


@pytest.mark.parametrize("name", ["h0_free", "D_CarveMix_1"])
def test_a_donor_called_as_another_case(name: str, folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(folders / "D/imagesTr/patient0_0000.nii.gz", folders / f"D/imagesTr/{name}_0000.nii.gz")
    shutil.move(folders / "D/labelsTr/patient0.nii.gz", folders / f"D/labelsTr/{name}.nii.gz")
    senior = ["--combine", str(folders / "raw/Dataset102_Senior"), "--add-untouched", "1"]
    assert run_stage2(folders, "-num", "3", *senior) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}_0000.nii.gz" in line and f"both give a case {name} of" in line
    assert ("h0/flair.nii.gz" if name == "h0_free" else "a mixed case") in line
    assert not (folders / "CHECK").exists() and not (folders / "D/imagesTrMix").exists()
