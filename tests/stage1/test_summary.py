"""What a Stage 1 run says comes next, where tumours are to be drawn afresh."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import prompt_multi_tumor
from tests.conftest import ROOT, MakeHead, array


@pytest.mark.parametrize(("preset", "trainer"), [("paper", "SynthTumour"), ("diverse", "SynthTumourDiverse")])
def test_stage_1_names_the_trainer(
    preset: str, trainer: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training cases as they are, cases of the validation task with tumours, and the commands for both."""
    for n in range(2):
        make_head(f"in/sub{n}", seed=n, spacing=(3.0, 3.0, 3.0))
    output = tmp_path / "Dataset101_SynthTumour"
    command = ["-i", str(tmp_path / "in"), "-o", str(output), "--skull-strip", "--preset", preset]
    command += ["--distractors", "1"] if preset == "diverse" else []
    assert prompt_multi_tumor.main([*command, "--without-tumour", "1", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert f"export nnUNet_extTrainer={ROOT / 'synthtumour' / 'nnunet_trainer'}\n" in said
    assert f"nnUNetv2_train 101 3d_fullres 0 -tr nnUNetTrainer{trainer} --val_best --npz\n" in said
    assert f"-o PREDICTIONS -tr nnUNetTrainer{trainer} -c" in said and "cp " not in said
    assert "-chk checkpoint_best.pth --save_probabilities\n" in said
    for label in (output / "labelsTr").iterdir():
        drawn = array(label).any()
        assert drawn == label.name.endswith("val.nii.gz")
        if not drawn:  # nor distractors, which the trainer draws too
            name = label.name.removesuffix(".nii.gz")
            head = tmp_path / "in" / name
            stripped = np.where(array(head / "flair_brainmask.nii.gz"), array(head / "flair.nii.gz"), 0)
            assert np.array_equal(array(output / "imagesTr" / f"{name}_0000.nii.gz"), stripped)


def test_several_channels_have_no_trainer(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        scan = make_head(f"in/sub{n}", seed=n, spacing=(3.0, 3.0, 3.0))
        shutil.copy(scan, scan.with_name("t1.nii.gz"))
    command = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "Dataset101_SynthTumour"), "--skull-strip"]
    command += ["--preset", "diverse", "--channels", "t1", "--without-tumour", "1", "--workers", "1"]
    assert prompt_multi_tumor.main(command) == 0
    said = capsys.readouterr().out
    assert "nnUNetv2_train 101 3d_fullres 0" in said and " -tr " not in said


def test_training_cases_that_got_no_tumour_by_chance_are_told_of(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        make_head(f"in/sub{n}", seed=n, spacing=(3.0, 3.0, 3.0))
    command = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "Dataset101_SynthTumour"), "--skull-strip"]
    assert prompt_multi_tumor.main([*command, "--without-tumour", "0.999", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "no training case has a tumour, by chance: give more --variants" in said and " -tr " not in said
    assert prompt_multi_tumor.main([*command, "--without-tumour", "0", "--workers", "1", "--overwrite"]) == 0
    assert "by chance" not in capsys.readouterr().out
