"""`pip install .` gives five commands; `python -m synthtumour` lists them; completion and pins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from synthtumour import __version__
from tests.conftest import ROOT

COMMANDS = (
    "resect_multi_tumor",
    "prompt_multi_tumor",
    "stage2_mixed_with_pseudo_label",
    "refine_pseudo_label",
    "pilot_network",
)


def said(*command: object, **how: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_module_lists_the_commands_and_everything_tells_its_version() -> None:
    listed = said(sys.executable, "-m", "synthtumour", cwd=ROOT)
    assert re.findall(r"^  (\w+)  +\w", listed, re.M) == list(COMMANDS)
    for command in (["-m", "synthtumour"], *([f"{name}.py"] for name in COMMANDS)):
        assert said(sys.executable, *command, "--version", cwd=ROOT) == f"SynthTumour {__version__}\n"


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_pin_is_among_the_dependencies_explained() -> None:
    explained = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").lower().splitlines()
    files = sorted(ROOT.glob("requirements*.txt"))
    assert len(files) >= 5
    for file in files:
        for name, version in re.findall(r"^([\w-]+)==([\w.]+)", file.read_text(encoding="utf-8"), re.M):
            assert any(name.lower() in line and version in line for line in explained), f"{name} {version}"


@pytest.mark.peer
def test_installed_commands_make_a_case_anywhere(tmp_path: Path) -> None:
    def state() -> str:
        return said("git", "status", "--porcelain", "--ignored", cwd=ROOT)

    before = state()
    python = tmp_path / "venv/bin/python"
    said(sys.executable, "-m", "venv", tmp_path / "venv")
    extras = f"{ROOT}[report,completion]"
    said(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "requirements.txt", extras)
    assert state() == before  # nothing is left in the source, such as a build/ that could go stale

    away = tmp_path / "away"
    away.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    how = {"cwd": away, "env": environment}
    for name in COMMANDS:
        assert said(python.parent / name, "--version", **how) == f"SynthTumour {__version__}\n"
    assert "prompt_multi_tumor" in said(python, "-m", "synthtumour", **how)
    outputs = ("img.nii.gz", "lab.nii.gz")
    scan = ROOT / "DemoData/sim-01/flair.nii.gz"
    said(python.parent / COMMANDS[0], scan, *outputs, "--seed", 7, **how)
    said(sys.executable, ROOT / "resect_multi_tumor.py", scan, *outputs, "--seed", 7, cwd=tmp_path)
    assert all((away / name).read_bytes() == (tmp_path / name).read_bytes() for name in outputs)
    said(python.parent / COMMANDS[1], "-i", ROOT / "DemoData", "-o", "Dataset001_Demo", **how)
    assert len(list((away / "Dataset001_Demo/imagesTr").iterdir())) == 3
    assert (away / "Dataset001_Demo/report.html").is_file()
    trainers = "import synthtumour as n; print(n.__file__)"
    module = Path(said(python, "-c", trainers, **how).strip())
    assert (module.parent / "nnunet_trainer/nnUNetTrainerSynthTumour.py").is_file()
    for name in ("box.pt", "box.sha256", "NOTICE.md"):
        there = (module.parent / "pilot/weights" / name).read_bytes()
        assert there == (ROOT / "synthtumour/pilot/weights" / name).read_bytes()

    without = subprocess.run([python.parent / COMMANDS[1]], capture_output=True, text=True, **how)
    assert without.returncode == 2
    assert without.stderr.splitlines() == [
        "prompt_multi_tumor.py: error: --input: give the folder of your scans; "
        "DemoData comes with the source alone"
    ]

    line = "resect_multi_tumor --brain"
    shell = environment | {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    shell |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(away / "completion")}
    subprocess.run([python.parent / COMMANDS[0]], cwd=away, env=shell, check=True)
    assert (away / "completion").read_text().strip() == "--brain-mask"
