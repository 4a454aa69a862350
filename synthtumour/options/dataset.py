"""Options of a Stage 1 dataset: which scans, how many cases of each, on which side, which stay untouched."""

from __future__ import annotations

import argparse
from dataclasses import replace

from synthtumour.options.program import add_hidden_alias
from synthtumour.options.tumours import by_preset, preset_from
from synthtumour.presets import CONTRASTS, Preset


def add_dataset_options(group: argparse._ArgumentGroup) -> None:
    """Those that most users need."""
    group.add_argument(
        "--subjects",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="only these subjects or scans; the split stays that of the whole folder (for a leading dash: "
        "--subjects=-NAME; default: all)",
    )
    group.add_argument(
        "--variants", type=int, default=1, metavar="N", help="synthetic cases a scan (default: %(default)s)"
    )
    group.add_argument(
        "--val-fraction",
        type=float,
        default=0.5,
        metavar="F",
        help="part of the subjects that goes to the validation task (default: %(default)s)",
    )
    group.add_argument(
        "--add-untouched",
        type=float,
        default=0.0,
        metavar="F",
        help="part of the training scans that is added untouched, with an empty label (default: %(default)s)",
    )
    group.add_argument(
        "--without-tumour",
        type=float,
        metavar="P",
        help="how often a training case gets no tumour (with preset diverse, distractors only); 1 leaves all "
        "as they are, for the trainer that draws tumours "
        f"{by_preset('tumour_free_probability')}",
    )
    group.add_argument(
        "--head-scale",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="training cases get heads of so many times their size; only the voxel size in the file changes "
        "(default: as scanned)",
    )
    group.add_argument(
        "--channels",
        nargs="+",
        choices=CONTRASTS,
        default=[],
        metavar="CONTRAST",
        help="channels of every head beside FLAIR: t1, t1ce, t2, in CONTRAST.nii.gz beside each scan, on its "
        "grid; they get the same tumours (preset diverse; default: FLAIR alone)",
    )
    add_hidden_alias(group, "--tumour-free-fraction", "--add-untouched", type=float)
    add_hidden_alias(group, "--tumour-free-probability", "--without-tumour", type=float)


def add_layout_options(group: argparse._ArgumentGroup) -> None:
    """How scans, brain masks and subjects are called where the usual names are not."""
    group.add_argument(
        "--image-name",
        metavar="NAME",
        help="scan in a subject's folder (default: flair.nii.gz, or as BraTS calls it); elsewhere what "
        "follows sub-*_ or CASE_ (default: FLAIR.nii.gz, 0000.nii.gz); or a pattern: '*_flair.nii*'",
    )
    group.add_argument(
        "--mask-name",
        metavar="NAME",
        help="brain mask, named as --image-name is (default: <stem>_brainmask.nii.gz beside the scan)",
    )
    group.add_argument(
        "--subject-pattern",
        metavar="REGEX",
        help="finds the subject in a scan's name, in its first group (default: as BIDS, ADNI, OASIS and "
        "BraTS name them, else the name)",
    )


def dataset_preset_from(args: argparse.Namespace) -> Preset:
    """The chosen preset with the options of tumours, and those that only datasets have, over it."""
    preset = preset_from(args)
    if args.without_tumour is not None:
        preset = replace(preset, tumour_free_probability=args.without_tumour)
    if args.head_scale is not None:
        preset = replace(preset, head_scale=tuple(args.head_scale))
    return preset
