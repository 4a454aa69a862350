#!/usr/bin/env python3
"""What would labels give? The same pilot network, trained on half of the labelled scans, scored on the rest.

Both ways round: every scan is scored by a network that has not seen it. The halves are every other scan by
name. False tumour is the mean of both networks; without tumour-free scans to learn from they have no
confidence gate. Needs the packages of requirements-pilot.txt.
"""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import two_stage  # noqa: E402
from benchmarks.pilot_loop import PilotLoop  # noqa: E402
from benchmarks.steps import (  # noqa: E402
    Step,
    begin,
    do_all,
    halves_of,
    print_lines,
    scored,
    script,
    write_scans,
)
from synthtumour import __version__  # noqa: E402
from synthtumour.dataset.nnunet import safe_name  # noqa: E402
from synthtumour.dataset.subjects import find_scans  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.volume.reading import read_volume  # noqa: E402
from synthtumour.volume.writing import write_volumes  # noqa: E402


class HalfTraining(PilotLoop):
    """A network that learns from the experts' labels of `learnt` and is scored on `args.tumour`."""

    rows = ("junior", "junior refined")

    def __init__(self, args: Namespace, learnt: Path) -> None:
        super().__init__(args)
        self.learnt = learnt

    def steps(self) -> list[Step]:
        place = self.work / "learnt"
        train = script(
            "pilot_network.py",
            *("train", self.weights("junior"), "--real", place / "imagesTr", place / "labelsTr"),
            *("--brain-masks", place / "masks", "--iterations", self.iterations["junior"]),
            *("--seed", self.args.seed, "--threads", self.args.threads),
        )
        scans = scored(self.args)
        return [
            Step("experts' labels", prepare=lambda: self.write_learnt(place)),
            Step("junior: train", train),
            Step("scans", prepare=lambda: [write_scans(scans[kind], self.work / kind) for kind in scans]),
            *self.predict("junior", scans),
        ]

    def write_learnt(self, place: Path) -> None:
        write_scans(self.learnt, place)
        (place / "labelsTr").mkdir(exist_ok=True)
        for scan in find_scans(self.learnt).scans:
            label = read_volume(two_stage.label_of(scan, self.args.labels_name))
            marked = label.with_array((label.array > 0).astype(np.uint8))
            write_volumes({place / "labelsTr" / f"{safe_name(scan.name)}.nii.gz": marked})


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="expert_labels.py", description=__doc__)
    parser.add_argument(
        "--tumour", type=Path, required=True, metavar="DIR", help="labelled scans, a folder each"
    )
    parser.add_argument(
        "--tumour-free", type=Path, required=True, metavar="DIR", help="scans for the false tumour"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="WORK", help="everything goes here")
    parser.add_argument(
        "--labels-name",
        default="whole_tumour.nii.gz",
        metavar="NAME",
        help="the experts' label beside a scan (default: %(default)s)",
    )
    parser.add_argument("--iterations", type=int, default=1500, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    add_program_options(parser)
    return parser


def training_on(learnt: Path, rest: Path, args: Namespace) -> HalfTraining:
    given = ["--healthy", args.tumour_free, "--tumour", rest, "--tumour-free", args.tumour_free]
    given += ["--output", args.output / f"learnt-{learnt.name}", "--labels-name", args.labels_name]
    given += ["--seed", args.seed, "--threads", args.threads, "--iterations", args.iterations, 1]
    return HalfTraining(two_stage.build_parser().parse_args([str(word) for word in given]), learnt)


def expert_labels(args: Namespace) -> int:
    if args.iterations < 1:
        raise InputError(f"--iterations {args.iterations}: needs 1 or more")
    odd, even = halves_of(args.tumour, args.output)
    found: dict[str, dict[str, list[float]]] = {}
    for learnt, rest in ((odd, even), (even, odd)):
        training = training_on(learnt, rest, args)
        two_stage.check(training.args, training)
        said = {"seed": args.seed, "iterations": args.iterations, "labels-name": args.labels_name}
        said |= {"version": __version__, "tumour-free": str(args.tumour_free.resolve())}
        about = {"labels": said}
        done = begin(training, about)
        do_all(training.steps(), training, done)
        scores = two_stage.score(training.args, training)
        write_json(scores, training.work / "scores.json")
        for row, columns in scores.items():
            for key, values in columns.items():
                found.setdefault(row, {}).setdefault(key, []).extend(values.values())
    named = {
        "threshold": "threshold",
        "junior": "experts' labels",
        "junior refined": "experts' labels, refined",
    }
    lines = ["| | Dice (median, least) | false tumour, ml |", "|---|---|---|"]
    for row, columns in found.items():
        dice = np.array(columns["dice"])
        lines.append(
            f"| {named[row]} | {dice.mean():.3f} ({np.median(dice):.3f}, {dice.min():.3f}) "
            f"| {np.mean(columns['false_ml']):.1f} |"
        )
    print_lines("\n".join(lines))
    return 0


def main(argv: list[str] | None = None) -> int:
    return run(expert_labels, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
