#!/usr/bin/env python3
"""Refine labels of any network: their borders where the scans' contrast says.

Marks that nnU-Net was not sure enough of can be dropped first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from synthtumour.options.mixing import add_name_options, refinement_from
from synthtumour.options.program import add_any_brain_volume, rarely_needed, run
from synthtumour.options.runs import add_run_options, conduct_from
from synthtumour.presets import Refinement

EXAMPLES = """\
examples:
  python refine_pseudo_label.py --images D/imagesTr --labels PREDICTIONS \\
      --output REFINED --preview
  python refine_pseudo_label.py --images D/imagesTr --labels PREDICTIONS \\
      --output REFINED --softmax 0.3 --refine-level 0.4
  python refine_pseudo_label.py --images D/imagesTr --labels PREDICTIONS \\
      --output REFINED --gate-from FOLD_0/validation \\
      nnUNet_raw/Dataset101_SynthTumour/labelsTr

CASE_0000.nii.gz and CASE.nii.gz give REFINED/CASE.nii.gz. A run that was
interrupted is carried on by the same command; a finished one is left as it is.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refine_pseudo_label.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("input and output")
    for name, required, text in (
        ("--images", True, "FLAIR scans CASE_0000.nii.gz, or in subject folders, or a BIDS dataset"),
        (
            "--labels",
            True,
            "their labels CASE.nii.gz: 1 = tumour, or BraTS's values (a folder of nnU-Net's "
            "predictions, say)",
        ),
        ("--output", True, "the refined labels, by the same names, and tables and pictures"),
        (
            "--brain-masks",
            False,
            "brain masks CASE.nii.gz (default: beside the scans; stripped scans need none)",
        ),
    ):
        where.add_argument(name, type=Path, metavar="FOLDER", required=required, help=text)
    gate = parser.add_argument_group("confidence gate")
    gate.add_argument(
        "--gate-from",
        type=Path,
        nargs=2,
        metavar=("FOLDER", "LABELS"),
        help="drop marks of which nnU-Net is far less sure than of the tumours in its validation cases: "
        "fold_0/validation, which nnUNetv2_train --npz writes, and the dataset's labelsTr. Needs CASE.npz "
        "beside the --labels (nnUNetv2_predict --save_probabilities; default: nothing is dropped)",
    )
    gate.add_argument(
        "--confirmed-by",
        type=Path,
        metavar="FOLDER",
        help="labels CASE.nii.gz of another network, of a senior's junior say: marks that touch none of them "
        "are dropped (default: nothing is dropped)",
    )
    how, usual = parser.add_argument_group("refinement"), Refinement()
    how.add_argument(
        "--refine",
        choices=("on", "off"),
        default="on",
        help="off: drop what the gate drops, and leave borders as they are (default: %(default)s)",
    )
    how.add_argument(
        "--softmax",
        type=float,
        metavar="P",
        help="refine the largest part of what nnU-Net's CASE.npz beside a label gives at least this "
        "probability of tumour (default: refine the label)",
    )
    how.add_argument(
        "--refine-mm",
        type=float,
        default=usual.reach_mm,
        metavar="MM",
        help="how far from the label tumour is looked for (default: %(default)s)",
    )
    how.add_argument(
        "--refine-level",
        type=float,
        default=usual.level,
        metavar="L",
        help="where its border lies between the level of tissue, 0, and of tumour, 1 (default: %(default)s)",
    )
    add_run_options(parser, draws=False)
    rare = rarely_needed(parser)
    add_name_options(rare)
    add_any_brain_volume(rare)
    return parser


def refine(args: argparse.Namespace) -> int:
    from synthtumour.stage2.refine import RefineRun, refine_labels

    return refine_labels(
        RefineRun(
            images=args.images,
            labels=args.labels,
            output=args.output,
            brain_masks=args.brain_masks,
            image_name=args.image_name,
            label_name=args.label_name,
            threshold=args.softmax,
            how=refinement_from(args) if args.refine == "on" else None,
            gate_from=args.gate_from and tuple(args.gate_from),
            confirmed_by=args.confirmed_by,
            any_brain_volume=args.any_brain_volume,
            conduct=conduct_from(args),
        )
    )


def main(argv: list[str] | None = None) -> int:
    return run(refine, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
