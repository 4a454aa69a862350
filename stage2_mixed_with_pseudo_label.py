#!/usr/bin/env python3
"""Mix real tumours, labelled by the junior, into tumour-free scans: Stage 2."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from synthtumour.options.mixing import (
    add_mixing_options,
    add_name_options,
    add_option,
    add_rare_mixing_options,
    add_refinement_options,
    limits_from,
    mixing_from,
)
from synthtumour.options.program import add_any_brain_volume, add_hidden_alias, rarely_needed, run
from synthtumour.options.runs import add_run_options, conduct_from

EXAMPLES = """\
examples:
  python stage2_mixed_with_pseudo_label.py --mask_check_path CHECK \\
      --imagesTr_path D/imagesTr --labelsTr_path D/labelsTr --healthyimgTr H
  python stage2_mixed_with_pseudo_label.py --mask_check_path CHECK \\
      --imagesTr_path D/imagesTr --labelsTr_path D/labelsTr --healthyimgTr H \\
      -num 500 --combine nnUNet_raw/Dataset102_Senior --preview

Writes D/imagesTrMix and D/labelsTrMix, and tables in CHECK. A run that was
interrupted is carried on by the same command; a finished one is left as it is.
Options may be written with - or with _.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stage2_mixed_with_pseudo_label.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("input and output")
    folder = partial(add_option, where, type=Path, metavar="FOLDER")
    folder(
        "--imagesTr_path",
        required=True,
        help="real tumour scans: nnU-Net form, subject folders, or a BIDS dataset",
    )
    folder("--labelsTr_path", required=True, help="their pseudo-labels")
    folder(
        "--healthyimgTr",
        required=True,
        help="tumour-free scans: nnU-Net form, subject folders, or a BIDS dataset",
    )
    folder(
        "--mask_check_path",
        help="tables and pictures (default: mask_check beside the folder of --imagesTr_path)",
    )
    add_option(
        where,
        "--mixid_csv_path",
        type=Path,
        metavar="CSV",
        help="default: CarveMixID.csv in --mask_check_path",
    )
    add_option(
        where,
        "--generate_number",
        "-num",
        type=int,
        default=200,
        metavar="N",
        help="mixed cases; 0, beside --combine: a dataset without any (default: 200)",
    )
    add_option(
        where,
        "--modality_num",
        "-mnum",
        type=int,
        default=1,
        metavar="N",
        help="channels _0000, _0001, ... of every scan, mixed alike (default: 1)",
    )
    add_option(where, "--prefix", metavar="NAME", help="<prefix>_CarveMix_<i> (default: the dataset's name)")
    for name, whose in (("--donor-masks", "--imagesTr_path"), ("--healthy-masks", "--healthyimgTr")):
        folder(
            name,
            help=f"brain masks CASE.nii.gz for {whose} (default: beside the scans; stripped scans need none)",
        )
    add_option(where, "--skull-strip", action="store_true", help="set everything outside the brains to zero")
    add_mixing_options(parser)
    add_refinement_options(parser)
    senior = parser.add_argument_group("the senior network's training set")
    folder = partial(add_option, senior, type=Path, metavar="FOLDER")
    folder(
        "--combine",
        help="DatasetNNN_Name or TaskNNN_Name to write: mixed cases, the real scans with their pseudo-labels "
        "and a split. Pairs are then made within each side of the split (default: none)",
    )
    folder(
        "--stage1",
        help="the junior's dataset: its cases are learnt from too (default: none). Give both stages the "
        "same --seed and --val-fraction: a case whose subject is on the other side here is left out",
    )
    add_option(
        senior,
        "--add-untouched",
        type=float,
        default=0.0,
        metavar="F",
        help="part of the tumour-free scans added untouched, with an empty label (default: %(default)s)",
    )
    add_option(
        senior,
        "--val-fraction",
        type=float,
        default=0.2,
        metavar="F",
        help="part of the subjects on the validation side (default: %(default)s)",
    )
    add_run_options(parser)
    rare = rarely_needed(parser)
    add_option(
        rare,
        "--subject-pattern",
        metavar="REGEX",
        help="finds the subject in a scan's name, in its first group (default: Stage 1's manifest.csv, as "
        "BIDS, ADNI, OASIS and BraTS name them, or the name without _vNN and val)",
    )
    add_name_options(rare)
    add_rare_mixing_options(rare)
    add_any_brain_volume(rare)
    for old in ("--tumour-free-fraction", "--tumour_free_fraction"):
        add_hidden_alias(parser, old, "--add-untouched", type=float)
    return parser


def stage2(args: argparse.Namespace) -> int:
    from synthtumour.stage2.plan import Stage2Run, default_prefix
    from synthtumour.stage2.run import mix_tumours

    tables = args.mask_check_path or args.imagesTr_path.parent / "mask_check"
    return mix_tumours(
        Stage2Run(
            images=args.imagesTr_path,
            labels=args.labelsTr_path,
            healthy=args.healthyimgTr,
            tables=tables,
            mix_ids=args.mixid_csv_path or tables / "CarveMixID.csv",
            prefix=default_prefix(args.imagesTr_path) if args.prefix is None else args.prefix,
            number=args.generate_number,
            channels=args.modality_num,
            donor_masks=args.donor_masks,
            healthy_masks=args.healthy_masks,
            skull_strip=args.skull_strip,
            any_brain_volume=args.any_brain_volume,
            mixing=mixing_from(args),
            limits=limits_from(args),
            combine=args.combine,
            stage1=args.stage1,
            add_untouched=args.add_untouched,
            val_fraction=args.val_fraction,
            subject_pattern=args.subject_pattern,
            image_name=args.image_name,
            label_name=args.label_name,
            conduct=conduct_from(args),
        )
    )


def main(argv: list[str] | None = None) -> int:
    return run(stage2, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
