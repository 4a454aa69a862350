#!/usr/bin/env python3
"""Synthetic tumours in a folder of FLAIR scans: a Stage 1 dataset for nnU-Net."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from synthtumour.errors import require
from synthtumour.options.dataset import add_dataset_options, add_layout_options, dataset_preset_from
from synthtumour.options.program import add_any_brain_volume, rarely_needed, run
from synthtumour.options.runs import add_run_options, conduct_from
from synthtumour.options.tumours import add_rare_tumour_options, add_tumour_options

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
    group = parser.add_argument_group("input and output")
    group.add_argument(
        "--input",
        "-i",
        type=Path,
        default=DEMO_DATA,
        metavar="FOLDER",
        help="subject folders, a BIDS dataset, or nnU-Net cases CASE_0000.nii.gz (default: DemoData)",
    )
    group.add_argument(
        "--output",
        "-o",
        type=Path,
        default=Path("nnUNet_DataFramework/Task100_OASIS-PLBTS"),
        metavar="FOLDER",
        help="dataset to write: TaskNNN_Name for nnU-Net v1, DatasetNNN_Name for v2 (default: %(default)s)",
    )
    add_dataset_options(group)
    add_tumour_options(parser)
    add_run_options(parser)
    rare = rarely_needed(parser)
    add_layout_options(rare)
    add_rare_tumour_options(rare)
    add_any_brain_volume(rare)
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
            preset=dataset_preset_from(args),
            shape_engine=args.shape_engine,
            skull_strip=args.skull_strip,
            any_brain_volume=args.any_brain_volume,
            channels=tuple(args.channels),
            location_prior=args.location_prior,
            conduct=conduct_from(args),
        )
    )


def main(argv: list[str] | None = None) -> int:
    return run(prompt, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
