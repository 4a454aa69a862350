#!/usr/bin/env python3
"""The whole method from one command: Stage 1, junior, pseudo-labels, Stage 2, senior, and what each is worth.

The networks are real nnU-Net v2's: its commands are run as they lie beside this Python. It prints
whole-tumour Dice on labelled scans and the volume of false tumour in tumour-free ones, for the junior, the
senior and a plain threshold (median of the brain + 2 robust standard deviations, largest component), all at
the scans' own resolution and inside the brain.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthtumour import __version__  # noqa: E402
from synthtumour.brain.masks import prepare_brain, skull_stripped  # noqa: E402
from synthtumour.dataset.nnunet import safe_name  # noqa: E402
from synthtumour.dataset.subjects import Scan, find_scans  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_bytes, write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.presets import PRESETS  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402
from synthtumour.volume.reading import read_volume  # noqa: E402
from synthtumour.volume.writing import write_volumes  # noqa: E402

EXAMPLES = """\
examples:
  python benchmarks/two_stage.py --healthy DATA/healthy --tumour DATA/tumour --output WORK
  python benchmarks/two_stage.py --healthy DATA/healthy --tumour DATA/tumour \\
      --output WORK --setting paper --dry-run

An interrupted run is carried on by the same command.
"""
JUNIOR, SENIOR = "Dataset101_Junior", "Dataset102_Senior"
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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="two_stage.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--healthy", type=Path, required=True, metavar="DIR", help="tumour-free scans")
    parser.add_argument(
        "--tumour", type=Path, required=True, metavar="DIR", help="scans of tumours; unlabelled"
    )
    parser.add_argument(
        "--test", type=Path, metavar="DIR", help="labelled scans to score on (default: those of --tumour)"
    )
    parser.add_argument(
        "--labels-name",
        default="whole_tumour.nii.gz",
        metavar="NAME",
        help="the experts' label beside a scan, read for the score only (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="WORK", help="everything goes here")
    parser.add_argument(
        "--setting",
        choices=sorted(SETTINGS),
        default="small",
        help="small: 3 mm and some hundred steps, on a CPU; paper: nnU-Net's own, on a GPU "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="diverse", help="of Stage 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of both stages and of setting small's trainings"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="worker processes, and threads of a training on the CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        nargs=2,
        metavar="N",
        help="of the junior's training and of the senior's, in setting small (default: 50 25; a senior from "
        "scratch 50)",
    )
    parser.add_argument(
        "--stage1", default="", metavar="OPTIONS", help="more options for prompt_multi_tumor.py"
    )
    parser.add_argument(
        "--stage2", default="", metavar="OPTIONS", help="more options for stage2_mixed_with_pseudo_label.py"
    )
    parser.add_argument(
        "--without-stage1", action="store_true", help="the senior does not see Stage 1's cases"
    )
    parser.add_argument("--from-scratch", action="store_true", help="the senior does not start as its junior")
    parser.add_argument(
        "--junior",
        type=Path,
        metavar="WORK",
        help="take the junior of this finished run, to try another senior",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    add_program_options(parser)
    return parser


# ---------------------------------------------------------------- the steps


@dataclass(frozen=True)
class Step:
    """A command, and what this process does before it; either may be missing."""

    name: str
    command: tuple[str, ...] = ()
    prepare: Callable[[], None] | None = None


class Loop:
    """The steps of one run, in order, with all paths they use."""

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
        scans = [("tumour", args.tumour), ("tumour_free", args.healthy)]
        if args.test:
            scans.append(("test", args.test))
        spacing = [str(setting.spacing_mm)] * 3 if setting.spacing_mm else []
        overwritten = ["-overwrite_target_spacing", *spacing, "-overwrite_plans_name", setting.plans]
        junior = [
            Step(
                "Stage 1",
                self.script(
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
            Step("junior: scans", prepare=lambda: [self.write_scans(*which) for which in scans]),
            *(Step(f"junior: predict {name}", self.predict("101", "junior", name)) for name, _ in scans),
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
                self.script(
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
            *(Step(f"senior: predict {name}", self.predict("102", "senior", name)) for name, _ in scans),
        ]
        return junior + senior

    def script(self, name: str, *options: object) -> tuple[str, ...]:
        return (sys.executable, str(ROOT / name), *map(str, options))

    def nnunet(self, name: str, *options: object) -> tuple[str, ...]:
        return (str(Path(sys.executable).parent / f"nnUNetv2_{name}"), *map(str, options))

    def preprocess(self, number: str) -> tuple[str, ...]:
        options = ("-plans_name", self.setting.plans, "-c", CONFIGURATION, "-np", self.args.threads)
        return self.nnunet("preprocess", "-d", number, *options)

    def train(self, number: str, *options: object) -> tuple[str, ...]:
        which = ("-tr", self.setting.trainer, "-p", self.setting.plans, "-device", self.setting.device)
        return self.nnunet("train", number, CONFIGURATION, 0, *which, "--val_best", *options)

    def predict(self, number: str, network: str, scans: str) -> tuple[str, ...]:
        return self.nnunet(
            *("predict", "-d", number, "-i", self.work / scans / "imagesTr"),
            *("-o", self.predictions(network, scans)),
            *("-c", CONFIGURATION, "-f", 0, "-tr", self.setting.trainer, "-p", self.setting.plans),
            *("-chk", "checkpoint_best.pth", "-device", self.setting.device),
            *(() if self.setting.mirroring else ("--disable_tta",)),
            *(("-npp", 1, "-nps", 1) if self.setting.device == "cpu" else ()),
        )

    def predictions(self, network: str, scans: str) -> Path:
        """The junior's of the tumour scans lie where Stage 2 wants its pseudo-labels: beside the scans."""
        if (network, scans) == ("junior", "tumour"):
            return self.work / "tumour/labelsTr"
        return self.work / "predictions" / network / scans

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

    def write_scans(self, kind: str, folder: Path) -> None:
        """Skull-stripped scans in nnU-Net's form, and their brain masks."""
        for part in ("imagesTr", "masks"):
            (self.work / kind / part).mkdir(parents=True, exist_ok=True)
        for scan in find_scans(folder).scans:
            volume = read_volume(scan.image)
            brain = prepare_brain(volume, scan.image, scan.mask)
            name = safe_name(scan.name)
            write_volumes(
                {
                    self.work / kind / "imagesTr" / f"{name}_0000.nii.gz": skull_stripped(volume, brain),
                    self.work / kind / "masks" / f"{name}.nii.gz": brain,
                }
            )


def carried_on(step: Step, loop: Loop) -> tuple[str, ...]:
    """The command of `step`; a training that was interrupted goes on from its checkpoint."""
    network, _, what = step.name.partition(": ")
    if what != "train":
        return step.command
    fold = loop.fold(JUNIOR if network == "junior" else SENIOR)
    if not any((fold / f"checkpoint_{which}.pth").is_file() for which in ("final", "latest", "best")):
        return step.command
    command = list(step.command)
    if "-pretrained_weights" in command:  # they are in the checkpoint
        at = command.index("-pretrained_weights")
        del command[at : at + 2]
    return (*command, "--c")


def do(step: Step, loop: Loop, log: Path) -> dict[str, float]:
    """Run one step to its end, its output in `log`: wall and CPU seconds. InputError if it fails."""
    began, used = time.monotonic(), cpu_seconds()
    if step.prepare:
        step.prepare()
    if step.command:
        with log.open("a", encoding="utf-8") as output:
            code = call(carried_on(step, loop), loop.environment, output)
        if code:
            last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            print_safely_lines(last)
            raise InputError(f"{step.name}: exit code {code}; all it said is in {log}")
    return {"wall_s": round(time.monotonic() - began, 1), "cpu_s": round(cpu_seconds() - used, 1)}


def call(command: tuple[str, ...], environment: dict[str, str], output: object) -> int:
    """Run `command` in a session of its own, so that all of its workers end when this process is stopped."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,  # type: ignore[arg-type]
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def cpu_seconds() -> float:
    """CPU time of this process and its finished children (not of the scripts' workers: few seconds)."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def print_safely_lines(text: str) -> None:
    for line in text.splitlines():
        print_safely(line)


# ---------------------------------------------------------------- the score


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two boolean arrays; 1 if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def threshold(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Largest component of what is brighter than the brain's median + 2 robust standard deviations."""
    values = image[brain]
    median = np.median(values)
    bright = brain & (image > median + 2 * 1.4826 * np.median(np.abs(values - median)))
    components, count = ndimage.label(bright)
    return components == 1 + np.argmax(np.bincount(components.ravel())[1:]) if count else bright


def score(loop: Loop) -> dict[str, dict[str, dict[str, float]]]:
    """Of threshold, junior, senior: Dice of every labelled scan, false ml of every tumour-free one."""
    args = loop.args
    kind = "test" if args.test else "tumour"
    found: dict[str, dict[str, dict[str, float]]] = {
        row: {"dice": {}, "false_ml": {}} for row in ("threshold", "junior", "senior")
    }
    for which, folder in ((kind, args.test or args.tumour), ("tumour_free", args.healthy)):
        for scan in find_scans(folder).scans:
            name = safe_name(scan.name)
            image = read_volume(loop.work / which / "imagesTr" / f"{name}_0000.nii.gz")
            brain = read_volume(loop.work / which / "masks" / f"{name}.nii.gz").array > 0
            masks = {"threshold": threshold(image.array, brain)}
            for network in ("junior", "senior"):
                predicted = read_volume(loop.predictions(network, which) / f"{name}.nii.gz")
                masks[network] = (predicted.array > 0) & brain
            if which == "tumour_free":
                for row, mask in masks.items():
                    found[row]["false_ml"][name] = int(mask.sum()) * image.grid.voxel_ml
            else:
                truth = read_volume(label_of(scan, args.labels_name)).array > 0
                for row, mask in masks.items():
                    found[row]["dice"][name] = dice(mask, truth)
    return found


def label_of(scan: Scan, name: str) -> Path:
    return scan.image.with_name(name)


def table(
    scores: dict[str, dict[str, dict[str, float]]], loop: Loop, times: dict[str, dict[str, float]]
) -> str:
    """Markdown: one row for threshold, junior and senior, and a caption that says what was scored."""
    labelled, free = (len(scores["senior"][key]) for key in ("dice", "false_ml"))
    lines = [
        f"| | whole-tumour Dice, mean of {labelled} (median, least) "
        f"| false tumour, mean ml of {free} tumour-free scans (median) |",
        "|---|---|---|",
    ]
    for row, columns in scores.items():
        overlap, wrong = (np.array(list(columns[key].values())) for key in ("dice", "false_ml"))
        lines.append(
            f"| {row} | {overlap.mean():.3f} ({np.median(overlap):.3f}, {overlap.min():.3f}) "
            f"| {wrong.mean():.1f} ({np.median(wrong):.1f}) |"
        )
    wall, cpu = (sum(step[key] for step in times.values()) / 60 for key in ("wall_s", "cpu_s"))
    told = (
        "Scored on scans that neither network has seen."
        if loop.args.test
        else "The senior learnt from the scored tumour scans too: with the junior's labels, no expert's."
    )
    return "\n".join(
        [
            *lines,
            "",
            f"{told} Both networks learnt from the tumour-free scans with tumours put into them. Setting "
            f"{loop.args.setting}, preset {loop.args.preset}, seed {loop.args.seed}; {wall:.0f} minutes "
            f"(about {cpu:.0f} of CPU).",
        ]
    )


# ---------------------------------------------------------------- the run


def check(args: argparse.Namespace, loop: Loop) -> None:
    """Raise InputError for what would fail later on."""
    for option in ("stage1", "stage2"):
        try:
            shlex.split(getattr(args, option))
        except ValueError as error:
            raise InputError(f"--{option} {getattr(args, option)!r}: {error}") from error
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: needs 1 or more")
    if args.epochs is not None and (min(args.epochs) < 1 or not loop.setting.small):
        raise InputError(f"--epochs {args.epochs[0]} {args.epochs[1]}: needs 1 or more, and --setting small")
    find_scans(args.healthy)
    if len(find_scans(args.tumour).scans) < 2:
        raise InputError(f"{args.tumour}: holds one scan; Stage 2 needs tumours of two subjects or more")
    for scan in find_scans(args.test or args.tumour).scans:
        label = label_of(scan, args.labels_name)
        if not label.is_file():
            raise InputError(
                f"{label}: no such file; name the experts' labels with --labels-name, or give labelled scans "
                "with --test"
            )
        if differences := read_volume(label).grid.differences(read_volume(scan.image).grid):
            raise InputError(f"{label}: on another grid than {scan.image.name}: {differences}")
    executable = Path(loop.nnunet("train")[0])
    if not args.dry_run and not executable.is_file():
        raise InputError(f"{executable}: no such file; run this with the Python of requirements-nnunet.txt")


def options_of(loop: Loop) -> dict[str, dict[str, object]]:
    """What makes a run this run, for the junior and for the senior."""
    args = loop.args
    junior = {
        "version": __version__,
        "healthy": str(args.healthy.resolve()),
        "tumour": str(args.tumour.resolve()),
        "test": args.test and str(args.test.resolve()),
        "setting": args.setting,
        "training": loop.small[JUNIOR],
        "preset": args.preset,
        "seed": args.seed,
        "stage1": args.stage1,
    }
    senior = {
        "training": loop.small[SENIOR],
        "stage2": args.stage2,
        "without-stage1": args.without_stage1,
        "from-scratch": args.from_scratch,
    }
    return {"junior": junior, "senior": senior}


def check_same(mine: dict[str, object], path: Path, part: str) -> None:
    """InputError if the run that wrote `path` had other options."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))[part]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); choose another --output") from error
    for key, value in json.loads(json.dumps(mine)).items():
        if earlier.get(key) != value:
            raise InputError(
                f"{path.parent}: holds a run with --{key} {earlier.get(key)}, and this one has {value}; "
                "choose another --output, or the same options"
            )


def borrow_junior(loop: Loop, about: dict[str, dict[str, object]], done: dict[str, dict[str, float]]) -> None:
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
    link(loop.work / "predictions/junior", other / "predictions/junior")
    for kind in ("tumour", "tumour_free", "test"):
        for part in ("imagesTr", "masks", "labelsTr"):
            if (other / kind / part).is_dir():
                (loop.work / kind).mkdir(exist_ok=True)
                link(loop.work / kind / part, other / kind / part)
    done.update({name: steps[name] for name in names})


def link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target)


def begin(loop: Loop, about: dict[str, dict[str, object]]) -> dict[str, dict[str, float]]:
    """Make the run's folder, or check that the one there is this run's: the steps done, and their seconds."""
    options, record = loop.work / "two_stage.json", loop.work / "steps.json"
    if options.exists():
        for part, mine in about.items():
            check_same(mine, options, part)
    elif loop.work.is_dir() and any(loop.work.iterdir()):
        raise InputError(f"{loop.work}: holds something else; choose another --output")
    (loop.work / "logs").mkdir(parents=True, exist_ok=True)
    write_json(about, options)
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def do_all(steps: list[Step], loop: Loop, done: dict[str, dict[str, float]]) -> None:
    """Run the steps that are not `done`, and note each in it and in steps.json."""
    for number, step in enumerate(steps, 1):
        if step.name in done:
            continue
        print_safely(f"[{number}/{len(steps)}] {step.name}")
        sys.stdout.flush()
        log = loop.work / "logs" / f"{number:02d}-{step.name.replace(': ', '-').replace(' ', '-')}.log"
        done[step.name] = do(step, loop, log)
        write_json(done, loop.work / "steps.json")


def two_stage(args: argparse.Namespace) -> int:
    loop = Loop(args)
    check(args, loop)
    if args.dry_run:
        for step in loop.steps():
            if step.command:
                print_safely(f"# {step.name}")
                print_safely(shlex.join(step.command))
        return 0
    about = options_of(loop)
    done = begin(loop, about)
    if args.junior and "Stage 2" not in done:
        borrow_junior(loop, about, done)
        write_json(done, loop.work / "steps.json")
    do_all(loop.steps(), loop, done)
    scores = score(loop)
    write_json(scores, loop.work / "scores.json")
    text = table(scores, loop, done)
    write_bytes(f"{text}\n".encode(), loop.work / "table.md")
    print_safely_lines(text)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run(two_stage, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
