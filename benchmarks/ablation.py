#!/usr/bin/env python3
"""Which parts of the preset `diverse` help? Trains on datasets that lack one of them, and scores each.

Makes a Stage 1 dataset of each variant from the same tumour-free scans, hands it to a RULER once for each
seed, and prints the means over the seeds. A ruler is a script that takes a dataset, --tumour DIR,
--healthy DIR, --iterations N, --seed N, --threads N and --out FILE, trains a network, scores it on real
tumours and tumour-free scans, and writes {"threshold": D, "selected": S, "last": S} where S has dice_mean
and false_positive_ml: "selected" is the checkpoint that the cases of the validation task chose.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402

EXAMPLES = """\
example:
  python benchmarks/ablation.py --ruler ruler.py --healthy DATA/healthy --tumour DATA/tumour \\
      --output WORK --variants paper diverse --jobs 2

An interrupted run is carried on by the same command: trainings that have ended are not repeated.
"""
# What each variant gives to prompt_multi_tumor.py.
VARIANTS = {
    "paper": ("--preset", "paper"),
    "diverse": (),
    "no-core": ("--core-probability", "0"),
    "no-texture": ("--texture", "0"),
    "nodules": ("--nodules", "0.3", "--min-volume", "1000"),
    "no-distractors": ("--distractors", "0"),
    "no-tumour-free": ("--without-tumour", "0"),
    "few-tumour-free": ("--without-tumour", "0.05"),
    "one-tumour": ("--num-tumours", "1"),
    "no-growth": ("--shape", "noisy"),
    "small-too": ("--min-volume", "1000"),
    "mass-effect": ("--mass-effect", "2", "8"),
    "val-flat": ("--val-task", "flat"),
    "val-rings": ("--val-task", "rings"),
    "val-mixed": ("--val-task", "mixed"),
    "many-cores": ("--core-probability", "0.5"),
    "few-val": ("--val-fraction", "0.2"),
    "smaller-heads": ("--head-scale", "0.6", "0.9"),
    "fainter": ("--intensity-range", "1.5", "6"),
}
CASES_A_SCAN = 6  # 90 from 15 scans


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ablation.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ruler", type=Path, required=True, metavar="SCRIPT", help="see above")
    parser.add_argument("--healthy", type=Path, required=True, metavar="DIR", help="tumour-free scans")
    parser.add_argument("--tumour", type=Path, required=True, metavar="DIR", help="scans of real tumours")
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
        "--iterations", type=int, default=800, metavar="N", help="of each training (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time, a thread each")
    add_program_options(parser)
    return parser


def made_dataset(variant: str, healthy: Path, output: Path) -> Path:
    """The Stage 1 dataset of a variant; one that is there already is left as it is."""
    dataset = output / f"Dataset{list(VARIANTS).index(variant) + 1:03d}_{variant}"
    options = ("--preset", "diverse", *VARIANTS[variant], "--variants", str(CASES_A_SCAN), "--skull-strip")
    command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), *options, "--quiet"]
    made = subprocess.run([*command, "--input", str(healthy), "--output", str(dataset)])
    if made.returncode:
        raise InputError(f"{dataset}: could not be made, see above")
    return dataset


class Trainings:
    """The ruler's work on the datasets, each training in a process (and session) of its own."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.running: set[subprocess.Popen[bytes]] = set()

    def row(self, variant: str, dataset: Path, number: int) -> dict[str, Any]:
        """What the ruler measured on one dataset with one seed, now or in an earlier run."""
        args = self.args
        result = args.output / f"{dataset.name}_{args.iterations}_{number}.json"
        where = [str(path.resolve()) for path in (args.ruler, args.tumour, args.healthy)]
        if not result.exists():
            write_json({"measured_with": where, **self._measured(dataset, number, result)}, result)
        measured = json.loads(result.read_text(encoding="utf-8"))
        if measured["measured_with"] != where:
            raise InputError(f"{result}: is of another ruler or other scans; choose another --output")
        row = {"variant": variant, "seed": number, "threshold_dice": measured["threshold"]}
        for which in ("selected", "last"):
            row[f"{which}_dice"] = measured[which]["dice_mean"]
            row[f"{which}_ml"] = measured[which]["false_positive_ml"]
        return row

    def _measured(self, dataset: Path, number: int, result: Path) -> dict[str, Any]:
        args, log, out = self.args, result.with_suffix(".log"), result.with_suffix(".part")
        command = [sys.executable, str(args.ruler), str(dataset), "--iterations", str(args.iterations)]
        command += ["--seed", str(number), "--threads", "1", "--out", str(out)]
        command += ["--tumour", str(args.tumour), "--healthy", str(args.healthy)]
        out.unlink(missing_ok=True)
        with (
            log.open("w") as file,
            subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True) as process,
        ):
            self.running.add(process)
            code = process.wait()
            self.running.discard(process)
        if code or not out.exists():
            raise InputError(f"{args.ruler}: failed on {dataset.name} with seed {number}; see {log}")
        measured: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        out.unlink()
        return measured

    def stop(self) -> None:
        for process in tuple(self.running):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)


def table(trainings: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds, with the standard deviation of Dice; one row a variant."""
    groups = trainings.groupby("variant", sort=False)
    means = groups.mean(numeric_only=True).drop(columns="seed").round({"selected_ml": 1, "last_ml": 1})
    for which in ("selected", "last"):
        spread = groups[f"{which}_dice"].std().fillna(0)
        pairs = zip(means[f"{which}_dice"], spread, strict=True)
        means[f"{which}_dice"] = [f"{mean:.3f} +- {deviation:.3f}" for mean, deviation in pairs]
    means.insert(0, "seeds", groups.size())
    return means.round(3)


def main(args: argparse.Namespace) -> int:
    for path in (args.ruler, args.healthy, args.tumour):
        if not path.exists():
            raise InputError(f"{path}: not found")
    if args.jobs < 1 or args.iterations < 1:
        raise InputError("--jobs and --iterations: need 1 or more")
    args.output.mkdir(parents=True, exist_ok=True)
    datasets = {name: made_dataset(name, args.healthy, args.output) for name in args.variants}
    work, rows = Trainings(args), []
    pool = ThreadPoolExecutor(args.jobs)
    try:
        wanted = [(name, datasets[name], number) for number in args.seeds for name in args.variants]
        for row in pool.map(lambda which: work.row(*which), wanted):
            rows.append(row)
            print_safely(", ".join(f"{key} {value}" for key, value in row.items()))
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if not isinstance(error, InputError):  # after a failure, what is under way still counts
            work.stop()
        raise
    trainings = pd.DataFrame(rows)
    trainings.to_csv(args.output / "trainings.csv", index=False)
    print("means over the seeds: Dice of real tumours, ml of false tumour in a tumour-free scan")
    print(table(trainings).reset_index().to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main, build_parser(), None))
