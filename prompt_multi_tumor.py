#!/usr/bin/env python3
"""Synthetic tumours in a folder of FLAIR scans: a Stage 1 dataset for nnU-Net."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from synthtumour.errors import require
from synthtumour.options.program import add_any_brain_volume, add_hidden_alias, rarely_needed, run
from synthtumour.options.runs import add_run_options, conduct_from
from synthtumour.options.tumours import add_rare_tumour_options, add_tumour_options, preset_from
from synthtumour.presets import CONTRASTS, Preset

EXAMPLES = """\
examples:
  python prompt_multi_tumor.py
  python prompt_multi_tumor.py --input SUBJECTS \\
      --output nnUNet_raw/Dataset101_SynthTumour --variants 8
  python prompt_multi_tumor.py --input BIDS \\
      --output nnUNet_raw/Dataset102_Small --max-volume 20000 --min-volume 500 \\
      --num-tumours 1 3 --add-untouched 0.2

A run that was interrupted is carried on by the same command; a finished one is
left as it is.
"""
DEMO_DATA = Path(__file__).resolve().parent / "DemoData"  # in the source, not beside an installed command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prompt_multi_tumor.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input",
        "-i",
        type=Path,
        default=DEMO_DATA,
        metavar="FOLDER",
        help="subject folders, a BIDS dataset, or nnU-Net cases CASE_0000.nii.gz (default: DemoData)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        default=Path("nnUNet_DataFramework/Task100_OASIS-PLBTS"),
        metavar="FOLDER",
        help="dataset to write: TaskNNN_Name for nnU-Net v1, DatasetNNN_Name for v2 (default: %(default)s)",
    )
    parser.add_argument(
        "--subjects",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="only these subjects or scans; the split stays that of the whole folder (for a leading dash: "
        "--subjects=-NAME)",
    )
    parser.add_argument(
        "--variants", type=int, default=1, metavar="N", help="synthetic cases a scan (default: %(default)s)"
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.5,
        metavar="F",
        help="part of the subjects that goes to the validation task (default: %(default)s)",
    )
    parser.add_argument(
        "--add-untouched",
        type=float,
        default=0.0,
        metavar="F",
        help="part of the training scans that is added untouched, with an empty label (default: %(default)s)",
    )
    parser.add_argument(
        "--without-tumour",
        type=float,
        metavar="P",
        help="how often a training case gets no tumour (with preset diverse, distractors only); 1 leaves all "
        "as they are, for the trainer that draws tumours; default: the preset's",
    )
    parser.add_argument(
        "--head-scale",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="write training cases with heads, tumours in them, of this many times their size: voxels stay, "
        "their size changes; default: the preset's",
    )
    add_run_options(parser)
    parser.add_argument(
        "--channels",
        nargs="+",
        choices=CONTRASTS,
        default=[],
        metavar="CONTRAST",
        help="channels of every head beside FLAIR: t1, t1ce, t2, in CONTRAST.nii.gz beside each scan, on its "
        "grid; they get the same tumours (preset diverse)",
    )
    add_tumour_options(parser)
    rare = rarely_needed(parser)
    rare.add_argument(
        "--image-name",
        metavar="NAME",
        help="scan in a subject's folder (default: flair.nii.gz, or as BraTS calls it); elsewhere what "
        "follows sub-*_ or CASE_ (default: FLAIR.nii.gz, 0000.nii.gz); or a pattern: '*_flair.nii*'",
    )
    rare.add_argument(
        "--mask-name",
        metavar="NAME",
        help="brain mask, named as --image-name is (default: <stem>_brainmask.nii.gz beside the scan)",
    )
    rare.add_argument(
        "--subject-pattern",
        metavar="REGEX",
        help="finds the subject in a scan's name, in its first group (default: as BIDS, ADNI, OASIS and "
        "BraTS name them, else the name)",
    )
    add_rare_tumour_options(rare)
    add_any_brain_volume(rare)
    add_hidden_alias(parser, "--tumour-free-fraction", "--add-untouched", type=float)
    add_hidden_alias(parser, "--tumour-free-probability", "--without-tumour", type=float)
    return parser


def prompt(args: argparse.Namespace) -> int:
    from synthtumour.stage1.plan import Stage1Run
    from synthtumour.stage1.run import make_dataset

    require(
        args.input != DEMO_DATA or DEMO_DATA.is_dir(),
        "--input: give the folder of your scans; DemoData comes with the source alone",
    )
    return make_dataset(
        Stage1Run(
            input=args.input,
            output=args.output,
            image_name=args.image_name,
            mask_name=args.mask_name,
            subjects=tuple(args.subjects),
            subject_pattern=args.subject_pattern,
            variants=args.variants,
            val_fraction=args.val_fraction,
            add_untouched=args.add_untouched,
            preset=preset_of(args),
            shape_engine=args.shape_engine,
            skull_strip=args.skull_strip,
            any_brain_volume=args.any_brain_volume,
            channels=tuple(args.channels),
            location_prior=args.location_prior,
            conduct=conduct_from(args),
        )
    )


def preset_of(args: argparse.Namespace) -> Preset:
    """The preset with the options that only datasets have."""
    preset = preset_from(args)
    if args.without_tumour is not None:
        preset = replace(preset, tumour_free_probability=args.without_tumour)
    if args.head_scale is not None:
        preset = replace(preset, head_scale=tuple(args.head_scale))
    return preset


def main(argv: list[str] | None = None) -> int:
    return run(prompt, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
