"""Steps of a long run, each done once: what two_stage.py's engines have in common."""

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
from typing import Protocol

import numpy as np

from synthtumour.brain.masks import prepare_brain, skull_stripped
from synthtumour.dataset.nnunet import safe_name
from synthtumour.dataset.subjects import Scan, find_scans
from synthtumour.errors import InputError
from synthtumour.files.staging import write_json
from synthtumour.text import print_safely
from synthtumour.volume.reading import read_volume
from synthtumour.volume.writing import write_volumes

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("junior", "senior", "second senior")
DATASETS = ("Dataset101_Junior", "Dataset102_Senior", "Dataset103_SecondSenior")


Scores = dict[str, dict[str, dict[str, float]]]  # by row, by 'dice' or 'false_ml', by scan


@dataclass(frozen=True)
class Step:
    """A command, and what this process does before it; either may be missing."""

    name: str
    command: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None


class Engine(Protocol):
    """What trains and predicts, with the run's folder."""

    args: argparse.Namespace
    work: Path
    datasets: dict[str, str]  # by network
    environment: dict[str, str]
    rows: tuple[str, ...]  # whose predictions are scored

    def steps(self) -> list[Step]: ...

    def predictions(self, row: str, scans: str) -> Path:
        """The folder of labels CASE.nii.gz of one row."""
        ...

    def carried_on(self, step: Step) -> tuple[str, ...]:
        """The command of `step`; a training that was interrupted goes on from where it was."""
        ...


def script(name: str, *options: object) -> tuple[str, ...]:
    """The command of one of this repository's scripts."""
    return (sys.executable, str(ROOT / name), *map(str, options))


def scored(args: argparse.Namespace) -> dict[str, Path]:
    """The folders of scans that are predicted, by kind."""
    scans = {"tumour": args.tumour, "tumour_free": args.tumour_free or args.healthy}
    return scans | ({"test": args.test} if args.test else {})


def networks_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The networks that teach one another: the junior and a senior of each round."""
    return NETWORKS[: 1 + args.rounds]


def halves_of(tumour: Path, work: Path) -> list[Path]:
    """Two folders of links to the scans' folders in `tumour`: every other subject by name."""
    scans = find_scans(tumour).scans
    subjects = sorted({scan.subject for scan in scans})
    if len(subjects) < 4:
        raise InputError(f"{tumour}: holds {len(subjects)} subjects; two halves of two are the least")
    folders = {scan.image.parent.name for scan in scans}
    if len(folders) < len(scans):
        raise InputError(
            f"{tumour}: folders of one name, or with several scans; give each scan a folder of its own"
        )
    halves = [work / "halves" / name for name in ("odd", "even")]
    if work.is_dir() and any(work.iterdir()) and not halves[0].parent.is_dir():
        raise InputError(f"{work}: holds something else; choose another --output")
    wanted = {
        halves[subjects.index(scan.subject) % 2] / scan.image.parent.name: scan.image.parent.resolve()
        for scan in scans
    }
    there = {link: link.resolve() for half in halves if half.is_dir() for link in half.iterdir()}
    if there and there != wanted:
        raise InputError(f"{work}: made from other scans than those of {tumour}; choose another --output")
    for link, target in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if link not in there:
            link.symlink_to(target)
    return halves


def link_all(folder: Path, **targets: Path) -> None:
    """Links in `folder` to the targets, by their names; one that is there stays."""
    folder.mkdir(exist_ok=True)
    for name, target in targets.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def write_scans(folder: Path, output: Path) -> None:
    """Skull-stripped scans in nnU-Net's form in output/imagesTr, and their brain masks in output/masks."""
    for part in ("imagesTr", "masks"):
        (output / part).mkdir(parents=True, exist_ok=True)
    for scan in find_scans(folder).scans:
        volume = read_volume(scan.image)
        brain = prepare_brain(volume, scan.image, scan.mask)
        name = safe_name(scan.name)
        write_volumes(
            {
                output / "imagesTr" / f"{name}_0000.nii.gz": skull_stripped(volume, brain),
                output / "masks" / f"{name}.nii.gz": brain,
            }
        )


def begin(engine: Engine, about: dict[str, dict[str, object]]) -> dict[str, dict[str, float]]:
    """Make the run's folder, or check that the one there is this run's: the steps done, and their seconds."""
    options, record = engine.work / "two_stage.json", engine.work / "steps.json"
    if options.exists():
        for part, mine in about.items():
            check_same(mine, options, part)
    elif engine.work.is_dir() and any(engine.work.iterdir()):
        raise InputError(f"{engine.work}: holds something else; choose another --output")
    (engine.work / "logs").mkdir(parents=True, exist_ok=True)
    write_json(about, options)
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def mixing(engine: Engine, teacher: str, network: str, number: int, *options: object) -> Step:
    """Stage 2 with the labels of a network's teacher: `number` mixed cases, and the dataset to learn from."""
    args, place = engine.args, engine.work / f"mixed_{network.replace(' ', '_')}"
    command = script(
        "stage2_mixed_with_pseudo_label.py",
        *("--imagesTr_path", place / "imagesTr", "--labelsTr_path", place / "labelsTr"),
        *("--donor-masks", engine.work / "tumour/masks"),
        *("--healthyimgTr", args.healthy.resolve(), "--skull-strip", "--jitter", 5),
        *("--mask_check_path", place / "mask_check", "--prefix", "mixed"),
        *("--combine", engine.work / "nnUNet_raw" / engine.datasets[network]),
        *("-num", number, "--seed", args.seed, "--workers", args.threads, *options),
        *shlex.split(args.stage2),
    )
    images, labels = engine.work / "tumour/imagesTr", engine.predictions(teacher, "tumour")
    return Step(f"{network}: Stage 2", command, lambda: link_all(place, imagesTr=images, labelsTr=labels))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two boolean arrays; 1 if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def label_of(scan: Scan, name: str) -> Path:
    return scan.image.with_name(name)


def check_same(
    mine: dict[str, object], path: Path, part: str, remedy: str = "choose another --output"
) -> None:
    """InputError if the run that wrote `path` had other options, with what to do."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))[part]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
    for key, value in json.loads(json.dumps(mine)).items():
        if earlier.get(key) != value:
            raise InputError(
                f"{path.parent}: holds a run with --{key} {earlier.get(key)}, and this one has {value}; "
                f"{remedy}, or the same options"
            )


def check_junior(mine: dict[str, object], other: Path) -> None:
    """InputError if the junior of the run in `other` is not the one that this run would train."""
    learnt_from = {k: v for k, v in mine.items() if k not in ("tumour", "tumour_free", "test")}
    remedy = "give --junior the folder of a finished run"
    check_same(learnt_from, other / "two_stage.json", "junior", remedy)


def do_all(steps: list[Step], engine: Engine, done: dict[str, dict[str, float]]) -> None:
    """Run the steps that are not `done`, and note each in it and in steps.json."""
    for number, step in enumerate(steps, 1):
        if step.name in done:
            continue
        print_safely(f"[{number}/{len(steps)}] {step.name}")
        sys.stdout.flush()
        log = engine.work / "logs" / f"{number:02d}-{step.name.replace(': ', '-').replace(' ', '-')}.log"
        done[step.name] = _do(step, engine, log)
        write_json(done, engine.work / "steps.json")


def _do(step: Step, engine: Engine, log: Path) -> dict[str, float]:
    """Run one step to its end, its output in `log`: wall and CPU seconds. InputError if it fails."""
    began, used = time.monotonic(), _cpu_seconds()
    if step.prepare:
        step.prepare()
    if step.command:
        with log.open("a", encoding="utf-8") as output:
            code = _call(engine.carried_on(step), engine.environment, output)
        if code:
            last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            print_lines(last)
            raise InputError(f"{step.name}: exit code {code}; all it said is in {log}")
    return {"wall_s": round(time.monotonic() - began, 1), "cpu_s": round(_cpu_seconds() - used, 1)}


def _call(command: tuple[str, ...], environment: dict[str, str], output: object) -> int:
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


def _cpu_seconds() -> float:
    """CPU time of this process and its finished children (not of the scripts' workers: few seconds)."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def print_lines(text: str) -> None:
    for line in text.splitlines():
        print_safely(line)
