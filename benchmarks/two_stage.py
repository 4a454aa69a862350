#!/usr/bin/env python3
"""The whole method from one command: Stage 1, junior, pseudo-labels, Stage 2, senior, and what each is worth.

The networks are the pilot network (--engine pilot: no GPU, environment requirements-pilot.txt) or real
nnU-Net v2's, whose commands are run as they lie beside this Python. It prints whole-tumour Dice on labelled
scans and the volume of false tumour in tumour-free ones, for the junior, the senior, both refined by the
scans' own contrast, and a plain threshold (median of the brain + 2 robust standard deviations, largest
component), all at the scans' own resolution and inside the brain. What networks mark has passed the
confidence gate, which is chosen without a label of a real tumour.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.nnunet_loop import SETTINGS, NnunetLoop, borrow_junior  # noqa: E402
from benchmarks.operating_points import strip, write_points  # noqa: E402
from benchmarks.pilot_loop import ITERATIONS, PilotLoop, borrow_pilot  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    Engine,
    Scores,
    begin,
    check_junior,
    dice,
    do_all,
    halves_of,
    label_of,
    print_lines,
    scored,
)
from synthtumour import __version__  # noqa: E402
from synthtumour.dataset.nnunet import safe_name  # noqa: E402
from synthtumour.dataset.subjects import find_scans  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_bytes, write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.pilot.score import flair_threshold  # noqa: E402
from synthtumour.presets import PRESETS  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402
from synthtumour.volume.reading import read_volume  # noqa: E402

EXAMPLES = """\
examples:
  python benchmarks/two_stage.py --healthy DATA/healthy --tumour DATA/tumour --output WORK \\
      --tumour-free DATA/healthy_unseen
  python benchmarks/two_stage.py --healthy DATA/healthy --tumour DATA/tumour --output WORK \\
      --engine nnunet --setting paper --dry-run

An interrupted run is carried on by the same command.
"""


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
        "--tumour-free",
        type=Path,
        metavar="DIR",
        help="tumour-free scans to score false tumour on (default: those of --healthy)",
    )
    parser.add_argument(
        "--labels-name",
        default="whole_tumour.nii.gz",
        metavar="NAME",
        help="the experts' label beside a scan, read for the score only (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="WORK", help="everything goes here")
    parser.add_argument(
        "--engine",
        choices=("pilot", "nnunet"),
        default="pilot",
        help="the network: our small one, or nnU-Net v2 (default: %(default)s)",
    )
    parser.add_argument(
        "--iterations",
        type=int,
        nargs=2,
        metavar="N",
        help="engine pilot: steps of the junior's training and of a senior's (default: "
        f"{' '.join(map(str, ITERATIONS))})",
    )
    parser.add_argument(
        "--setting",
        choices=sorted(SETTINGS),
        default="small",
        help="engine nnunet; small: 3 mm and some hundred steps, on a CPU; paper: nnU-Net's own, on a GPU "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="diverse", help="of Stage 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of both stages and of all trainings but setting paper's"
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
        help="engine nnunet: of the junior's training and of a senior's, in setting small, 25 steps each "
        "(default: 50 16; a senior from scratch 50)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="0: the junior alone; 2: the senior labels the tumours anew, for a second senior (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--fixed-set",
        action="store_true",
        help="engine nnunet: the junior learns from Stage 1's cases as they are, by nnU-Net's own trainer "
        "(default: new tumours at every step, by nnUNetTrainerSynthTumour)",
    )
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="engine nnunet: score the junior's other checkpoint too, and its averaged weights, without the "
        "gate",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("final", "best"),
        default="final",
        help="engine nnunet: the last, or that which the validation task chooses (default: %(default)s)",
    )
    parser.add_argument(
        "--stage1",
        default="",
        metavar="OPTIONS",
        help="more options for prompt_multi_tumor.py, or for pilot_network.py train",
    )
    parser.add_argument(
        "--stage2", default="", metavar="OPTIONS", help="more options for stage2_mixed_with_pseudo_label.py"
    )
    parser.add_argument(
        "--without-stage1", action="store_true", help="engine nnunet: the senior does not see Stage 1's cases"
    )
    parser.add_argument(
        "--without-bias-field",
        action="store_true",
        help="engine nnunet: seniors without the bias field of nnUNetTrainerBiasField, as nnU-Net's own",
    )
    parser.add_argument("--from-scratch", action="store_true", help="the senior does not start as its junior")
    parser.add_argument(
        "--junior",
        type=Path,
        metavar="WORK",
        help="take the junior of this run, to try another senior; with --cross-fit that of one of its halves",
    )
    parser.add_argument(
        "--cross-fit",
        action="store_true",
        help="pseudo-labels from one half of --tumour, scores on the other, both ways, so that no senior has "
        "seen what it is scored on",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    add_program_options(parser)
    return parser


# ---------------------------------------------------------------- the score

Done = dict[str, dict[str, float]]  # by step, its seconds
Loops = list[Any]  # of one engine


def score(args: argparse.Namespace, loop: Engine) -> Scores:
    """Of every row: Dice of every labelled scan, false ml of every tumour-free one."""
    kind = "test" if args.test else "tumour"
    found: Scores = {row: {"dice": {}, "false_ml": {}} for row in ("threshold", *loop.rows)}
    for which, folder in ((kind, args.test or args.tumour), ("tumour_free", scored(args)["tumour_free"])):
        for scan in find_scans(folder).scans:
            name = safe_name(scan.name)
            image = read_volume(loop.work / which / "imagesTr" / f"{name}_0000.nii.gz")
            brain = read_volume(loop.work / which / "masks" / f"{name}.nii.gz").array > 0
            masks = {"threshold": flair_threshold(image.array, brain)}
            for row in loop.rows:
                predicted = read_volume(loop.predictions(row, which) / f"{name}.nii.gz")
                masks[row] = (predicted.array > 0) & brain
            if which == "tumour_free":
                for row, mask in masks.items():
                    found[row]["false_ml"][name] = int(mask.sum()) * image.grid.voxel_ml
            else:
                truth = read_volume(label_of(scan, args.labels_name)).array > 0
                for row, mask in masks.items():
                    found[row]["dice"][name] = dice(mask, truth)
    return found


def table(
    scores: Scores,
    args: argparse.Namespace,
    times: Done,
) -> str:
    """Markdown: one row for the threshold and each prediction, and a caption that says what was scored."""
    labelled, free = (len(scores["junior"][key]) for key in ("dice", "false_ml"))
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
    told = [
        "Scored on tumours that no network has seen."
        if args.test or args.cross_fit or not args.rounds
        else "The senior learnt from the scored tumour scans too: with the junior's labels, no expert's.",
        "The tumour-free scans were not learnt from."
        if args.tumour_free
        else "All networks learnt from the tumour-free scans with tumours put into them.",
        f"Engine {args.engine}{f', setting {args.setting}' if args.engine == 'nnunet' else ''}, preset "
        f"{args.preset}, seed {args.seed}{other_options(args)}; {wall:.0f} minutes (about {cpu:.0f} of CPU).",
    ]
    return "\n".join([*lines, "", " ".join(told)])


def other_options(args: argparse.Namespace) -> str:
    """The options of the trainings that are not the usual ones, for the caption."""
    usual = build_parser()
    trained = ("fixed_set", "checkpoint", "epochs", "iterations", "from_scratch")
    taught = ("without_stage1", "without_bias_field", "junior", "stage1", "stage2")
    given = {name: getattr(args, name) for name in (*trained, *taught)}
    changed = {name: value for name, value in given.items() if value != usual.get_default(name)}
    return "".join(
        f", {name.replace('_', '-')} {value}".replace(" True", "") for name, value in changed.items()
    )


# ---------------------------------------------------------------- the run


def check(args: argparse.Namespace, loop: NnunetLoop | PilotLoop) -> None:
    """Raise InputError for what would fail later on."""
    for option in ("stage1", "stage2"):
        try:
            shlex.split(getattr(args, option))
        except ValueError as error:
            raise InputError(f"--{option} {getattr(args, option)!r}: {error}") from error
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: needs 1 or more")
    for folder in (args.healthy, args.tumour_free):
        if folder:
            find_scans(folder)
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
    loop.check()


def options_of(loop: NnunetLoop | PilotLoop) -> dict[str, dict[str, object]]:
    """What makes a run this run, for the junior and for the senior."""
    args, own = loop.args, loop.options()
    junior = {
        "version": __version__,
        "engine": args.engine,
        **{name: str(path.resolve()) for name, path in scored(args).items()},
        "healthy": str(args.healthy.resolve()),
        "preset": args.preset,
        "seed": args.seed,
        "stage1": args.stage1,
    }
    senior = {"stage2": args.stage2, "from-scratch": args.from_scratch}
    return {"junior": junior | own["junior"], "senior": senior | own["senior"]}


def two_stage(args: argparse.Namespace) -> int:
    if args.cross_fit:
        loops, scores, done = cross_fit(args)
    else:
        loop = PilotLoop(args) if args.engine == "pilot" else NnunetLoop(args)
        check(args, loop)
        if args.dry_run:
            for step in loop.steps():
                if step.command:
                    print_safely(f"# {step.name}")
                    print_safely(shlex.join(step.command))
            return 0
        scores, done = run_loop(loop)
        loops = [loop]
    text = table(scores, args, done)
    write_bytes(f"{text}\n".encode(), args.output / "table.md")
    print_lines(text)
    if args.engine == "nnunet":
        draw(loops, scores, args.output)
    return 0


def draw(loops: list[NnunetLoop], scores: Scores, output: Path) -> None:
    """A picture of Dice against false tumour, and of the worst, the median and the best case."""
    from Figs import results

    points = output / "points.csv"
    write_points(loops, scores, points)
    results.draw(points, output / "results.png", strip(loops, scores))
    print_safely(f"picture: {output / 'results.png'}")


def run_loop(loop: NnunetLoop | PilotLoop) -> tuple[Scores, Done]:
    """All steps of a loop, or those left to do; its scores, and what each step took."""
    about = options_of(loop)
    if loop.args.junior and not (loop.work / "two_stage.json").exists():  # before the folder is this run's
        check_junior(about["junior"], loop.args.junior.resolve())
    done = begin(loop, about)
    if loop.args.junior and "junior: train" not in done:
        if isinstance(loop, NnunetLoop):
            borrow_junior(loop, about["junior"], done)
        else:
            borrow_pilot(loop, about["junior"], done)
        write_json(done, loop.work / "steps.json")
    do_all(loop.steps(), loop, done)
    scores = score(loop.args, loop)
    write_json(scores, loop.work / "scores.json")
    return scores, done


def cross_fit(args: argparse.Namespace) -> tuple[Loops, Scores, Done]:
    """Two loops with one junior; of a tumour-free scan, the mean of both seniors counts."""
    for option in ("test", "dry_run"):
        if getattr(args, option):
            raise InputError(f"--{option.replace('_', '-')}: not with --cross-fit; leave one of the two out")
    halves = halves_of(args.tumour, args.output)
    first = args.output / f"from-{halves[0].name}"
    engine = PilotLoop if args.engine == "pilot" else NnunetLoop
    loops: Loops = []
    for learnt, rest, junior in ((*halves, args.junior), (*halves[::-1], args.junior or first)):
        own = {
            "tumour": learnt,
            "test": rest,
            "output": args.output / f"from-{learnt.name}",
            "junior": junior,
        }
        loops.append(engine(argparse.Namespace(**vars(args) | own)))
        check(loops[-1].args, loops[-1])
    scores: Scores = {}
    done: Done = {}
    for loop in loops:
        half = loop.args.tumour.name
        print_safely(f"== pseudo-labels from the {half} half")
        found, steps = run_loop(loop)
        done |= {f"{half}: {name}": took for name, took in steps.items()}
        for row, columns in found.items():
            pooled = scores.setdefault(row, {"dice": {}, "false_ml": {}})
            pooled["dice"] |= columns["dice"]
            for name, ml in columns["false_ml"].items():
                pooled["false_ml"][name] = pooled["false_ml"].get(name, 0.0) + ml / 2
    write_json(scores, args.output / "scores.json")
    return loops, scores, done


def main(argv: list[str] | None = None) -> int:
    return run(two_stage, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
