"""The loop with real nnU-Net v2: what `two_stage.py --engine nnunet` runs."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.steps import JUNIOR, SENIOR, Step, check_same, scored, script, write_scans
from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError
from synthtumour.files.staging import write_bytes, write_json

CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class Setting:
    """What is trained, and for how long; `small` holds what plans and trainer are told beyond that."""

    trainer: str
    plans: str
    device: str
    variants: int
    spacing_mm: float | None = None
    mirroring: bool = True  # at test time
    small: dict[str, float] | None = None
    small_senior: dict[str, float] | None = None  # where those of a senior that starts as its junior differ


SETTINGS = {
    "small": Setting(
        trainer="nnUNetTrainerSmall",
        plans="nnUNetPlans_small",
        device="cpu",
        variants=6,
        spacing_mm=3.0,
        mirroring=False,
        small={
            "num_epochs": 50,
            "num_iterations_per_epoch": 12,
            "num_val_iterations_per_epoch": 6,
            "initial_lr": 3e-3,
            "features": 8,  # of the first stage, doubled at each further one
            "batch_size": 2,
        },
        small_senior={"num_epochs": 25, "initial_lr": 1e-3},
    ),
    # nnU-Net as it comes: 1000 epochs
    "paper": Setting("nnUNetTrainer", "nnUNetPlans", "cuda", variants=8),
}


class NnunetLoop:
    """The steps of one run, in order, with all paths they use."""

    rows = ("junior", "junior refined", "senior", "senior refined")

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.setting = SETTINGS[args.setting]
        self.small = {JUNIOR: {**(self.setting.small or {}), "seed": args.seed}}
        other = {} if args.from_scratch else self.setting.small_senior
        self.small[SENIOR] = {**self.small[JUNIOR], **(other or {})}
        if args.epochs:
            self.small[JUNIOR]["num_epochs"], self.small[SENIOR]["num_epochs"] = args.epochs
        self.work = args.output.resolve()
        self.raw, self.preprocessed, self.results = (
            self.work / f"nnUNet_{part}" for part in ("raw", "preprocessed", "results")
        )
        self.environment = {
            **os.environ,
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(Path(__file__).resolve().parent / "nnunet_trainer"),
        }
        if self.setting.device == "cpu":
            self.environment |= {
                "nnUNet_compile": "F",
                "nnUNet_n_proc_DA": "1",
                "nnUNet_def_n_proc": "1",
                "OMP_NUM_THREADS": str(args.threads),
            }

    def steps(self) -> list[Step]:
        args, setting = self.args, self.setting
        scans = scored(args)
        spacing = [str(setting.spacing_mm)] * 3 if setting.spacing_mm else []
        overwritten = ["-overwrite_target_spacing", *spacing, "-overwrite_plans_name", setting.plans]
        junior = [
            Step(
                "Stage 1",
                script(
                    "prompt_multi_tumor.py",
                    *("--input", args.healthy.resolve(), "--output", self.raw / JUNIOR, "--skull-strip"),
                    *("--preset", args.preset, "--variants", setting.variants, "--seed", args.seed),
                    *("--add-untouched", 1, "--workers", args.threads, *shlex.split(args.stage1)),
                ),
            ),
            Step(
                "junior: plan",
                self.nnunet(
                    *("plan_and_preprocess", "-d", 101, "-c", CONFIGURATION, "--verify_dataset_integrity"),
                    *("--no_pp", "--clean", "-npfp", args.threads, *(overwritten if spacing else [])),
                ),
            ),
            Step("junior: preprocess", self.preprocess("101"), lambda: self.make_small(JUNIOR)),
            Step("junior: train", self.train("101"), lambda: self.copy(JUNIOR, "splits_final.json")),
            Step(
                "junior: scans",
                prepare=lambda: [write_scans(scans[kind], self.work / kind) for kind in scans],
            ),
            *self.predict("junior", scans),
        ]
        # One mixed case for two of Stage 1's training cases, which are half of its cases: see TWO_STAGE.md.
        mixed = max(len(find_scans(args.healthy).scans) * setting.variants // 4, 10)
        stage1_cases = [] if args.without_stage1 else ["--stage1", self.raw / JUNIOR]
        start = (
            [] if args.from_scratch else ["-pretrained_weights", self.fold(JUNIOR) / "checkpoint_best.pth"]
        )
        senior = [
            Step(
                "Stage 2",
                script(
                    "stage2_mixed_with_pseudo_label.py",
                    *("--imagesTr_path", self.work / "tumour/imagesTr"),
                    *("--labelsTr_path", self.predictions("junior", "tumour")),
                    *("--donor-masks", self.work / "tumour/masks"),
                    *("--healthyimgTr", args.healthy.resolve(), "--skull-strip"),
                    *("--mask_check_path", self.work / "mask_check"),
                    *("-num", mixed, "--seed", args.seed),
                    *("--combine", self.raw / SENIOR, *stage1_cases, "--add-untouched", 1),
                    *("--workers", args.threads, *shlex.split(args.stage2)),
                ),
            ),
            Step("senior: fingerprint", self.nnunet("extract_fingerprint", "-d", 102, "-np", args.threads)),
            Step(
                "senior: plan",
                self.nnunet(
                    "move_plans_between_datasets",
                    "-s",
                    101,
                    "-t",
                    102,
                    "-sp",
                    setting.plans,
                    "-tp",
                    setting.plans,
                ),
            ),
            Step("senior: preprocess", self.preprocess("102"), self.prepare_senior),
            Step("senior: train", self.train("102", *start), lambda: self.copy(SENIOR, "splits_final.json")),
            *self.predict("senior", scans),
        ]
        return junior + senior

    def nnunet(self, name: str, *options: object) -> tuple[str, ...]:
        return (str(Path(sys.executable).parent / f"nnUNetv2_{name}"), *map(str, options))

    def preprocess(self, number: str) -> tuple[str, ...]:
        options = ("-plans_name", self.setting.plans, "-c", CONFIGURATION, "-np", self.args.threads)
        return self.nnunet("preprocess", "-d", number, *options)

    def train(self, number: str, *options: object) -> tuple[str, ...]:
        which = ("-tr", self.setting.trainer, "-p", self.setting.plans, "-device", self.setting.device)
        return self.nnunet("train", number, CONFIGURATION, 0, *which, "--val_best", *options)

    def predict(self, network: str, scans: Iterable[str]) -> list[Step]:
        """Of all scans, as the network marks them and refined."""
        return [
            step
            for kind in scans
            for step in (
                Step(f"{network}: predict {kind}", self.predicted(network, kind)),
                Step(f"{network}: refine {kind}", self.refined(network, kind)),
            )
        ]

    def predicted(self, network: str, scans: str) -> tuple[str, ...]:
        return self.nnunet(
            *("predict", "-d", "101" if network == "junior" else "102"),
            *("-i", self.work / scans / "imagesTr", "-o", self.predictions(network, scans)),
            *("-c", CONFIGURATION, "-f", 0, "-tr", self.setting.trainer, "-p", self.setting.plans),
            *("-chk", "checkpoint_best.pth", "-device", self.setting.device),
            *(() if self.setting.mirroring else ("--disable_tta",)),
            *(("-npp", 1, "-nps", 1) if self.setting.device == "cpu" else ()),
        )

    def refined(self, network: str, scans: str) -> tuple[str, ...]:
        return script(
            "refine_pseudo_label.py",
            *("--images", self.work / scans / "imagesTr", "--labels", self.predictions(network, scans)),
            *("--brain-masks", self.work / scans / "masks"),
            *("--output", self.predictions(f"{network} refined", scans), "--workers", self.args.threads),
        )

    def predictions(self, row: str, scans: str) -> Path:
        """The junior's of the tumour scans lie where Stage 2 wants its pseudo-labels: beside the scans."""
        if (row, scans) == ("junior", "tumour"):
            return self.work / "tumour/labelsTr"
        return self.work / "predictions" / row.replace(" ", "_") / scans

    def fold(self, dataset: str) -> Path:
        return (
            self.results
            / dataset
            / f"{self.setting.trainer}__{self.setting.plans}__{CONFIGURATION}"
            / "fold_0"
        )

    # ------------------------------------------------------------ between the commands

    def make_small(self, dataset: str) -> None:
        """Give nnU-Net's plan the setting's smaller network, and the trainer its numbers."""
        if not self.setting.small:
            return
        path, small = self.preprocessed / dataset / f"{self.setting.plans}.json", self.small[dataset]
        plans = json.loads(path.read_text(encoding="utf-8"))
        configuration = plans["configurations"][CONFIGURATION]
        network = configuration["architecture"]["arch_kwargs"]
        network["features_per_stage"] = [small["features"] * 2**n for n in range(network["n_stages"])]
        configuration["batch_size"] = small["batch_size"]
        configuration["small"] = small
        write_json(plans, path)

    def prepare_senior(self) -> None:
        """Moved plans lack the description that planning would have copied, and are the junior's."""
        self.copy(SENIOR, "dataset.json")
        self.make_small(SENIOR)

    def copy(self, dataset: str, name: str) -> None:
        """Copy to nnU-Net's folder of preprocessed data, the only place where it takes a split from."""
        write_bytes((self.raw / dataset / name).read_bytes(), self.preprocessed / dataset / name)

    def carried_on(self, step: Step) -> tuple[str, ...]:
        network, _, what = step.name.partition(": ")
        if what != "train":
            return step.command
        fold = self.fold(JUNIOR if network == "junior" else SENIOR)
        if not any((fold / f"checkpoint_{which}.pth").is_file() for which in ("final", "latest", "best")):
            return step.command
        command = list(step.command)
        if "-pretrained_weights" in command:  # they are in the checkpoint
            at = command.index("-pretrained_weights")
            del command[at : at + 2]
        return (*command, "--c")

    def options(self) -> dict[str, dict[str, object]]:
        """What makes a run this run, for the junior and for the senior, beside what all engines have."""
        return {
            "junior": {"setting": self.args.setting, "training": self.small[JUNIOR]},
            "senior": {"training": self.small[SENIOR], "without-stage1": self.args.without_stage1},
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


def borrow_junior(
    loop: NnunetLoop, about: dict[str, dict[str, object]], done: dict[str, dict[str, float]]
) -> None:
    """Link the junior of another finished run into this one."""
    other = loop.args.junior.resolve()
    check_same(about["junior"], other / "two_stage.json", "junior")
    steps = json.loads((other / "steps.json").read_text(encoding="utf-8"))
    names = [step.name for step in loop.steps()]
    names = names[: names.index("Stage 2")]
    if missing := [name for name in names if name not in steps]:
        raise InputError(
            f"{other}: has not come to the end of its junior ({missing[0]}); finish that run first"
        )
    for part in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (loop.work / part).mkdir(exist_ok=True)
        link(loop.work / part / JUNIOR, other / part / JUNIOR)
    (loop.work / "predictions").mkdir(exist_ok=True)
    for row in ("junior", "junior_refined"):
        link(loop.work / "predictions" / row, other / "predictions" / row)
    for kind in ("tumour", "tumour_free", "test"):
        for part in ("imagesTr", "masks", "labelsTr"):
            if (other / kind / part).is_dir():
                (loop.work / kind).mkdir(exist_ok=True)
                link(loop.work / kind / part, other / kind / part)
    done.update({name: steps[name] for name in names})


def link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target)
