"""The loop with real nnU-Net v2: what `two_stage.py --engine nnunet` runs."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.steps import (
    DATASETS,
    NETWORKS,
    ROOT,
    Step,
    check_junior,
    link_all,
    mixing,
    networks_of,
    scored,
    script,
    write_scans,
)
from synthtumour.dataset.nnunet import safe_name
from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError
from synthtumour.files.staging import write_bytes, write_json

CONFIGURATION = "3d_fullres"
TRAINERS = ROOT / "synthtumour" / "nnunet_trainer", ROOT / "benchmarks" / "nnunet_trainer"
MIXED_CASES = 120  # more than of Stage 1 and untouched, which get new tumours
VAL_FRACTION = 0.3  # of the subjects: those that the gate is chosen on
NO_GATE = ", no gate"
OWN = (NO_GATE, "", " refined")  # what a network marks, behind the gate, and refined
# what a row says of a checkpoint that is compared
CHECKPOINTS = {"best": "best checkpoint", "final": "last checkpoint", "averaged": "averaged"}


@dataclass(frozen=True)
class Setting:
    """What is trained, and for how long; `small` holds what plans and trainer are told beyond that."""

    plans: str
    device: str
    variants: int
    spacing_mm: float | None = None
    mirroring: bool = True  # at test time
    small: dict[str, Any] | None = None
    small_senior: dict[str, Any] | None = None  # where those of a senior that starts as its junior differ


SETTINGS = {
    "small": Setting(
        plans="nnUNetPlans_small",
        device="cpu",
        variants=6,
        spacing_mm=3.0,
        mirroring=False,
        small={
            "num_epochs": 50,
            "num_iterations_per_epoch": 25,
            "num_val_iterations_per_epoch": 6,
            "initial_lr": 3e-3,
            "features": 8,  # of the first stage, doubled at each further one
            "batch_size": 2,
        },
        small_senior={"num_epochs": 16, "initial_lr": 1e-3},
    ),
    # nnU-Net as it comes: 1000 epochs
    "paper": Setting("nnUNetPlans", "cuda", variants=8),
}


class NnunetLoop:
    """The steps of one run, in order, with all paths they use."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.setting = SETTINGS[args.setting]
        self.networks = networks_of(args)
        self.datasets = dict(zip(self.networks, DATASETS, strict=False))
        junior = {**(self.setting.small or {}), "seed": args.seed, "preset": args.preset}
        other = {} if args.from_scratch else self.setting.small_senior
        senior = {**junior, **(other or {})}
        if args.epochs:
            junior["num_epochs"], senior["num_epochs"] = args.epochs
        self.small = {**dict.fromkeys(NETWORKS, senior), "junior": junior}
        self.work = args.output.resolve()
        self.raw, self.preprocessed, self.results = (
            self.work / f"nnUNet_{part}" for part in ("raw", "preprocessed", "results")
        )
        self.environment = {
            **os.environ,
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": os.pathsep.join(map(str, TRAINERS)),
        }
        if self.setting.device == "cpu":
            self.environment |= {
                "nnUNet_compile": "F",
                "nnUNet_n_proc_DA": "1",
                "nnUNet_def_n_proc": "1",
                "OMP_NUM_THREADS": str(args.threads),
            }

    @property
    def rows(self) -> tuple[str, ...]:
        marked = [row for network in self.networks for row in (network, f"{network} refined")]
        return (*marked, *(row for network in self.networks for row in self.compared(network)))

    def compared(self, network: str) -> dict[str, str]:
        """Which checkpoint each row shows that compares what a junior's mark, without the gate."""
        if network != "junior" or not self.args.checkpoints:
            return {}
        own, compared = self.args.checkpoint, dict(CHECKPOINTS)
        if not self.setting.small:
            del compared["averaged"]
        named = {f"{network}, {said}{NO_GATE}": which for which, said in compared.items() if which != own}
        rows = {f"{network}{NO_GATE}": own, **named}
        return {f"{row}{how}": which for row, which in rows.items() for how in ("", ", refined")}

    def trainer(self, network: str) -> str:
        """That of a senior has a bias field: mixed cases lack the one that Stage 1 draws for `diverse`."""
        if self.setting.small:
            name = "Small" + "Fresh" * (not self.args.fixed_set)
        elif self.args.fixed_set:
            name = ""
        else:
            name = "SynthTumour" + "Diverse" * (self.args.preset == "diverse")
        with_field = network != "junior" and not self.args.without_bias_field
        return f"nnUNetTrainer{name}" + "BiasField" * with_field

    def steps(self) -> list[Step]:
        args, setting = self.args, self.setting
        scans = scored(args)
        spacing = [str(setting.spacing_mm)] * 3 if setting.spacing_mm else []
        overwritten = ["-overwrite_target_spacing", *spacing, "-overwrite_plans_name", setting.plans]
        dataset, number = self.datasets["junior"], self.number("junior")
        steps = [
            Step(
                "Stage 1",
                script(
                    "prompt_multi_tumor.py",
                    *("--input", args.healthy.resolve(), "--output", self.raw / dataset, "--skull-strip"),
                    *("--preset", args.preset, "--variants", setting.variants, "--seed", args.seed),
                    *("--val-fraction", VAL_FRACTION, "--add-untouched", 1),
                    *(() if args.fixed_set else ("--without-tumour", 1)),
                    *("--workers", args.threads, *shlex.split(args.stage1)),
                ),
            ),
            Step(
                "junior: plan",
                self.nnunet(
                    *("plan_and_preprocess", "-d", number, "-c", CONFIGURATION, "--verify_dataset_integrity"),
                    *("--no_pp", "--clean", "-npfp", args.threads, *(overwritten if spacing else [])),
                ),
            ),
            Step("junior: preprocess", self.preprocess("junior"), lambda: self.make_small("junior")),
            Step("junior: train", self.train("junior"), lambda: self.copy("junior", "splits_final.json")),
            *(
                Step(f"scans: {kind}", prepare=partial(write_scans, folder, self.work / kind))
                for kind, folder in scans.items()
            ),
            *self.predict("junior", scans),
        ]
        for teacher, network in pairwise(self.networks):
            steps += [*self.stage2(teacher, network), *self.predict(network, scans)]
        return steps

    def stage2(self, teacher: str, network: str) -> list[Step]:
        """A network that learns from the labels of its teacher, and starts from that one's weights."""
        args, plans, number = self.args, self.setting.plans, self.number(network)
        stage1_cases = [] if args.without_stage1 else ["--stage1", self.raw / self.datasets["junior"]]
        taught = self.fold(teacher) / f"checkpoint_{args.checkpoint}.pth"
        start = [] if args.from_scratch else ["-pretrained_weights", taught]
        moved = ("-s", self.number("junior"), "-t", number, "-sp", plans, "-tp", plans)
        return [
            mixing(self, teacher, network, MIXED_CASES, *stage1_cases, "--add-untouched", 1),
            Step(
                f"{network}: fingerprint",
                self.nnunet("extract_fingerprint", "-d", number, "-np", args.threads),
            ),
            Step(f"{network}: plan", self.nnunet("move_plans_between_datasets", *moved)),
            Step(f"{network}: preprocess", self.preprocess(network), lambda: self.prepare_senior(network)),
            Step(
                f"{network}: train",
                self.train(network, *start),
                lambda: self.copy(network, "splits_final.json"),
            ),
        ]

    def number(self, network: str) -> str:
        return self.datasets[network][len("Dataset") :][:3]

    def nnunet(self, name: str, *options: object) -> tuple[str, ...]:
        return (str(Path(sys.executable).parent / f"nnUNetv2_{name}"), *map(str, options))

    def preprocess(self, network: str) -> tuple[str, ...]:
        options = ("-plans_name", self.setting.plans, "-c", CONFIGURATION, "-np", self.args.threads)
        return self.nnunet("preprocess", "-d", self.number(network), *options)

    def train(self, network: str, *options: object) -> tuple[str, ...]:
        """Then nnU-Net predicts the validation cases, with the probabilities that the gate is chosen by."""
        which = ("-tr", self.trainer(network), "-p", self.setting.plans, "-device", self.setting.device)
        number = self.number(network)
        best = ["--val_best"] if self.args.checkpoint == "best" else []
        return self.nnunet("train", number, CONFIGURATION, 0, *which, *best, "--npz", *options)

    def predict(self, network: str, scans: Iterable[str]) -> list[Step]:
        """Of all scans: as the network marks them, behind the confidence gate, refined."""
        found = []
        for kind in scans:
            own, gated, refined = (self.predictions(f"{network}{what}", kind) for what in OWN)
            found += [
                Step(f"{network}: predict {kind}", self.predicted(network, kind, own)),
                Step(f"{network}: gate {kind}", self.refined(kind, own, gated, *self.gate_of(network, kind))),
                Step(f"{network}: refine {kind}", self.refined(kind, gated, refined)),
            ]
            for row, checkpoint in self.compared(network).items():
                output = self.predictions(row, kind)
                if row.endswith("refined"):
                    marked = self.predictions(row.removesuffix(", refined"), kind)
                    found.append(Step(f"{row}: {kind}", self.refined(kind, marked, output)))
                elif output != own:
                    command = self.predicted(network, kind, output, checkpoint)
                    found.append(Step(f"{row}: {kind}", command))
        return found

    def predicted(self, network: str, scans: str, output: Path, compared: str = "") -> tuple[str, ...]:
        """By the checkpoint that this run is about, with the gate's probabilities, or one to compare."""
        return self.nnunet(
            *("predict", "-d", self.number(network)),
            *("-i", self.work / scans / "imagesTr", "-o", output),
            *("-c", CONFIGURATION, "-f", 0, "-tr", self.trainer(network), "-p", self.setting.plans),
            *("-chk", f"checkpoint_{compared or self.args.checkpoint}.pth", "-device", self.setting.device),
            *(() if self.setting.mirroring else ("--disable_tta",)),
            *(() if compared else ("--save_probabilities",)),
            *(("-npp", 1, "-nps", 1) if self.setting.device == "cpu" else ()),
        )

    def gate_of(self, network: str, scans: str) -> tuple[object, ...]:
        """A senior has better borders than its junior, but what is no tumour its junior knows better."""
        validation = self.fold(network) / "validation"
        labels = self.raw / self.datasets[network] / "labelsTr"
        confirmed = ("--confirmed-by", self.predictions("junior", scans)) if network != "junior" else ()
        return "--refine", "off", "--gate-from", validation, labels, *confirmed

    def refined(self, scans: str, labels: Path, output: Path, *options: object) -> tuple[str, ...]:
        return script(
            "refine_pseudo_label.py",
            *("--images", self.work / scans / "imagesTr", "--labels", labels),
            *("--brain-masks", self.work / scans / "masks"),
            *("--output", output, "--workers", self.args.threads, *options),
        )

    def predictions(self, row: str, scans: str) -> Path:
        return self.work / "predictions" / row.replace(",", "").replace(" ", "_") / scans

    def fold(self, network: str) -> Path:
        trained = f"{self.trainer(network)}__{self.setting.plans}__{CONFIGURATION}"
        return self.results / self.datasets[network] / trained / "fold_0"

    # ------------------------------------------------------------ between the commands

    def make_small(self, network: str) -> None:
        """Give nnU-Net's plan the setting's smaller network, and the trainer its numbers."""
        if not self.setting.small:
            return
        path = self.preprocessed / self.datasets[network] / f"{self.setting.plans}.json"
        plans, small = json.loads(path.read_text(encoding="utf-8")), self.small[network]
        configuration = plans["configurations"][CONFIGURATION]
        architecture = configuration["architecture"]["arch_kwargs"]
        stages = range(architecture["n_stages"])
        architecture["features_per_stage"] = [small["features"] * 2**n for n in stages]
        configuration["batch_size"] = small["batch_size"]
        configuration["small"] = small
        write_json(plans, path)

    def prepare_senior(self, network: str) -> None:
        """Moved plans lack the description that planning would have copied, and are the junior's."""
        self.copy(network, "dataset.json")
        self.make_small(network)

    def copy(self, network: str, name: str) -> None:
        """Copy to nnU-Net's folder of preprocessed data, the only place where it takes a split from."""
        dataset = self.datasets[network]
        write_bytes((self.raw / dataset / name).read_bytes(), self.preprocessed / dataset / name)

    def carried_on(self, step: Step) -> tuple[str, ...]:
        network, _, what = step.name.partition(": ")
        if what != "train":
            return step.command
        fold = self.fold(network)
        if not any((fold / f"checkpoint_{which}.pth").is_file() for which in ("final", "latest", "best")):
            return step.command
        command = list(step.command)
        if "-pretrained_weights" in command:  # they are in the checkpoint
            at = command.index("-pretrained_weights")
            del command[at : at + 2]
        return (*command, "--c")

    def options(self) -> dict[str, dict[str, object]]:
        """What makes a run this run, for the junior and for the senior, beside what all engines have."""
        args = self.args
        senior = {"without-stage1": args.without_stage1}
        if not args.without_bias_field:  # runs from before there was one do not say
            senior["bias-field"] = True
        return {
            "junior": {
                "setting": args.setting,
                "fixed-set": args.fixed_set,
                "checkpoint": args.checkpoint,
                "training": self.small["junior"],
            },
            "senior": senior | {"training": self.small["senior"]},
        }

    def check(self) -> None:
        """Raise InputError for what would fail later on."""
        args = self.args
        if args.epochs is not None and (min(args.epochs) < 1 or not self.setting.small):
            raise InputError(
                f"--epochs {args.epochs[0]} {args.epochs[1]}: needs 1 or more, and --setting small"
            )
        if args.iterations is not None:
            raise InputError("--iterations: of the pilot network; nnU-Net's trainings take --epochs")
        executable = Path(self.nnunet("train")[0])
        if not args.dry_run and not executable.is_file():
            raise InputError(
                f"{executable}: no such file; run this with the Python of requirements-nnunet.txt"
            )


def borrow_junior(loop: NnunetLoop, about: dict[str, object], done: dict[str, dict[str, float]]) -> None:
    """Link the junior of another run, whatever its tumour scans were: no junior learns from those."""
    other = loop.args.junior.resolve()
    check_junior(about, other)
    steps = json.loads((other / "steps.json").read_text(encoding="utf-8"))
    names = [step.name for step in loop.steps()]
    names = names[: names.index("junior: train") + 1]
    if missing := [name for name in names if name not in steps]:
        raise InputError(f"{other}: has not come to the end of its junior ({missing[0]}); finish that first")
    for part in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (loop.work / part).mkdir(exist_ok=True)
        link_all(loop.work / part, **{loop.datasets["junior"]: other / part / loop.datasets["junior"]})
    done.update({name: {"wall_s": 0.0, "cpu_s": 0.0} for name in names})  # told by the other run
    _borrow_predictions(loop, other, steps, done)


def _borrow_predictions(
    loop: NnunetLoop, other: Path, steps: dict[str, dict[str, float]], done: dict[str, dict[str, float]]
) -> None:
    """Link what the junior has marked already in the other run, where that has all scans of a kind."""
    theirs = json.loads((other / "two_stage.json").read_text(encoding="utf-8"))["junior"]
    for kind, folder in scored(loop.args).items():
        names = images_in(folder)
        for place in ("tumour", "test", "tumour_free"):
            same = [f"scans: {place}", *(step.name for step in loop.predict("junior", [place]))]
            there = Path(theirs.get(place, loop.work / "nowhere"))
            if not (there.is_dir() and names.items() <= images_in(there).items() and {*same} <= {*steps}):
                continue
            for part in ("imagesTr", "masks"):
                _link_cases(loop.work / kind / part, other / place / part, names)
            for row in (f"junior{NO_GATE}", *(row for row in loop.rows if row.startswith("junior"))):
                mine, its = (loop.predictions(row, which) for which in (kind, place))
                _link_cases(mine, other / its.relative_to(loop.work), names)
            for name in (f"scans: {kind}", *(step.name for step in loop.predict("junior", [kind]))):
                done[name] = {"wall_s": 0.0, "cpu_s": 0.0}
            break


def images_in(folder: Path) -> dict[str, Path]:
    """The scans' files by the names that nnU-Net knows them by."""
    return {safe_name(scan.name): scan.image.resolve() for scan in find_scans(folder).scans}


def _link_cases(folder: Path, source: Path, names: Iterable[str]) -> None:
    """Links in `folder` to the files in `source` that are of these cases."""
    endings = ("_0000.nii.gz", ".nii.gz", ".npz")
    files = (source / f"{name}{ending}" for name in names for ending in endings)
    folder.mkdir(parents=True, exist_ok=True)
    link_all(folder, **{file.name: file for file in files if file.is_file()})
