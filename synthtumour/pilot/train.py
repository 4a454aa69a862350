"""`pilot_network.py train`: from folders of scans to a file of weights."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour import __version__
from synthtumour.errors import InputError, require
from synthtumour.files.checks import check_file, check_output
from synthtumour.pilot.scans import FEWEST_TO_KEEP_OUT, Scans, check_torch, read_scans
from synthtumour.presets import DEFAULT_PRESET, PRESETS, Preset
from synthtumour.runs.limits import usable_cores
from synthtumour.runs.progress import speaker
from synthtumour.signals import interruption
from synthtumour.stage2.heads import HeadFiles, find_donors, find_recipients

if TYPE_CHECKING:
    from synthtumour.pilot.learning import Draw
    from synthtumour.pilot.network import PilotNetwork
    from synthtumour.pilot.optimiser import Training


PACKAGED = Path("box")  # the word that --init takes in place of a file


@dataclass(frozen=True)
class PilotTraining:
    """What a network is to learn from, and how; fields have the options' names."""

    weights: Path
    healthy: tuple[Path, ...] = ()
    datasets: tuple[Path, ...] = ()
    real: tuple[tuple[Path, Path], ...] = ()  # folders of scans and of their labels
    brain_masks: Path | None = None
    preset: Preset = PRESETS[DEFAULT_PRESET]
    fresh_share: float = 0.3
    tumour_free_share: float = 0.1
    spacing_mm: float = 3.0
    mirror_channel: bool = True
    iterations: int = 1500
    minutes: float | None = None
    threads: int | None = None
    device: str = "auto"
    seed: int = 0
    init: Path | None = None  # PACKAGED: the weights of the package
    resume: bool = False
    overwrite: bool = False
    any_brain_volume: bool = False
    tell: str = "usual"

    @property
    def state(self) -> Path:
        """Where an interrupted training is kept."""
        return self.weights.with_name(f"{self.weights.name}.unfinished")

    @property
    def digest(self) -> str:
        """Of all that the weights follow from, but for the scans' bytes."""
        changing = ("weights", "resume", "overwrite", "tell", "minutes", "iterations")
        said = {name: str(value) for name, value in vars(self).items() if name not in changing}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Raise InputError for what cannot be done."""
        check_torch("monai")
        require(
            bool(self.healthy or self.datasets or self.real),
            "nothing to learn from: give tumour-free scans with --healthy, or --dataset, or --real",
        )
        for option, share in (("fresh", self.fresh_share), ("tumour-free", self.tumour_free_share)):
            require(0 <= share <= 1, f"--{option}-share {share:g}: needs 0 to 1")
        require(1 <= self.spacing_mm <= 6, f"--spacing {self.spacing_mm:g}: needs 1 to 6 mm")
        require(self.iterations >= 1, f"--iterations {self.iterations}: needs 1 or more")
        require(
            self.minutes is None or 0 < self.minutes < math.inf,
            f"--minutes {self.minutes or 0:g}: needs more than 0",
        )
        require(self.threads is None or self.threads >= 1, f"--threads {self.threads}: needs 1 or more")
        start = None if self.init == PACKAGED else self.init
        if start is not None:
            check_file(start)
        check_output(self.weights, start)
        if self.resume:
            require(self.state.exists(), f"{self.state}: not there, so there is no training to carry on")
            return
        for path in (self.weights, self.state):
            require(
                self.overwrite or not path.exists(),
                f"{path}: exists; --overwrite trains anew, --resume carries an interrupted training on",
            )


def train(asked: PilotTraining) -> int:
    """Train the network and write its weights; the exit code. Raises InputError before any work."""
    asked.check()
    say = speaker(asked.tell)
    scans = read_scans(_files(asked), asked.spacing_mm, asked.seed, speaker("usual"))
    say(
        f"learning from {len(scans.healthy)} tumour-free scans and {len(scans.labelled)} with labels; "
        f"{len(scans.kept_out)} tumour-free scans kept out for the confidence gate"
    )
    threads = asked.threads or usable_cores()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # Threads that wait by spinning make a training beside other jobs six times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from synthtumour.pilot.optimiser import threads as using

    with using(threads):
        return _trained(asked, scans)


def _trained(asked: PilotTraining, scans: Scans) -> int:
    from synthtumour.pilot.network import Pilot, PilotNetwork, save_weights
    from synthtumour.pilot.optimiser import take_steps

    say = speaker(asked.tell)
    draw, channels = _draw(asked, scans), 1 + asked.mirror_channel
    training = _begun(asked, draw, channels)
    about = {**scans.said, **_about(asked), "iterations": training.steps.iterations}
    began = time.monotonic()

    def keep() -> None:
        _write_state(asked, training)
        pilot = Pilot(scans.canvas, channels, None, {**about, "steps": training.done})
        save_weights(asked.weights, pilot, training.averaged())

    with interruption() as noted:
        finished = take_steps(training, draw, keep, noted, asked.tell == "quiet")
    if not finished:
        say(
            f"interrupted after {training.done} of {training.steps.iterations} steps: {asked.weights} holds "
            "the averaged weights so far; the same command with --resume carries on"
        )
        return 128 + noted.asked
    keep()  # choosing the gate takes a while, and may be interrupted
    network = PilotNetwork(channels)
    network.load_state_dict(training.averaged())
    gate, figures = _gate(asked, network.eval(), scans)
    pilot = Pilot(scans.canvas, channels, gate, {**about, "steps": training.done, "gate": figures})
    save_weights(asked.weights, pilot, training.averaged())
    asked.state.unlink(missing_ok=True)
    say(f"{training.done} steps, {time.monotonic() - began:.0f} s")
    for line in _about_gate(figures, gate is not None):
        say(line)
    say(f"weights: {asked.weights}")
    return 1 if scans.failed else 0


def _begun(asked: PilotTraining, draw: Draw, channels: int) -> Training:
    """The training at its start, or where it was interrupted."""
    import torch

    from synthtumour.pilot.network import BOX, PilotNetwork, load_weights
    from synthtumour.pilot.optimiser import Steps, Training, steps_in

    device = asked.device
    require(
        device != "cuda" or torch.cuda.is_available(), "--device cuda: torch sees no GPU; use --device cpu"
    )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    state = _read_state(asked) if asked.resume else None
    steps = Steps(asked.iterations, asked.seed, device)
    if state is not None:
        steps = replace(steps, iterations=state["iterations"])
    elif asked.minutes is not None:
        steps = replace(steps, iterations=steps_in(asked.minutes, channels, draw, steps))
    torch.manual_seed(asked.seed)
    network = PilotNetwork(channels)
    if asked.init is not None:
        pilot, start = load_weights(BOX if asked.init == PACKAGED else asked.init)
        require(
            pilot.channels == channels and pilot.canvas.spacing_mm == asked.spacing_mm,
            f"{asked.init}: a network of {pilot.channels} channels at {pilot.canvas.spacing_mm:g} mm, and "
            f"{channels} at {asked.spacing_mm:g} mm are asked for; see --no-mirror-channel and --spacing",
        )
        network.load_state_dict(start.state_dict())
    training = Training(network, steps)
    if state is not None:
        training.carry_on(state)
    return training


def _draw(asked: PilotTraining, scans: Scans) -> Draw:
    """What the network sees at a step."""
    from synthtumour.pilot.learning import Either, FreshHeads, StoredHeads

    fresh = FreshHeads(scans.healthy, asked.preset, asked.tumour_free_share, asked.spacing_mm)
    stored = StoredHeads(scans.labelled)
    if not scans.labelled:
        return fresh
    return Either(fresh, stored, asked.fresh_share) if scans.healthy else stored


def _gate(asked: PilotTraining, network: PilotNetwork, scans: Scans) -> tuple[Any, dict[str, float]]:
    if not scans.kept_out:
        return None, {}
    from synthtumour.pilot.kept_out import gate_from

    return gate_from(network, scans.kept_out, asked.preset, asked.spacing_mm, asked.seed)


def _about_gate(figures: dict[str, float], chosen: bool) -> list[str]:
    """What is said of the confidence gate."""
    from synthtumour.stage2.gate_choice import about_gate

    if not figures:
        return [f"no confidence gate: fewer than {FEWEST_TO_KEEP_OUT} tumour-free subjects to choose it by"]
    lines = about_gate(figures, chosen)
    return [*lines[:1], *(f"{line}; predict --min-logit 0 keeps all marks" for line in lines[1:])]


def _about(asked: PilotTraining) -> dict[str, Any]:
    """What the file of weights says of how they were made."""
    import torch

    return {
        "synthtumour": __version__,
        "torch": torch.__version__,
        "seed": asked.seed,
        "preset": asdict(asked.preset),
        "fresh_share": asked.fresh_share,
        "tumour_free_share": asked.tumour_free_share,
        "init": asked.init and asked.init.name,
    }


def _write_state(asked: PilotTraining, training: Training) -> None:
    import io

    import torch

    from synthtumour.files.staging import write_bytes

    content = io.BytesIO()
    kept = {"digest": asked.digest, "iterations": training.steps.iterations, **training.state()}
    torch.save(kept, content)
    write_bytes(content.getvalue(), asked.state)


def _read_state(asked: PilotTraining) -> dict[str, Any]:
    from synthtumour.pilot.network import stored_in

    try:
        state: dict[str, Any] = stored_in(asked.state)
        same = state["digest"] == asked.digest
    except Exception as error:  # whatever torch's unpickler makes of a file
        raise InputError(
            f"{asked.state}: no interrupted training, or damaged; train anew with --overwrite"
        ) from error
    require(
        same, f"{asked.state}: of a training with other options; give those, or train anew with --overwrite"
    )
    return state


def _files(asked: PilotTraining) -> list[HeadFiles]:
    """The tumour-free scans; then those with labels, without a dataset's validation task."""
    found = [
        files
        for folder in asked.healthy
        for files in find_recipients(folder, 1, None, None, option="--healthy")
    ]
    for root in asked.datasets:
        require(
            (root / "imagesTr").is_dir(), f"{root}: no imagesTr in it; --dataset takes an nnU-Net dataset"
        )
        donors = _labelled(root / "imagesTr", root / "labelsTr", asked, "--dataset")
        found += [files for files in donors if not files.name.endswith("val")]
    for images, labels in asked.real:
        found += _labelled(images, labels, asked, "--real")
    return [replace(files, softmax=None, any_brain_volume=asked.any_brain_volume) for files in found]


def _labelled(images: Path, labels: Path, asked: PilotTraining, option: str) -> list[HeadFiles]:
    """The scans in `images` with their `labels`; says which have none. InputError if none has one."""
    found, refused = find_donors(images, labels, 1, asked.brain_masks, None, options=(option, option))
    require(bool(found), f"{labels}: no label of a scan in {images}; {option} needs CASE.nii.gz of CASE_0000")
    for name, _, reason in refused:
        speaker("usual")(f"left out: {name}: {reason}")
    return found
