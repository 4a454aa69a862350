"""The senior's dataset in the hands of real nnU-Net v2: integrity, preprocessing, the split it trains on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MakeHead
from stage2_heads import write_donor

import stage2_mixed_with_pseudo_label

pytestmark = pytest.mark.nnunet


def test_nnunet_takes_the_combined_dataset_and_its_split(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "D", tmp_path / "raw/Dataset124_Senior"
    for n, orientation in enumerate(["LPS", "RAS", "PIR"]):
        write_donor(data, f"patient{n}", orientation, seed=n)
    make_head("H/fine", "RAS", seed=10, size_mm=(110.0, 130.0, 100.0), skull=True)
    make_head("H/thick", "LAS", seed=11, spacing=(2.0, 2.0, 3.5), oblique_deg=10.0)
    make_head("H/other", "LPS", seed=12)
    options = ["--imagesTr_path", data / "imagesTr", "--labelsTr_path", data / "labelsTr"]
    options += ["--healthyimgTr", tmp_path / "H", "--mask_check_path", tmp_path / "CHECK"]
    options += ["-num", "6", "--workers", "1", "--combine", output]
    assert stage2_mixed_with_pseudo_label.main([str(option) for option in options]) == 0

    environment = {
        **os.environ,
        "nnUNet_raw": str(output.parent),
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

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    plan = next(line for line in printed if line.startswith("nnUNetv2_plan_and_preprocess"))
    copy = next(line for line in printed if line.startswith("cp "))
    assert "verify_dataset_integrity Done" in shell(f"{plan} -c 3d_fullres -np 1 -npfp 1 --clean")
    shell(copy)
    trainer = """
import json, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args("124", "3d_fullres", 0, device=torch.device("cpu"))
train, val = trainer.get_tr_and_val_datasets()
print("SPLIT", json.dumps([sorted(train.identifiers), sorted(val.identifiers)]))
"""
    said = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(trainer)}")
    sides = json.loads(next(x for x in said.splitlines() if x.startswith("SPLIT"))[6:])
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert sides == [fold["train"], fold["val"]]
    assert len(sides[0]) + len(sides[1]) == 6 + 3 and sides[1]
