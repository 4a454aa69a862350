"""Real nnU-Net v2 on a dataset: the commands of a summary, run as printed, and its trainer's split."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

_TRAINER = """
import json, sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args(sys.argv[1], "3d_fullres", 0, device=torch.device("cpu"))
train, val = trainer.get_tr_and_val_datasets()
print("SPLIT", json.dumps([sorted(train.identifiers), sorted(val.identifiers)]))
"""


class NnUnet:
    """nnU-Net's three folders under `folder`, `raw` being where the dataset lies."""

    def __init__(self, raw: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "nnUNet_raw": str(raw),
            "nnUNet_preprocessed": str(folder / "preprocessed"),
            "nnUNet_results": str(folder / "results"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def split_after_preprocessing(self, printed: list[str], dataset: str) -> tuple[list[str], list[str]]:
        """Training and validation cases of fold 0 after the plan and copy commands among the `printed` lines.

        Only the number of processes is added to them.
        """
        plan = next(line for line in printed if line.startswith("nnUNetv2_plan_and_preprocess"))
        copy = next(line for line in printed if line.startswith("cp "))
        assert "verify_dataset_integrity Done" in self.shell(f"{plan} -c 3d_fullres -np 1 -npfp 1 --clean")
        self.shell(copy)
        said = self.shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(_TRAINER)} {dataset}")
        training, validation = json.loads(next(x for x in said.splitlines() if x.startswith("SPLIT"))[6:])
        return training, validation


def with_tiny_network(plans: dict[str, Any]) -> dict[str, Any]:
    """nnU-Net's plans with a network that a CPU trains in seconds."""
    configuration = plans["configurations"]["3d_fullres"]
    configuration["patch_size"] = [32, 40, 32]  # holds a whole brain
    network = configuration["architecture"]["arch_kwargs"]
    network["n_stages"], network["features_per_stage"] = 3, [8, 16, 32]
    for per_stage in ("kernel_sizes", "strides", "n_conv_per_stage"):
        network[per_stage] = network[per_stage][:3]
    network["n_conv_per_stage_decoder"] = [1, 1]
    return plans
