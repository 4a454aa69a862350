"""A generated dataset in the hands of real nnU-Net v2: integrity, preprocessing, the split it trains on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import MakeHead
from nnunet_peer import NnUnet

import prompt_multi_tumor

pytestmark = pytest.mark.nnunet


def test_nnunet_takes_the_dataset_and_its_split(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, orientation in enumerate(["RAS", "LPS", "PIR", "LAS"]):
        make_head(f"in/subject {n}", orientation, seed=n, size_mm=(96.0, 112.0, 88.0))
    raw = tmp_path / "raw"
    output = raw / "Dataset123_SynthTumour"
    options = ["--variants", "2", "--tumour-free-fraction", "0.5", "--workers", "1", "--max-volume", "30000"]
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
