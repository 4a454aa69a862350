"""Training by the script's own options: what it writes, says, carries on and refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from synthtumour.pilot.train import PilotTraining
from tests.conftest import ROOT, head_image, with_tumour, write, write_head
from tests.pilot.conftest import QUICK, SMALL, train

try:
    import torch

    from synthtumour.pilot import kept_out, optimiser
    from synthtumour.pilot.network import BOX, load_weights
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same weights, number for number."""
    (_, a), (_, b) = load_weights(one), load_weights(other)
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.fixture
def few_variations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_out, "VARIATIONS", 1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """imagesTr and labelsTr of two cases with a tumour, and one of the validation task."""
    folder = tmp_path_factory.mktemp("labelled")
    for number, name in enumerate(("a_train", "b_train", "b_val")):
        scan, truth = with_tumour(head_image(seed=20 + number, **SMALL)[0])
        write(scan, folder / f"imagesTr/{name}_0000.nii.gz")
        write(truth, folder / f"labelsTr/{name}.nii.gz")
    return folder


def test_the_file_says_what_it_was_made_of(junior: Path) -> None:
    pilot, network = load_weights(junior)
    assert pilot.canvas.spacing_mm == 3.0 and pilot.canvas.shape == (32, 32, 32)
    assert pilot.channels == network.channels == 2 and pilot.gate is None
    about = pilot.about
    assert (about["steps"], about["iterations"], about["seed"]) == (3, 3, 0)
    assert about["preset"]["name"] == "diverse" and about["preset"]["max_volume_mm3"] == 12000
    assert (about["tumour_free_scans"], about["labelled_scans"], about["subjects_kept_out"]) == (3, 0, [])
    assert about["torch"] == torch.__version__ and about["synthtumour"]
    assert [file.name for file in junior.parent.iterdir()] == ["junior.pt"]  # no state is left


def test_the_same_command_gives_the_same_bytes_and_another_seed_others(
    junior: Path, healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "again.pt", "--healthy", healthy) == 0
    out, err = capsys.readouterr()
    assert "learning from 3 tumour-free scans and 0 with labels; 0 tumour-free scans kept out" in out
    assert "no confidence gate: fewer than 4 tumour-free subjects" in out and "weights: " in out and err == ""
    assert (tmp_path / "again.pt").read_bytes() == junior.read_bytes()
    assert train(tmp_path / "again.pt", "--healthy", healthy, "--seed", 1, "--overwrite", "--quiet") == 0
    assert capsys.readouterr() == ("", "") and not same(tmp_path / "again.pt", junior)


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_training_carried_on_is_as_without_a_break(
    after: int,
    junior: Path,
    healthy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, step = tmp_path / "junior.pt", optimiser.Training.step

    def interrupted(self: Any, draw: Any) -> float:
        loss = step(self, draw)
        if self.done == after:
            signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(optimiser.Training, "step", interrupted)
    assert train(weights, "--healthy", healthy) == 130
    out = capsys.readouterr().out
    assert f"interrupted after {after} of 3 steps" in out and "--resume carries on" in out
    monkeypatch.setattr(optimiser.Training, "step", step)
    pilot, _ = load_weights(weights)  # the averaged weights so far can be used
    assert pilot.about["steps"] == after and weights.with_name("junior.pt.unfinished").is_file()
    assert train(weights, "--healthy", healthy) == 2
    assert "exists; --overwrite trains anew, --resume carries" in capsys.readouterr().err
    assert train(weights, "--healthy", healthy, "--resume", "--seed", 5) == 2
    assert "of a training with other options" in capsys.readouterr().err
    assert train(weights, "--healthy", healthy, "--resume") == 0
    assert weights.read_bytes() == junior.read_bytes()
    assert not weights.with_name("junior.pt.unfinished").exists()


def test_a_damaged_state_is_one_line(
    healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (b"", b"nonsense" * 100):
        (tmp_path / "junior.pt.unfinished").write_bytes(content)
        assert train(tmp_path / "junior.pt", "--healthy", healthy, "--resume") == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "no interrupted training, or damaged" in err
    torch.save({"digest": "other"}, tmp_path / "junior.pt.unfinished")
    assert train(tmp_path / "junior.pt", "--healthy", healthy, "--resume") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_gate_is_chosen_on_subjects_that_were_kept_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], few_variations: None
) -> None:
    for seed in range(5):
        write_head(tmp_path / f"H/h{seed}", seed=seed, **SMALL)
    assert train(tmp_path / "j.pt", "--healthy", tmp_path / "H", steps=1) == 0
    out = capsys.readouterr().out
    assert "learning from 3 tumour-free scans and 0 with labels; 2 tumour-free scans kept out" in out
    assert "confidence gate" in out
    pilot, _ = load_weights(tmp_path / "j.pt")
    assert len(pilot.about["subjects_kept_out"]) == 2 and "false_marks" in pilot.about["gate"]
    assert (pilot.gate is None) == ("no confidence gate" in out)


def test_datasets_and_real_scans_beside_or_without_healthy_ones(
    labelled: Path, healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = ("--dataset", labelled)
    real = ("--real", labelled / "imagesTr", labelled / "labelsTr")
    for options, said in (
        (dataset, "0 tumour-free scans and 2 with labels"),
        (real, "0 tumour-free scans and 3 with labels"),
        ((*dataset, *real, "--healthy", healthy), "3 tumour-free scans and 5 with labels"),
    ):
        assert train(tmp_path / "s.pt", *options, "--overwrite", steps=1) == 0
        assert f"learning from {said}" in capsys.readouterr().out
    assert train(tmp_path / "f.pt", *dataset, "--healthy", healthy, "--fresh-share", 1, steps=2) == 0
    assert train(tmp_path / "h.pt", "--healthy", healthy, steps=2) == 0
    assert not same(tmp_path / "f.pt", tmp_path / "h.pt")  # whether to draw anew is drawn too
    assert train(tmp_path / "d.pt", *dataset, steps=2) == 0
    assert not same(tmp_path / "f.pt", tmp_path / "d.pt")


def test_a_label_that_does_not_fit_and_a_scan_without_one_are_named(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    for place, name in ((images, "imagesTr"), (labels, "labelsTr")):
        place.mkdir()
        for file in (labelled / name).iterdir():
            (place / file.name).write_bytes(file.read_bytes())
    label = sitk.ReadImage(str(labels / "a_train.nii.gz"))
    label.SetSpacing((3.0, 3.0, 3.5))
    write(label, labels / "a_train.nii.gz")
    (labels / "b_val.nii.gz").unlink()
    assert train(tmp_path / "r.pt", "--real", images, labels, steps=1) == 1  # trained, not on all
    out = capsys.readouterr().out
    assert "left out: " in out and "a_train.nii.gz: on another grid than the scan" in out
    assert "left out: b_val: no b_val.nii.gz in" in out and "0 tumour-free scans and 1 with labels" in out
    assert (tmp_path / "r.pt").is_file()


def test_weights_to_begin_with(
    junior: Path, healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, init = ("--healthy", healthy), ("--init", junior)
    assert train(tmp_path / "s.pt", *start, *init, steps=1) == 0
    assert train(tmp_path / "p.pt", *start, steps=1) == 0
    assert not same(tmp_path / "s.pt", tmp_path / "p.pt")
    (_, first), (pilot, second) = load_weights(junior), load_weights(tmp_path / "s.pt")
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 0.02  # one step away
    assert pilot.about["init"] == "junior.pt"
    capsys.readouterr()
    for other in ("--no-mirror-channel",), ("--spacing", 4):
        assert train(tmp_path / "x.pt", *start, *init, *other, steps=1) == 2
        err = capsys.readouterr().err
        assert "a network of 2 channels at 3 mm" in err and err.count("\n") == 1
    (tmp_path / "wrong.pt").write_bytes(b"no weights")
    assert train(tmp_path / "x.pt", *start, "--init", tmp_path / "wrong.pt", steps=1) == 2
    assert "holds no weights of pilot_network.py" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()


def test_the_weights_of_the_package_to_begin_with(healthy: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "s.pt", "--healthy", healthy, "--init", "box", steps=1) == 0
    (_, first), (pilot, second) = load_weights(BOX), load_weights(tmp_path / "s.pt")
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 0.02  # one step away
    assert pilot.about["init"] == "box"


def test_other_voxels_one_channel_and_minutes(healthy: Path, tmp_path: Path) -> None:
    options = ("--healthy", healthy, "--no-mirror-channel", "--spacing", 6, "--minutes", 1e-6)
    assert train(tmp_path / "s.pt", *options) == 0
    pilot, network = load_weights(tmp_path / "s.pt")
    assert pilot.canvas.shape == (16, 16, 16) and pilot.canvas.spacing_mm == 6.0
    assert network.channels == 1 and pilot.about["iterations"] == pilot.about["steps"] == 1


def test_a_gpu_that_is_not_there_is_one_line(
    healthy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train(tmp_path / "s.pt", "--healthy", healthy, "--device", "cuda") == 2
    assert "--device cuda: torch sees no GPU; use --device cpu" in capsys.readouterr().err


def test_all_that_the_weights_follow_from_is_in_the_digest() -> None:
    asked = PilotTraining(Path("j.pt"), healthy=(Path("H"),))
    assert (
        replace(asked, weights=Path("k.pt"), resume=True, tell="quiet", iterations=9).digest == asked.digest
    )
    for change in (
        {"seed": 1},
        {"threads": 2},
        {"spacing_mm": 2.0},
        {"init": Path("i.pt")},
        {"fresh_share": 0.5},
    ):
        assert replace(asked, **change).digest != asked.digest  # type: ignore[arg-type]


@pytest.fixture
def running(healthy: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A training of its own that has begun to take steps, and would take them for hours."""
    options = [*map(str, QUICK), "--healthy", str(healthy), "--iterations", "100000"]
    slow = (
        "import sys; sys.argv[0] = 'pilot_network.py'\n"
        "import pilot_network, synthtumour.pilot.optimiser as o\n"
        "step = o.Training.step\n"
        "def told(self, draw):\n"
        "    loss = step(self, draw); print('step', flush=True); return loss\n"
        "o.Training.step = told; o._SAVED_EVERY = 2\n"
        "sys.exit(pilot_network.main())"
    )
    command = [sys.executable, "-c", slow, "train", str(tmp_path / "j.pt"), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line == "step\n":
            break
    yield process
    process.kill()
    process.communicate()


def test_ctrl_c_keeps_what_was_learnt(running: subprocess.Popen[str], tmp_path: Path) -> None:
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130 and "Traceback" not in err
    assert "interrupted after" in out and "of 100000 steps" in out
    assert load_weights(tmp_path / "j.pt")[0].about["steps"] >= 1
    assert (tmp_path / "j.pt.unfinished").is_file()


def test_killed_it_leaves_whole_files(running: subprocess.Popen[str], healthy: Path, tmp_path: Path) -> None:
    """SIGKILL, wherever it strikes between two steps that are both written."""
    state = tmp_path / "j.pt.unfinished"
    while not state.exists() and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    kept = torch.load(state, weights_only=True)
    assert kept["done"] >= 2 and kept["iterations"] == 100000
    if (tmp_path / "j.pt").exists():
        assert load_weights(tmp_path / "j.pt")[0].about["steps"] >= 2
    assert train(tmp_path / "j.pt", "--healthy", healthy, "--overwrite", steps=1) == 0
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"j.pt"}
