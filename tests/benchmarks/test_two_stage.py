"""benchmarks/two_stage.py: what it refuses, what it would run, and the whole loop with real nnU-Net."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from benchmarks import two_stage
from tests.conftest import ROOT, MakeHead, head_image, with_tumour, write

SCRIPT = ROOT / "benchmarks" / "two_stage.py"


SMALL_HEAD = (96.0, 112.0, 88.0)
ROWS = ("threshold", "junior", "junior refined", "senior", "senior refined")


@pytest.fixture
def data(make_head: MakeHead, tmp_path: Path) -> Path:
    """Four tumour-free heads and three with a tumour and its label, in several orientations."""
    for n, orientation in enumerate(["LPS", "RAS", "PIR", "LAS"]):
        make_head(f"healthy/h{n}", orientation, seed=10 + n, size_mm=SMALL_HEAD, skull=n == 0)
    for n, orientation in enumerate(["RAS", "LPS", "LAS"]):
        plain, brain = head_image(SMALL_HEAD, seed=n)
        image, truth = with_tumour(plain, (14.0 - 28 * (n == 1), 6.0, 8.0 * (n - 1)), 14.0, 2.2)
        named = {"flair": image, "flair_brainmask": brain, "whole_tumour": truth}
        for name, volume in named.items():
            write(volume, tmp_path / f"tumour/p{n}/{name}.nii.gz", orientation)
    return tmp_path


def command(data: Path, *options: str) -> list[str]:
    where = ["--healthy", data / "healthy", "--tumour", data / "tumour", "--output", data / "WORK"]
    return [sys.executable, str(SCRIPT), *map(str, where), *options]


def nnunet(data: Path, *options: str) -> list[str]:
    return command(data, "--engine", "nnunet", *options)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)


def two_stage_can_run() -> bool:
    return (Path(sys.executable).parent / "nnUNetv2_train").is_file()


def test_refusals_are_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "WORK").mkdir()
    (data / "WORK/thesis.txt").write_text("mine")
    (data / "elsewhere").mkdir()
    shutil.copytree(data / "tumour/p0", data / "elsewhere/p0")
    write(head_image((90.0, 110.0, 80.0))[1], data / "elsewhere/p0/whole_tumour.nii.gz")
    for options, said in (
        (["--threads", "0"], "--threads 0"),
        (["--setting", "paper", "--epochs", "3", "2"], "--setting small"),
        (["--healthy", str(data / "nowhere")], "nowhere: no such folder"),
        (["--test", str(data / "healthy")], "whole_tumour.nii.gz: no such file"),
        (["--test", str(data / "elsewhere")], "on another grid"),
        (["--tumour", str(data / "elsewhere")], "holds one scan"),
        (["--stage2", "--combine 'x"], "--stage2"),
        ([], "holds something else" if two_stage_can_run() else "requirements-nnunet.txt"),
    ):
        assert two_stage.main(nnunet(data, *options)[2:]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("two_stage.py: error: ") and said in line
    assert [path.name for path in (data / "WORK").iterdir()] == ["thesis.txt"]


def test_dry_run_prints_commands_of_the_papers_setting(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert two_stage.main(nnunet(data, "--setting", "paper", "--dry-run")[2:]) == 0
    assert not (data / "WORK").exists()
    printed = capsys.readouterr().out
    commands = [shlex.split(line) for line in printed.splitlines() if not line.startswith("#")]
    by_name = [(Path(words[0]).name, words) for words in commands]
    trainings = [words for name, words in by_name if name == "nnUNetv2_train"]
    assert [words[1:4] for words in trainings] == [["101", "3d_fullres", "0"], ["102", "3d_fullres", "0"]]
    assert all("--npz" in words and words[words.index("-device") + 1] == "cuda" for words in trainings)
    predictions = [words for name, words in by_name if name == "nnUNetv2_predict"]
    assert all({"checkpoint_final.pth", "--save_probabilities"} <= {*words} for words in predictions)
    assert "-overwrite_target_spacing" not in printed and "--disable_tta" not in printed


def test_the_checkpoint_that_the_validation_task_chooses(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert two_stage.main(nnunet(data, "--checkpoint", "best", "--dry-run")[2:]) == 0
    printed = capsys.readouterr().out
    assert printed.count("--val_best") == 2 and "checkpoint_final" not in printed
    assert printed.count("checkpoint_best.pth") == 5  # four times predicted with, once begun from


def test_options_of_the_other_engine_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (command(data, "--epochs", "3", "2", "--dry-run"), "--epochs: of nnU-Net"),
        (command(data, "--without-stage1", "--dry-run"), "--without-stage1: of nnU-Net"),
        (command(data, "--without-bias-field", "--dry-run"), "--without-bias-field: of nnU-Net"),
        (command(data, "--iterations", "0", "5", "--dry-run"), "--iterations"),
        (nnunet(data, "--iterations", "5", "5", "--dry-run"), "--iterations: of the pilot network"),
        (command(data, "--fixed-set", "--dry-run"), "--fixed-set: of nnU-Net"),
        (command(data, "--checkpoints", "--dry-run"), "--checkpoints: of nnU-Net"),
        (command(data, "--cross-fit", "--test", str(data / "tumour")), "--test: not with --cross-fit"),
        (command(data, "--cross-fit"), "holds 3 subjects"),
    ):
        assert two_stage.main(words[2:]) == 2
        assert said in capsys.readouterr().err
    assert two_stage.main(command(data, "--dry-run")[2:]) == 0
    printed = capsys.readouterr().out
    assert printed.count("pilot_network.py train") == 2 and printed.count("pilot_network.py predict") == 8
    assert two_stage.main(command(data, "--dry-run", "--rounds", "2")[2:]) == 0
    assert capsys.readouterr().out.count("pilot_network.py train") == 3


def test_which_trainer_a_network_of_nnunet_has(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, trainer, without_tumour in (
        ([], "nnUNetTrainerSmallFresh", True),
        (["--fixed-set"], "nnUNetTrainerSmall", False),
        (["--setting", "paper"], "nnUNetTrainerSynthTumourDiverse", True),
        (["--setting", "paper", "--preset", "paper"], "nnUNetTrainerSynthTumour", True),
        (["--setting", "paper", "--fixed-set"], "nnUNetTrainer", False),
    ):
        assert two_stage.main(nnunet(data, *options, "--dry-run")[2:]) == 0
        words = shlex.split(capsys.readouterr().out, comments=True)
        assert trainers_in(words) == {("101", trainer), ("102", f"{trainer}BiasField")}
        assert ("--without-tumour" in words) == without_tumour
        assert two_stage.main(nnunet(data, *options, "--without-bias-field", "--dry-run")[2:]) == 0
        words = shlex.split(capsys.readouterr().out, comments=True)
        assert trainers_in(words) == {("101", trainer), ("102", trainer)}


def trainers_in(words: list[str]) -> set[tuple[str, str]]:
    """Dataset and trainer of each training and prediction that is printed."""
    found, dataset = set(), ""
    for at, word in enumerate(words):
        if word == "-d" or word.endswith("nnUNetv2_train"):
            dataset = words[at + 1]
        elif word == "-tr":
            found.add((dataset, words[at + 1]))
    return found


@pytest.mark.peer
def test_the_junior_of_another_run_is_refused_before_the_folder_is_this_runs(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "OTHER").mkdir()
    (data / "OTHER/two_stage.json").write_text(json.dumps({"junior": {"version": "0.0"}}))
    assert two_stage.main(command(data, "--junior", str(data / "OTHER"))[2:]) == 2
    assert "give --junior the folder of a finished run" in capsys.readouterr().err
    assert not (data / "WORK").exists()


@pytest.mark.peer
def test_the_pilots_loop_is_closed_and_carried_on(data: Path) -> None:
    work, words = data / "WORK", command(data, "--iterations", "120", "30", "--rounds", "2")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        while not (work / "junior.pt.unfinished").exists():
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=600) == 143
    assert not (work / "steps.json").exists()
    done = run(words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    scores = json.loads((work / "scores.json").read_text())
    assert tuple(scores) == (*ROWS, "second senior", "second senior refined")
    assert {len(row["dice"]) for row in scores.values()} == {3}
    for network in ("junior", "senior"):
        assert min(scores[f"{network} refined"]["dice"].values()) > 0.7
        assert max(scores[f"{network} refined"]["false_ml"].values()) < 5
    assert min(scores["second senior refined"]["dice"].values()) > 0.7
    modified = os.stat(work / "senior.pt").st_mtime_ns
    assert run(words).stdout == (work / "table.md").read_text()
    assert os.stat(work / "senior.pt").st_mtime_ns == modified


@pytest.mark.peer
def test_cross_fit_scores_no_scan_that_a_senior_has_seen(data: Path) -> None:
    shutil.copytree(data / "tumour/p0", data / "tumour/p3")
    words = command(data, "--cross-fit", "--iterations", "20", "5", "--stage2", "-num 4")
    done = run(words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Scored on tumours that no network has seen." in done.stdout
    work, halves = data / "WORK", {"odd": {"p0", "p2"}, "even": {"p1", "p3"}}
    juniors = [(work / f"from-{half}/junior.pt").read_bytes() for half in halves]
    assert juniors[0] == juniors[1]
    for half, names in halves.items():
        senior = pd.read_csv(work / f"from-{half}/mixed_senior/mask_check/CarveMixID.csv")
        assert set(senior["id1"]) <= names
        scores = json.loads((work / f"from-{half}/scores.json").read_text())
        assert not set(scores["senior"]["dice"]) & names
    pooled = json.loads((work / "scores.json").read_text())
    assert set(pooled["senior refined"]["dice"]) == {"p0", "p1", "p2", "p3"}
    assert len(pooled["senior"]["false_ml"]) == 4
    assert run(words).stdout.splitlines()[-8:] == done.stdout.splitlines()[-8:]


@pytest.mark.nnunet
def test_the_loop_is_closed_and_carried_on(data: Path) -> None:
    work = data / "WORK"
    options = ["--preset", "paper", "--epochs", "4", "2", "--stage1", "--variants 2 --max-volume 30000"]
    options += ["--stage2", "-num 6 --val-fraction 0.3", "--fixed-set", "--checkpoints"]
    with subprocess.Popen(nnunet(data, *options), stdout=subprocess.PIPE, text=True) as process:
        fold = "nnUNet_results/Dataset101_Junior/*/fold_0/checkpoint_best.pth"
        while not list(work.glob(fold)):
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=600) == 143
    before = json.loads((work / "steps.json").read_text())
    assert "junior: preprocess" in before and "junior: train" not in before

    assert run(nnunet(data, *options, "--seed", "1")).returncode == 2
    done = run(nnunet(data, *options))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = json.loads((work / "steps.json").read_text())
    assert {name: after[name] for name in before} == before
    assert "Stage 1" not in re.findall(r"(?m)^\[\d+/\d+\] (.*)$", done.stdout)
    (log,) = (work / "logs").glob("*junior-train.log")
    assert re.findall(r"(?m)Epoch (\d+)$", log.read_text()).count("0") == 1  # not from the beginning again

    scores = json.loads((work / "scores.json").read_text())
    for n in range(3):
        truth, pseudo = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
            for path in (
                data / f"tumour/p{n}/whole_tumour.nii.gz",
                work / f"predictions/junior_no_gate/tumour/p{n}.nii.gz",
            )
        )
        overlap = 2 * np.sum(truth & pseudo) / (truth.sum() + pseudo.sum())
        assert scores["junior, no gate"]["dice"][f"p{n}"] == pytest.approx(overlap, abs=0.02)  # in the brain
    (split,) = json.loads((work / "nnUNet_raw/Dataset102_Senior/splits_final.json").read_text())
    for sort in ("CarveMix", "_v0", "p"):
        assert any(sort in case for case in split["train"])
    compared = [f"junior{which}, no gate" for which in ("", ", best checkpoint", ", averaged")]
    assert (work / "results.png").stat().st_size > 0
    points = pd.read_csv(work / "points.csv")
    for row in ("threshold", "junior", "senior"):
        curve = points[(points["row"] == row) & (points["level"] != "gate")].astype({"level": float})
        assert curve.sort_values("level")["false_ml"].is_monotonic_decreasing or row == "threshold"
        usual = curve[curve["usual"] == 1].iloc[0]
        if row == "threshold":
            assert usual["dice"] == pytest.approx(np.mean([*scores[row]["dice"].values()]), abs=1e-4)
    for row in (*ROWS, *compared):
        assert re.search(rf"(?m)^\| {row} \| 0\.\d{{3}} .*\|", done.stdout)
    assert set(scores["senior"]["false_ml"]) == {f"h{n}" for n in range(4)}

    modified = {path: os.stat(path).st_mtime_ns for path in work.rglob("*.pth")}
    assert run(nnunet(data, *options)).stdout.splitlines()[-5:] == done.stdout.splitlines()[-5:]
    assert {path: os.stat(path).st_mtime_ns for path in modified} == modified


@pytest.mark.nnunet
def test_both_halves_of_a_cross_fit_have_a_junior_that_is_there_already(data: Path) -> None:
    """Of new tumours at every step; what it has marked in another run is not marked again."""
    shutil.copytree(data / "tumour/p0", data / "tumour/p3")
    options = ["--epochs", "1", "1", "--stage1", "--variants 2 --max-volume 30000"]
    done = run(nnunet(data, *options, "--rounds", "0"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    words = [*options, "--cross-fit", "--stage2", "-num 4 --refine off --min-contrast 0 --min-volume-ml 0"]
    words += ["--junior", str(data / "WORK"), "--output", str(data / "CROSS")]
    done = run(nnunet(data, *words))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Scored on tumours that no network has seen." in done.stdout
    assert not re.search(r"\] (Stage 1|junior|scans)", done.stdout)
    scores = json.loads((data / "WORK/scores.json").read_text())
    both = json.loads((data / "CROSS/scores.json").read_text())
    assert {row: both[row] for row in ROWS[:3]} == {row: scores[row] for row in ROWS[:3]}
    for half, names in {"odd": {"p0", "p2"}, "even": {"p1", "p3"}}.items():
        place = data / f"CROSS/from-{half}/predictions"
        assert {path.name[:2] for path in (place / "junior/tumour").glob("*.nii.gz")} == names
        assert {path.name[:2] for path in (place / "senior/test").glob("*.nii.gz")} == {
            *"p0 p1 p2 p3".split()
        } - names


@pytest.mark.nnunet
def test_selection_curve_scores_what_nnunet_predicts(data: Path) -> None:
    where = ["--healthy", data / "healthy", "--tumour", data / "tumour", "--output", data / "WORK"]
    script = [sys.executable, ROOT / "benchmarks/selection_curve.py", *where, "--epochs", "2", "--every", "1"]
    done = subprocess.run([str(word) for word in script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    work = data / "WORK"
    curve = pd.read_csv(work / "selection_curve.csv", keep_default_na=False)
    assert curve["iterations"].tolist() == [12, 24] and (work / "selection.png").stat().st_size > 0
    assert len(set(curve["real"])) == 2  # two networks

    for label in (work / "nnUNet_raw/Dataset103_Plain/labelsTr").iterdir():  # the same tumour, softened
        shifted = work / "nnUNet_raw/Dataset101_Junior/labelsTr" / label.name.replace(".nii", "val.nii")
        soft, hard = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0 for path in (label, shifted))
        assert 0.7 < hard.sum() / soft.sum() < 1 and not (hard & ~soft).any()

    environment = {
        **os.environ,
        **{f"nnUNet_{part}": str(work / f"nnUNet_{part}") for part in ("raw", "preprocessed", "results")},
        "nnUNet_extTrainer": str(ROOT / "benchmarks/nnunet_trainer"),
    }
    command = [Path(sys.executable).parent / "nnUNetv2_predict", "-d", "101", "-f", "0", "-c", "3d_fullres"]
    command += ["-i", work / "tumour/imagesTr", "-o", work / "predicted", "-chk", "checkpoint_0002.pth"]
    command += ["-tr", "nnUNetTrainerSmall", "-p", "nnUNetPlans_small", "-device", "cpu", "--disable_tta"]
    subprocess.run([str(word) for word in command], env=environment, check=True, capture_output=True)
    for n in range(3):
        truth, brain, predicted = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
            for path in (
                data / f"tumour/p{n}/whole_tumour.nii.gz",
                data / f"tumour/p{n}/flair_brainmask.nii.gz",
                work / f"predicted/p{n}.nii.gz",
            )
        )
        predicted &= brain
        overlap = 2 * np.sum(truth & predicted) / (truth.sum() + predicted.sum())
        assert curve[f"real_{n + 1}"].iloc[-1] == pytest.approx(overlap, abs=1e-4)
