"""nnUNetTrainerBiasField and those that inherit from it, as real nnU-Net v2 finds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.nnunet

FIND = """
import pickle
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as found

made = found("{name}").get_training_transforms((40, 40, 40), 0.0, None, (0, 1, 2), False, [True])
names = [type(getattr(t, "transform", t)).__name__ for t in pickle.loads(pickle.dumps(made)).transforms]
print("gradients:", names.count("BrightnessGradientAdditiveTransform"))
"""


@pytest.mark.parametrize(
    ("name", "gradients"),
    [
        ("nnUNetTrainerBiasField", 1),
        ("nnUNetTrainerSynthTumourBiasField", 1),
        ("nnUNetTrainerSynthTumourDiverseBiasField", 1),
        ("nnUNetTrainerSynthTumourDiverse", 0),
    ],
)
def test_workers_that_are_not_forked_get_the_field(name: str, gradients: int, tmp_path: Path) -> None:
    """nnU-Net forgets the modules of its trainers again; one process each, as a look-up changes the next."""
    environment = {**os.environ, "nnUNet_extTrainer": str(ROOT / "synthtumour" / "nnunet_trainer")}
    done = subprocess.run(
        [sys.executable, "-c", FIND.format(name=name)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"gradients: {gradients}"
