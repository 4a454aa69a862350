#!/usr/bin/env python3
"""What do tumours teach, and which parts of a preset help? Trains the pilot network on each variant.

Each variant is a preset with some of its options changed. For each seed a network learns from its tumours,
drawn anew at every step in tumour-free scans, and is scored on real tumours (whole-tumour Dice, as marked and
refined) and on tumour-free scans that it has not seen (ml of false tumour a scan, behind the confidence gate
and without it). Prints the means over the seeds. Needs the packages of requirements-pilot.txt.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import two_stage  # noqa: E402
from benchmarks.pilot_loop import PilotLoop  # noqa: E402
from benchmarks.steps import Step, begin, do_all  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.presets import PRESETS  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402

EXAMPLES = """\
example:
  python benchmarks/ablation.py --healthy DATA/healthy --tumour DATA/tumour \\
      --tumour-free DATA/healthy_unseen --output WORK --variants paper diverse

An interrupted run is carried on by the same command: what has ended is not repeated.
"""
# What each variant gives to `pilot_network.py train`: the preset of this name, or diverse with options.
VARIANTS = {
    "paper": (),
    "diverse": (),
    "no-core": ("--core-probability", "0"),
    "many-cores": ("--core-probability", "0.5"),
    "no-texture": ("--texture", "0"),
    "nodules": ("--nodules", "0.3", "--min-volume", "1000"),
    "small-too": ("--min-volume", "1000"),
    "no-distractors": ("--distractors", "0"),
    "no-growth": ("--shape", "noisy"),
    "one-tumour": ("--num-tumours", "1"),
    "mass-effect": ("--mass-effect", "0", "8"),
    "masses": ("--masses", "0.5"),
    "more-distractors": ("--distractors", "0.8"),
    "wider": ("--intensity-range", "2", "7"),
    "fainter": ("--intensity-range", "1.5", "6"),
    "no-tumour-free": ("--tumour-free-share", "0"),
}
UNGATED = "junior ungated"


class Training(PilotLoop):
    """A junior, and what it marks with its confidence gate, without it, and refined."""

    rows = ("junior", "junior refined", UNGATED)

    def steps(self) -> list[Step]:
        steps = self.junior_steps()
        marked = {step.name: step.command for step in steps}
        for kind in ("tumour", "tumour_free"):
            command = list(marked[f"junior: predict {kind}"])
            command[command.index("--output") + 1] = str(self.predictions(UNGATED, kind))
            steps.append(Step(f"{UNGATED}: predict {kind}", (*command, "--min-logit", "0")))
        return steps


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ablation.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--healthy", type=Path, required=True, metavar="DIR", help="tumour-free scans")
    parser.add_argument("--tumour", type=Path, required=True, metavar="DIR", help="labelled scans of tumours")
    parser.add_argument(
        "--tumour-free",
        type=Path,
        required=True,
        metavar="DIR",
        help="tumour-free scans of other subjects, for the false tumour",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="WORK", help="everything goes here")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar="NAME",
        help=f"of {', '.join(VARIANTS)} (default: all)",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=seed, default=[0, 1, 2], metavar="N", help="of the trainings (0 1 2)"
    )
    parser.add_argument(
        "--iterations", type=int, default=1500, metavar="N", help="of each training (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of each training (default: %(default)s)"
    )
    add_program_options(parser)
    return parser


def training_of(args: argparse.Namespace, variant: str, number: int) -> Training:
    given = ["--healthy", args.healthy, "--tumour", args.tumour, "--tumour-free", args.tumour_free]
    given += ["--output", args.output / f"{variant}-{number}", "--seed", number]
    given += ["--preset", variant if variant in PRESETS else "diverse"]
    given += ["--iterations", args.iterations, 1, "--threads", args.threads]
    given += [f"--stage1={' '.join(VARIANTS[variant])}"]
    return Training(two_stage.build_parser().parse_args([str(word) for word in given]))


def row_of(training: Training, variant: str) -> dict[str, Any]:
    """What one network reaches, measured now or in an earlier run."""
    two_stage.check(training.args, training)
    steps = training.steps()
    done = begin(training, {"junior": two_stage.options_of(training)["junior"]})
    do_all(steps, training, done)
    path = training.work / "scores.json"
    if not path.exists():
        write_json(two_stage.score(training.args, training), path)
    scores = json.loads(path.read_text(encoding="utf-8"))
    mean = {
        (row, what): float(np.mean(list(figures[what].values())))
        for row, figures in scores.items()
        for what in ("dice", "false_ml")
    }
    return {
        "variant": variant,
        "seed": training.args.seed,
        "threshold": mean["threshold", "dice"],
        "marked": mean["junior", "dice"],
        "refined": mean["junior refined", "dice"],
        "false_ml": mean["junior refined", "false_ml"],
        "marked_ungated": mean[UNGATED, "dice"],
        "false_ml_ungated": mean[UNGATED, "false_ml"],
        "minutes": done["junior: train"]["cpu_s"] / 60,
    }


def table(trainings: pd.DataFrame) -> str:
    """Markdown: means over the seeds, each with the seeds' own figures; one row a variant."""
    columns = {
        "marked": ("Dice as marked", ".3f"),
        "refined": ("Dice refined", ".3f"),
        "false_ml": ("false tumour, ml", ".1f"),
        "false_ml_ungated": ("without the gate", ".1f"),
    }
    lines = ["| | " + " | ".join(title for title, _ in columns.values()) + " |", "|---" * 5 + "|"]
    lines.append(f"| FLAIR threshold | {trainings['threshold'].mean():.3f} | | | |")
    for variant, of_it in trainings.groupby("variant", sort=False):
        cells = []
        for column, (_, form) in columns.items():
            each = ", ".join(f"{value:{form}}" for value in of_it[column])
            cells.append(f"{of_it[column].mean():{form}} ({each})")
        lines.append(f"| `{variant}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ablation(args: argparse.Namespace) -> int:
    if args.iterations < 1:
        raise InputError(f"--iterations {args.iterations}: needs 1 or more")
    args.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in args.seeds:
        for variant in args.variants:
            print_safely(f"== {variant}, seed {number}")
            rows.append(row_of(training_of(args, variant, number), variant))
    trainings = pd.DataFrame(rows)
    trainings.to_csv(args.output / "trainings.csv", index=False)
    for line in table(trainings).splitlines():
        print_safely(line)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run(ablation, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
