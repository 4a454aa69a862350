"""A generated dataset in the hands of real nnU-Net v2: integrity, preprocessing, the split it trains on."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import MakeHead
from nnunet_peer import NnUnet

import prompt_multi_tumor

pytestmark = pytest.mark.nnunet

_HEADS = """
import sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args(sys.argv[1], "3d_fullres", 0, device=torch.device("cpu"))
trainer.initialize()
labels = trainer.label_manager
print(labels.foreground_regions, labels.num_segmentation_heads, trainer.num_input_channels)
"""


def test_nnunet_takes_the_dataset_and_its_split(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, orientation in enumerate(["RAS", "LPS", "PIR", "LAS"]):
        make_head(f"in/subject {n}", orientation, seed=n, size_mm=(96.0, 112.0, 88.0))
    raw = tmp_path / "raw"
    output = raw / "Dataset123_SynthTumour"
    options = ["--variants", "2", "--add-untouched", "0.5", "--workers", "1", "--max-volume", "30000"]
    assert prompt_multi_tumor.main(["-i", str(tmp_path / "in"), "-o", str(output), *options]) == 0

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    nnunet = NnUnet(raw, tmp_path)
    training, validation = nnunet.split_after_preprocessing(printed, "123")
    cases = {path.name.removesuffix(".nii.gz") for path in (output / "labelsTr").iterdir()}
    assert len(cases) == 4 * 2 + 1
    assert set(validation) == {case for case in cases if case.endswith("val")} and len(validation) == 4
    assert set(training) == cases - set(validation)

    # What the summary says about the checkpoint are options that nnU-Net has.
    train_command = next(line for line in printed if line.startswith("nnUNetv2_train"))
    predict_command = next(line for line in printed if line.startswith("nnUNetv2_predict"))
    for command in (train_command, predict_command):
        known = nnunet.shell(f"{command.split()[0]} -h")
        for option in re.findall(r"(?<= )--?[a-z_]+", command):
            assert option in known


def test_nnunet_takes_regions_and_channels(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BraTS's labels and two channels: nnU-Net checks every value and plans one output a region."""
    for n, orientation in enumerate(["RAS", "LPS", "PIR", "LAS"]):
        head = make_head(f"in/subject {n}", orientation, seed=n, size_mm=(96.0, 112.0, 88.0))
        (head.parent / "t1ce.nii.gz").write_bytes(head.read_bytes())
    raw = tmp_path / "raw"
    output = raw / "Dataset124_Regions"
    options = ["--preset", "diverse", "--labels", "brats", "--channels", "t1ce", "--variants", "2"]
    options += ["--core-probability", "1", "--workers", "1", "--max-volume", "30000", "--skull-strip"]
    assert prompt_multi_tumor.main(["-i", str(tmp_path / "in"), "-o", str(output), *options]) == 0

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    nnunet = NnUnet(raw, tmp_path)
    training, validation = nnunet.split_after_preprocessing(printed, "124")
    assert len(training) == len(validation) == 4
    said = nnunet.shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(_HEADS)} 124")
    assert said.splitlines()[-1] == "[(1, 2, 3), (1, 3), (3,)] 3 2"  # regions, outputs, channels
