#!/usr/bin/env python3
"""Which checkpoint of the junior is best on real tumours, and which one does each rule choose?

Trains a junior on a Stage 1 dataset as two_stage.py does (real nnU-Net v2, setting `small`: a CPU is enough),
keeps a checkpoint every few epochs, and scores each on three sets that it never saw: the training task on
held-out subjects (plain validation), the validation task on the same subjects with the same tumours (shifted
validation), and real tumours. Dice is at the scans' own resolution, inside the brain, mean over cases.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import two_stage  # noqa: E402
from benchmarks.nnunet_loop import NnunetLoop  # noqa: E402
from benchmarks.steps import Step, begin, do_all, script  # noqa: E402
from synthtumour.dataset.nnunet import VAL_SUFFIX, safe_name  # noqa: E402
from synthtumour.dataset.sides import validation_subjects  # noqa: E402
from synthtumour.dataset.subjects import find_scans  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.files.staging import write_bytes, write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.presets import PRESETS  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402

EXAMPLES = """\
example:
  python benchmarks/selection_curve.py --healthy DATA/healthy --tumour DATA/tumour --output WORK

An interrupted run is carried on by the same command.
"""
PLAIN = "Dataset103_Plain"
STEPS = {"num_iterations_per_epoch": 12, "num_val_iterations_per_epoch": 6}
SETS = ("plain", "shifted", "real")
VAL_FRACTION = 0.5  # as in the published tool
EARLY_EPOCHS = (1, 2, 3, 4, 6, 8)  # scored too: most is learnt in them
SCORED_VARIANTS = 2  # of each held-out scan; all of them would cost three times as much


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="selection_curve.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--healthy", type=Path, required=True, metavar="DIR", help="tumour-free scans")
    parser.add_argument("--tumour", type=Path, required=True, metavar="DIR", help="scans of real tumours")
    parser.add_argument(
        "--labels-name",
        default="whole_tumour.nii.gz",
        metavar="NAME",
        help="the experts' label beside such a scan (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="WORK", help="everything goes here")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="paper", help="of Stage 1 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of Stage 1 and of the training")
    parser.add_argument(
        "--epochs", type=int, default=125, metavar="N", help="of 12 iterations (default: %(default)s)"
    )
    parser.add_argument(
        "--every", type=int, default=5, metavar="N", help="epochs between checkpoints (default: %(default)s)"
    )
    add_program_options(parser)
    return parser


# ---------------------------------------------------------------- the training


def loop_of(args: argparse.Namespace) -> NnunetLoop:
    """two_stage.py's loop, with a junior that keeps its checkpoints."""
    given = ["--healthy", args.healthy, "--tumour", args.tumour, "--labels-name", args.labels_name]
    given += ["--output", args.output, "--preset", args.preset, "--seed", args.seed]
    given += ["--engine", "nnunet", "--fixed-set", "--rounds", 0, "--epochs", args.epochs, 1]
    # as the published tool: no tumour-free case
    given += [f"--stage1=--val-fraction {VAL_FRACTION} --add-untouched 0"]
    loop = NnunetLoop(two_stage.build_parser().parse_args([str(value) for value in given]))
    loop.small["junior"] |= {**STEPS, "keep_epochs": kept_epochs(args)}
    return loop


def kept_epochs(args: argparse.Namespace) -> list[int]:
    """The epochs after which a checkpoint is kept and scored."""
    regular = range(args.every, args.epochs + 1, args.every)
    return sorted({*regular, *(epoch for epoch in EARLY_EPOCHS if epoch < args.epochs), args.epochs})


def steps_of(loop: NnunetLoop, args: argparse.Namespace) -> list[Step]:
    """Those of the junior up to its training, and the plain validation cases: the same tumours as the
    shifted ones, which have the same subject, variant and seed, by the training task's rule."""
    held_out = validation_subjects(
        {scan.subject for scan in find_scans(args.healthy).scans}, VAL_FRACTION, args.seed
    )
    plain = script(
        "prompt_multi_tumor.py",
        *("--input", args.healthy.resolve(), "--output", loop.raw / PLAIN, "--skull-strip"),
        *("--preset", args.preset, "--variants", SCORED_VARIANTS, "--seed", args.seed),
        *("--val-fraction", 0, "--workers", 1, *(f"--subjects={name}" for name in sorted(held_out))),
    )
    junior = {step.name: step for step in loop.steps()}
    plan, preprocess, train = (junior[f"junior: {name}"] for name in ("plan", "preprocess", "train"))
    return [
        junior["Stage 1"],
        Step("plain validation", plain),
        junior["scans: tumour"],
        plan,
        preprocess,
        train,
    ]


# ---------------------------------------------------------------- the scores


@dataclass(frozen=True, eq=False)
class Scored:
    """A case as nnU-Net preprocesses it, and what its prediction is compared with."""

    data: Any  # torch tensor
    properties: dict[str, Any]
    truth: np.ndarray  # bool, z y x as nnU-Net predicts
    brain: np.ndarray


def cases_of(
    loop: NnunetLoop, args: argparse.Namespace
) -> dict[str, dict[str, tuple[Path, Path, Path | None]]]:
    """Image, label and brain mask (None: what is not zero) of each case, by set."""
    sets: dict[str, dict[str, tuple[Path, Path, Path | None]]] = {name: {} for name in SETS}
    for path in sorted((loop.raw / PLAIN / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        for name, folder, full in (
            ("plain", PLAIN, case),
            ("shifted", loop.datasets["junior"], f"{case}{VAL_SUFFIX}"),
        ):
            image = loop.raw / folder / "imagesTr" / f"{full}_0000.nii.gz"
            sets[name][case] = image, loop.raw / folder / "labelsTr" / f"{full}.nii.gz", None
    for scan in find_scans(args.tumour).scans:
        name = safe_name(scan.name)
        image = loop.work / "tumour/imagesTr" / f"{name}_0000.nii.gz"
        mask = loop.work / "tumour/masks" / f"{name}.nii.gz"
        sets["real"][name] = image, two_stage.label_of(scan, args.labels_name), mask
    return sets


def score(loop: NnunetLoop, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Dice of every case of every set, for every checkpoint that was kept; each is written once scored."""
    os.environ |= loop.environment  # nnU-Net reads it when imported
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as segmentation_of,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(1)
    fold, record = loop.fold("junior"), loop.work / "scores.json"
    rows = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    curves = json.loads((fold / "curves.json").read_text(encoding="utf-8"))
    # as `nnUNetv2_predict --disable_tta`
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    sets: dict[str, dict[str, Scored]] = {}
    for epoch in kept_epochs(args):
        if any(row["epoch"] == epoch for row in rows):
            continue
        with contextlib.redirect_stdout(io.StringIO()):  # it tells where it looks for the trainer
            predictor.initialize_from_trained_model_folder(
                str(fold.parent), (0,), checkpoint_name=f"checkpoint_{epoch:04d}.pth"
            )
        if not sets:
            sets = {
                name: {case: preprocessed(predictor, *files) for case, files in cases.items()}
                for name, cases in cases_of(loop, args).items()
            }
        plans = (predictor.plans_manager, predictor.configuration_manager, predictor.label_manager)
        row: dict[str, Any] = {
            "epoch": epoch,
            "iterations": epoch * int(STEPS["num_iterations_per_epoch"]),
            "training_loss": round(curves["train_losses"][epoch - 1], 4),  # mean over the epoch
            "running_shifted_dice": round(curves["ema_fg_dice"][epoch - 1], 4),  # what checkpoint_best is by
        }
        for name, cases in sets.items():
            row[name] = {}
            for case, scored in cases.items():
                logits = predictor.predict_logits_from_preprocessed_data(scored.data)
                found = segmentation_of(logits, *plans, scored.properties, num_threads_torch=1) > 0
                row[name][case] = round(two_stage.dice(found & scored.brain, scored.truth), 4)
        rows.append(row)
        write_json(rows, record)
        means = ", ".join(f"{name} {np.mean(list(row[name].values())):.3f}" for name in SETS)
        print_safely(f"{row['iterations']:5d} iterations, loss {row['training_loss']:.3f}, Dice: {means}")
        sys.stdout.flush()
    return rows


def preprocessed(predictor: Any, image: Path, label: Path, mask: Path | None) -> Scored:
    import torch

    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case(
        [str(image)], None, plans, configuration, predictor.dataset_json
    )
    reader = plans.image_reader_writer_class()
    as_read = lambda path: reader.read_seg(str(path))[0][0] > 0  # noqa: E731
    return Scored(torch.from_numpy(data), properties, as_read(label), as_read(mask or image))


def curve_of(scores: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each checkpoint: mean Dice of each set, that of each real tumour, which rules choose it."""
    rows = []
    for row in scores:
        means = {name: float(np.mean(list(row[name].values()))) for name in SETS}
        each = {f"real_{n}": dice for n, dice in enumerate(row["real"].values(), 1)}
        rows.append({key: row[key] for key in row if key not in SETS} | means | each)
    curve = pd.DataFrame(rows).round(4)
    curve["chosen_by"] = ""
    for rule, number in chosen(curve).items():
        curve.loc[number, "chosen_by"] += f"{rule}; "
    curve["chosen_by"] = curve["chosen_by"].str.removesuffix("; ")
    return curve


def chosen(curve: pd.DataFrame) -> dict[str, int]:
    """The number of the row that each rule chooses: the first one where several are as good."""
    return {
        "last checkpoint": len(curve) - 1,
        "lowest training loss": int(curve["training_loss"].argmin()),
        "best plain validation": int(curve["plain"].argmax()),
        "best shifted validation": int(curve["shifted"].argmax()),
        "best on the real tumours": int(curve["real"].argmax()),  # nobody knows it without their labels
    }


def table(curve: pd.DataFrame) -> str:
    """Markdown: what each rule chooses."""
    lines = [
        "| checkpoint | iterations | training loss | Dice: plain | shifted | real tumours (each) |",
        "|---|---|---|---|---|---|",
    ]
    for rule, number in chosen(curve).items():
        row = curve.iloc[number]
        each = ", ".join(f"{dice:.2f}" for dice in row.filter(like="real_"))
        scores = f"{row['plain']:.3f} | {row['shifted']:.3f} | **{row['real']:.3f}** ({each})"
        lines.append(f"| {rule} | {row['iterations']} | {row['training_loss']:.3f} | {scores} |")
    return "\n".join(lines)


# ---------------------------------------------------------------- the run


def selection_curve(args: argparse.Namespace) -> int:
    if not 1 <= args.every <= args.epochs:
        raise InputError(f"--every {args.every}: needs 1 to {args.epochs} epochs")
    loop = loop_of(args)
    two_stage.check(loop.args, loop)
    steps = steps_of(loop, args)
    do_all(steps, loop, begin(loop, {"junior": two_stage.options_of(loop)["junior"]}))
    from Figs.selection import draw

    curve, path = curve_of(score(loop, args)), loop.work / "selection_curve.csv"
    write_bytes(curve.to_csv(index=False).encode(), path)
    draw(path, loop.work / "selection.png")
    for line in table(curve).splitlines():
        print_safely(line)
    print_safely(f"curve: {path}; picture: {loop.work / 'selection.png'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run(selection_curve, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
