"""What to type next, with nnU-Net."""

from __future__ import annotations

import shlex
from pathlib import Path

from synthtumour.dataset.commands import next_commands
from synthtumour.dataset.nnunet import dataset_at


def test_next_commands_use_the_validation_task(tmp_path: Path) -> None:
    folder = tmp_path / "it's here" / "Dataset101_X"
    commands = "\n".join(next_commands(dataset_at(folder), has_split=True))
    assert "nnUNetv2_plan_and_preprocess -d 101 --verify_dataset_integrity" in commands
    assert "nnUNetv2_train 101 3d_fullres 0 --val_best --npz" in commands
    assert commands.endswith("-chk checkpoint_best.pth --save_probabilities")
    assert f"cp {shlex.quote(str(folder))[:-1]}/splits_final.json" in commands
    assert commands.index("plan_and_preprocess") < commands.index("cp ") < commands.index("nnUNetv2_train")
    version_1 = "\n".join(next_commands(dataset_at(tmp_path / "Task100_X"), has_split=True))
    assert "splits_final.pkl" in version_1 and "-chk model_best" in version_1
    without = "\n".join(next_commands(dataset_at(folder), has_split=False))
    assert "splits_final" not in without and "best" not in without
