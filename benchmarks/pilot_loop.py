"""The loop with the pilot network: what `two_stage.py --engine pilot` runs."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

from benchmarks.steps import (
    DATASETS,
    NETWORKS,
    Step,
    check_junior,
    mixing,
    networks_of,
    scored,
    script,
    write_scans,
)
from synthtumour.errors import InputError
from synthtumour.pilot.scans import check_torch

MIXED_CASES = 60
ITERATIONS = (1500, 1500)  # of the junior and of a senior


class PilotLoop:
    """The steps of one run, in order, with all paths they use."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work = args.output.resolve()
        self.environment = dict(os.environ)
        self.networks = networks_of(args)
        self.datasets = dict(zip(self.networks, DATASETS, strict=False))
        junior, senior = args.iterations or ITERATIONS
        self.iterations = {**dict.fromkeys(NETWORKS, senior), "junior": junior}

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(row for network in self.networks for row in (network, f"{network} refined"))

    def junior_steps(self) -> list[Step]:
        scans = scored(self.args)
        return [
            Step("junior: train", self.train("junior")),
            Step("scans", prepare=lambda: [write_scans(scans[kind], self.work / kind) for kind in scans]),
            *self.predict("junior", scans),
        ]

    def steps(self) -> list[Step]:
        steps = self.junior_steps()
        for teacher, network in pairwise(self.networks):
            steps += [*self.stage2(teacher, network), *self.predict(network, scored(self.args))]
        return steps

    def stage2(self, teacher: str, network: str) -> list[Step]:
        """A network that learns from the labels of its teacher, and starts from that one's weights."""
        start = () if self.args.from_scratch else ("--init", self.weights(teacher))
        dataset = self.work / "nnUNet_raw" / self.datasets[network]
        return [
            mixing(self, teacher, network, MIXED_CASES),
            Step(
                f"{network}: train",
                self.train(network, "--dataset", dataset, *start),
            ),
        ]

    def train(self, network: str, *options: object) -> tuple[str, ...]:
        args = self.args
        return script(
            "pilot_network.py",
            *("train", self.weights(network), "--healthy", args.healthy.resolve()),
            *("--iterations", self.iterations[network], "--seed", args.seed, "--threads", args.threads),
            *("--preset", args.preset, *shlex.split(args.stage1), *options),
        )

    def predict(self, network: str, scans: dict[str, Path]) -> list[Step]:
        """Of all scans, as the network marks them and refined."""
        return [
            Step(
                f"{network}: predict {kind}{', refined' * (refine == 'on')}",
                script(
                    "pilot_network.py",
                    *("predict", self.weights(network), "--images", self.work / kind / "imagesTr"),
                    *("--brain-masks", self.work / kind / "masks", "--output", self.predictions(row, kind)),
                    *("--refine", refine, "--workers", self.args.threads),
                ),
            )
            for kind in scans
            for row, refine in ((network, "off"), (f"{network} refined", "on"))
        ]

    def weights(self, network: str) -> Path:
        return self.work / f"{network.replace(' ', '_')}.pt"

    def predictions(self, row: str, scans: str) -> Path:
        return self.work / "predictions" / row.replace(" ", "_") / scans

    def carried_on(self, step: Step) -> tuple[str, ...]:
        network, _, what = step.name.partition(": ")
        if what == "train" and self.weights(network).exists():
            weights = self.weights(network)
            interrupted = weights.with_name(f"{weights.name}.unfinished").exists()
            return (*step.command, "--resume" if interrupted else "--overwrite")
        return step.command

    def options(self) -> dict[str, dict[str, object]]:
        """What makes a run this run, for the junior and for the senior, beside what all engines have."""
        junior, senior = self.iterations["junior"], self.iterations["senior"]
        return {
            "junior": {"training": {"num_iterations": junior}},
            "senior": {"training": {"num_iterations": senior}},
        }

    def check(self) -> None:
        """Raise InputError for what would fail later on."""
        args = self.args
        nnunet_only = {
            "--epochs": args.epochs,
            "--without-stage1": args.without_stage1,
            "--without-bias-field": args.without_bias_field,
            "--fixed-set": args.fixed_set,
            "--checkpoints": args.checkpoints,
            "--checkpoint best": args.checkpoint == "best",
            "--setting paper": args.setting == "paper",
        }
        for option, given in nnunet_only.items():
            if given:
                raise InputError(f"{option}: of nnU-Net; leave it out, or give --engine nnunet")
        if min(self.iterations.values()) < 1:
            raise InputError("--iterations: needs 1 or more")
        if not args.dry_run:
            check_torch("monai")


def borrow_pilot(loop: PilotLoop, about: dict[str, object], done: dict[str, dict[str, float]]) -> None:
    """Copy the junior of another run, whatever its tumour scans were: no junior learns from those."""
    other = loop.args.junior.resolve()
    check_junior(about, other)
    if not (other / "junior.pt").is_file() or (other / "junior.pt.unfinished").exists():
        raise InputError(f"{other}: has no trained junior yet; finish that run first")
    shutil.copy2(other / "junior.pt", loop.weights("junior"))
    loop.weights("junior").with_name("junior.pt.unfinished").unlink(missing_ok=True)  # of a training before
    done["junior: train"] = {"wall_s": 0.0, "cpu_s": 0.0}
