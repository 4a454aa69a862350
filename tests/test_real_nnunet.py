"""A generated dataset in the hands of real nnU-Net v2: integrity, preprocessing, the split it trains on."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MakeHead

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

    environment = {
        **os.environ,
        "nnUNet_raw": str(raw),
        "nnUNet_preprocessed": str(tmp_path / "preprocessed"),
        "nnUNet_results": str(tmp_path / "results"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def shell(command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    # The commands that the summary prints are the ones that are run; only the number of processes is added.
    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    plan = next(line for line in printed if line.startswith("nnUNetv2_plan_and_preprocess"))
    copy = next(line for line in printed if line.startswith("cp "))
    assert "verify_dataset_integrity Done" in shell(f"{plan} -c 3d_fullres -np 1 -npfp 1 --clean")
    shell(copy)

    trainer = """
import json, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args("123", "3d_fullres", 0, device=torch.device("cpu"))
train, val = trainer.get_tr_and_val_datasets()
print("SPLIT", json.dumps([sorted(train.identifiers), sorted(val.identifiers)]))
"""
    said = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(trainer)}")
    training, validation = json.loads(next(x for x in said.splitlines() if x.startswith("SPLIT"))[6:])
    cases = {path.name.removesuffix(".nii.gz") for path in (output / "labelsTr").iterdir()}
    assert len(cases) == 4 * 2 + 1
    assert set(validation) == {case for case in cases if case.endswith("val")} and len(validation) == 4
    assert set(training) == cases - set(validation)

    # What the summary says about the checkpoint are options that nnU-Net has.
    train_command = next(line for line in printed if line.startswith("nnUNetv2_train"))
    predict_command = next(line for line in printed if line.startswith("nnUNetv2_predict"))
    for command in (train_command, predict_command):
        known = shell(f"{command.split()[0]} -h")
        for option in re.findall(r"(?<= )--?[a-z_]+", command):
            assert option in known
