"""Every command of the README, as printed: from one scan to the senior's prediction."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, head_image
from stage2_heads import with_tumour, write

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.S | re.M) if not kind]
SMALL_HEAD = (96.0, 112.0, 88.0)
# These stand before nnU-Net's own commands in the PATH: as printed they would train for days.
SHIM = """#!{python}
import json, pathlib, subprocess, sys
sys.path.insert(0, {tests!r})
from nnunet_peer import with_tiny_network
name, given = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
more = {{
    "nnUNetv2_plan_and_preprocess": ["-c", "3d_fullres", "-np", "2", "-npfp", "2"],
    "nnUNetv2_train": [],
    "nnUNetv2_predict": ["--disable_tta", "-npp", "1", "-nps", "1"],
}}[name]
if name != "nnUNetv2_plan_and_preprocess":
    more += ["-tr", "nnUNetTrainerSmall", "-device", "cpu"]
code = subprocess.run([str(pathlib.Path(sys.executable).parent / name), *given, *more]).returncode
if name == "nnUNetv2_plan_and_preprocess" and code == 0:
    dataset = given[given.index("-d") + 1]
    (path,) = pathlib.Path({preprocessed!r}).glob(f"Dataset{{dataset}}_*/nnUNetPlans.json")
    plans = with_tiny_network(json.loads(path.read_text()))
    steps = {{"num_epochs": 8, "num_iterations_per_epoch": 10, "num_val_iterations_per_epoch": 2}}
    plans["configurations"]["3d_fullres"]["small"] = {{**steps, "initial_lr": 0.005, "seed": 0}}
    path.write_text(json.dumps(plans))
sys.exit(code)
"""


def is_run_here(block: str) -> bool:
    """All but the two first (a newcomer's, in CI), folders as they look, and the loop (test_two_stage.py)."""
    return "venv" not in block and not block.startswith("SUBJECTS/") and "two_stage" not in block


def test_all_blocks_are_commands() -> None:
    assert [block.count("\n") for block in BLOCKS[:2]] == [1, 1]
    assert [block for block in BLOCKS if not is_run_here(block)] == [*BLOCKS[:2], BLOCKS[3], BLOCKS[-1]]


def test_lines_for_clusters_are_those_that_tests_run() -> None:
    """test_shards.py and test_dask.py run the blocks of docs/clusters.md."""
    run = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    lines = re.findall(r"^```bash\n(.*?)^```$", README, re.S | re.M)
    assert len(lines) == 3 and all(block in run for block in lines)


@pytest.mark.nnunet
def test_from_one_scan_to_the_senior(tmp_path: Path) -> None:
    for name in ("DemoData", "synthtumour", *(path.name for path in ROOT.glob("*.py"))):
        (tmp_path / name).symlink_to(ROOT / name)
    for n, orientation in enumerate(["LPS", "RAS", "PIR", "LAS"]):
        scan, brain = head_image(SMALL_HEAD, (3.0, 3.0, 3.0), seed=n)
        write(scan, tmp_path / f"SUBJECTS/sub-{n:02d}/flair.nii.gz", orientation)
        write(brain, tmp_path / f"SUBJECTS/sub-{n:02d}/flair_brainmask.nii.gz", orientation)
        real, _ = head_image(SMALL_HEAD, (3.0, 3.0, 3.0), seed=10 + n)
        image, _ = with_tumour(real, (14.0 - 28 * (n % 2), 6.0, 8.0 * (n - 1)), 16.0, 3.0)
        write(image, tmp_path / f"REAL/imagesTr/patient{n}_0000.nii.gz", orientation)
    shims = tmp_path / "shims"
    shims.mkdir()
    for name in ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict"):
        shim = SHIM.format(
            python=sys.executable,
            tests=str(ROOT / "tests"),
            preprocessed=str(tmp_path / "nnUNet_preprocessed"),
        )
        (shims / name).write_text(shim)
        (shims / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(shims), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "nnUNet_extTrainer": str(ROOT / "benchmarks" / "nnunet_trainer"),
        "nnUNet_compile": "F",
        "OMP_NUM_THREADS": "1",
    }
    commands = "\n".join(filter(is_run_here, BLOCKS))
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {"img.nii.gz", "lab.nii.gz", "img.png", "img.json"} <= {path.name for path in tmp_path.iterdir()}
    assert len(list((tmp_path / "REAL/imagesTrMix").iterdir())) == 60
    assert {path.name for path in (tmp_path / "PREDICTIONS").glob("*.nii.gz")} == {
        f"patient{n}.nii.gz" for n in range(4)
    }
