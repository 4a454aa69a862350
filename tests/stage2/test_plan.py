"""What a Stage 2 run may be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import run_stage2


@pytest.mark.parametrize("taken", ["H", "D/imagesTr", "D/labelsTr", "nnUNet_raw/Dataset102_Senior"])
def test_tables_get_a_folder_of_their_own(
    folders: Path, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    before = sorted(folders.rglob("*"))
    combined = ["--combine", str(folders / "nnUNet_raw/Dataset102_Senior")]
    assert run_stage2(folders, "--mask_check_path", str(folders / taken), *combined) == 2
    assert "--mask_check_path a folder of its own" in capsys.readouterr().err
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--imagesTr_path", "nowhere"], "nowhere: no such folder"),
        (["--labelsTr_path", "nowhere"], "nowhere: no such folder"),
        (["--healthyimgTr", "nowhere"], "nowhere: no such folder"),
        (["--healthyimgTr", "void"], "holds no scan"),
        (["--imagesTr_path", "void"], "holds no scan"),
        (["-num", "0"], "needs 1 or more"),
        (["-mnum", "2"], "needs the scans in nnU-Net form"),
        (["--min-remaining", "1.5"], "needs 0 to 1"),
        (["--buffer-sigma", "nan"], "needs 0 to 20"),
        (["--prefix", "a/b"], "letters, digits"),
        (["--subject-pattern", "("], "--subject-pattern"),
        (["--donor-masks", "nowhere"], "no such folder"),
        (["--mixid_csv_path", "nowhere/ids.csv"], "in a folder that exists"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    change: list[str], said: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "void").mkdir()
    value = str(folders / change[1]) if change[1] in ("nowhere", "void", "nowhere/ids.csv") else change[1]
    assert run_stage2(folders, "-num", "2", change[0], value) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("stage2_mixed_with_pseudo_label.py: error: ")
    assert said in error[0]
    assert not (folders / "D/imagesTrMix").exists()
