"""README, --help and code agree, and the README's commands run as printed."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pilot_network
import prompt_multi_tumor
import refine_pseudo_label
import resect_multi_tumor
import stage2_mixed_with_pseudo_label
from tests.conftest import ROOT, MakeHead, head_image, with_tumour, write

README, OPTIONS, STAGE2 = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/options.md", "docs/stage2.md")
)


DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


SCRIPTS = {
    script.__name__: script.build_parser()
    for script in (
        resect_multi_tumor,
        prompt_multi_tumor,
        stage2_mixed_with_pseudo_label,
        refine_pseudo_label,
        pilot_network,
    )
}


# Options of other programs, and of benchmarks, that the README names.
OTHERS = {
    "--npz",
    "--confirmed-by",
    "--parts",
    "--cases",
    "--cross-fit",
    "--simulated",
    "--bands",
    "--engine",
    "--healthy",
    "--tumour",
    "--setting",
    "--dry-run",
    "--test",
    "--verify_dataset_integrity",
    "--val_best",
    "--save_probabilities",
    "--strict",
    "--from",
    "--order",
    "--nthreads",
    "--nworkers",
    "--array",
    "--cpus-per-task",
    "--dependency",
    "--job-name",
    "--mem",
    "--parsable",
    "--time",
}


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    parts = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [*parser._actions, *(a for p in parts for part in p.choices.values() for a in actions(part))]


def options(parser: argparse.ArgumentParser) -> list[list[str]]:
    named = [a for a in actions(parser) if a.dest not in ("help", "version")]
    return [list(a.option_strings) for a in named if a.option_strings]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_is_explained(name: str) -> None:
    missing = [
        names
        for names in options(SCRIPTS[name])
        if not any(f"`{n}" in OPTIONS for n in names if n.startswith("--"))
    ]
    assert not missing


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_default_is_in_help(name: str) -> None:
    """Of what takes a value: a flag is off, and what is required has none."""
    shown = [a for a in actions(SCRIPTS[name]) if a.help != argparse.SUPPRESS]
    chosen = [a for a in shown if a.option_strings and a.nargs != 0 and not a.required]
    assert [a.option_strings[0] for a in chosen if "default" not in str(a.help)] == []
    assert len(chosen) > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(document: Path) -> None:
    known = {n for parser in SCRIPTS.values() for names in options(parser) for n in names} | OTHERS
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", text)) <= known | {"--help", "--version"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_examples_of_help_parse(name: str) -> None:
    text = (SCRIPTS[name].epilog or "").replace("\\\n", " ")
    examples = re.findall(rf"python {name}\.py(.*)", text)
    assert examples
    for example in examples:
        SCRIPTS[name].parse_args(example.split())


def test_python_example_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert sum(bool(line.strip()) for line in code.splitlines()) == 5
    (tmp_path / "DemoData").symlink_to(ROOT / "DemoData")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert {"test_img.nii.gz", "test_lab.nii.gz"} <= {p.name for p in tmp_path.iterdir()}


def test_refinement_example_runs_after_the_first(tmp_path: Path) -> None:
    (first,), (second,) = (re.findall(r"```python\n(.*?)```", text, re.S) for text in (README, STAGE2))
    assert "refined" in second and sum(bool(line.strip()) for line in second.splitlines()) == 5
    (tmp_path / "DemoData").symlink_to(ROOT / "DemoData")
    command = [sys.executable, "-c", first + second]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "refined.nii.gz").is_file()


@pytest.mark.peer
def test_torchio_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs/on_the_fly.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "RandomTumour" in code
    (tmp_path / "DemoData").symlink_to(ROOT / "DemoData")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)


@pytest.mark.slow
def test_stage2_can_be_tried_as_printed(tmp_path: Path) -> None:
    blocks = STAGE2.split("```")[1::2]
    block = next(b for b in blocks if "prompt_multi_tumor.py --output" in b)
    for name in ("DemoData", "synthtumour", *(f"{script}.py" for script in SCRIPTS)):
        (tmp_path / name).symlink_to(ROOT / name)
    block = block.replace("python ", f"{sys.executable} ")
    done = subprocess.run(["bash", "-ec", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "nnUNet_raw/Dataset001_Try/imagesTrMix").iterdir())) == 12
    assert (tmp_path / "nnUNet_raw/Dataset002_TrySenior/splits_final.json").is_file()


PARTS = [f"pilot_network {part}" for part in ("train", "predict", "score")]


@pytest.mark.parametrize("name", [*SCRIPTS, *PARTS, "synthtumour.__main__"])
def test_help_fits_a_terminal_of_80_columns(name: str) -> None:
    command = [sys.executable, "-m", *name.split()]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([*command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_commands_of_stage1_run(tmp_path: Path, make_head: MakeHead) -> None:
    for n, name in enumerate(["OAS30001_MR_d0129", "OAS30135_MR_d2931"]):
        make_head(f"SUBJECTS/{name}", seed=n, size_mm=(96.0, 112.0, 88.0), spacing=(3.0, 3.0, 3.0))
    text = (ROOT / "docs/stage1.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```\n(python .*?)^```$", text, re.S | re.M):
        block = block.replace("python ", f"{sys.executable} {ROOT}/")
        subprocess.run(["bash", "-ec", block], cwd=tmp_path, check=True)
    made = tmp_path / "nnUNet_raw/Dataset101_SynthTumour/imagesTr/OAS30135_MR_d2931_v00_0000.nii.gz"
    assert made.read_bytes() == (tmp_path / "img.nii.gz").read_bytes()


def anchors(document: Path) -> set[str]:
    """Where links into a document can lead, as GitHub names them after its headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    documents = [path for path in ROOT.rglob("*.md") if not path.relative_to(ROOT).parts[0].startswith(".")]
    assert {ROOT / "CONTRIBUTING.md", ROOT / "DemoData/README.md", *DOCUMENTS} <= set(documents)
    for document in documents:
        for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            there = document.parent / path if path else document
            assert there.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(there), f"{document.name}: {target}"


README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCKS = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.S | re.M) if not kind]


SMALL_HEAD = (96.0, 112.0, 88.0)


# These stand before nnU-Net's own commands in the PATH: as printed they would train for days.
SHIM = """#!{python}
import json, pathlib, subprocess, sys
sys.path.insert(0, {root!r})
from tests.conftest import with_tiny_network
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
    """All but a newcomer's (in CI), folders as they look, the loops (test_two_stage.py, tests/pilot)."""
    others = ("venv", "two_stage", "pilot_network")
    return not block.startswith("SUBJECTS/") and not any(other in block for other in others)


def test_all_blocks_are_commands() -> None:
    assert [block.count("\n") for block in BLOCKS[:2]] == [1, 1]
    not_run = [block for block in BLOCKS if not is_run_here(block)]
    assert not_run == [*BLOCKS[:4], BLOCKS[5]]
    assert "pilot_network.py train" in BLOCKS[3] and "SUBJECTS/\n" in BLOCKS[5]


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
            root=str(ROOT),
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
