"""The weights that come with the package: whole, found where they belong, and of use."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from synthtumour.pilot.score import compared
from synthtumour.volume import read_volume
from tests.conftest import ROOT

WEIGHTS = ROOT / "synthtumour/pilot/weights"


def test_they_are_what_their_checksum_says_and_small() -> None:
    content = (WEIGHTS / "box.pt").read_bytes()
    assert (WEIGHTS / "box.sha256").read_text().split() == [hashlib.sha256(content).hexdigest(), "box.pt"]
    assert len(content) < 3e6
    assert "Lesjak" in (WEIGHTS / "NOTICE.md").read_text(encoding="utf-8")


@pytest.mark.peer
def test_they_load_and_have_a_gate() -> None:
    from synthtumour.pilot.network import BOX, load_weights

    pilot, network = load_weights(BOX)
    assert pilot.gate is not None and pilot.channels == network.channels == 2
    assert pilot.about["labelled_scans"] == 0


@pytest.mark.peer
@pytest.mark.parametrize("subject", ["sim-01", "sim-02", "sim-03"])
def test_a_synthetic_tumour_is_found_and_a_brain_without_one_is_empty(subject: str, tmp_path: Path) -> None:
    scan = ROOT / "DemoData" / subject / "flair.nii.gz"
    made = [tmp_path / name for name in ("img.nii.gz", "lab.nii.gz")]
    tumour = ("--preset", "diverse", "--seed", "15", "--min-volume", "40000", "--skull-strip")
    run("resect_multi_tumor.py", scan, *made, *tumour)
    for image, label in ((made[0], "found.nii.gz"), (scan, "empty.nii.gz")):
        run("pilot_network.py", "predict", "--images", image, "--output", tmp_path / label)
    assert compared(read_volume(tmp_path / "found.nii.gz"), read_volume(made[1]))["dice"] > 0.7
    assert not read_volume(tmp_path / "empty.nii.gz").array.any()


@pytest.mark.peer
def test_the_segmentation_is_the_same_in_any_orientation(tmp_path: Path) -> None:
    scan = ROOT / "DemoData/sim-03/flair.nii.gz"
    made = [tmp_path / name for name in ("img.nii.gz", "lab.nii.gz")]
    run("resect_multi_tumor.py", scan, *made, "--seed", "15", "--min-volume", "40000", "--skull-strip")
    found = []
    for order in ("LPS", "SAR"):
        image, label = (tmp_path / f"{name}_{order}.nii.gz" for name in ("img", "found"))
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(made[0])), order), str(image))
        run("pilot_network.py", "predict", "--images", image, "--output", label)
        found.append(sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(label)), "LPS")))
    assert found[0].any() and (found[0] != found[1]).sum() <= 0.001 * found[0].sum()


def run(script: str, *arguments: object) -> None:
    command = [sys.executable, ROOT / script, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
