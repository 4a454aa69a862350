"""Options of pilot_network.py, whose parts are train, predict and score."""

from __future__ import annotations

import argparse
from pathlib import Path

from synthtumour.options.mixing import add_option, add_refinement_options
from synthtumour.options.program import add_any_brain_volume, add_program_options, rarely_needed, seed
from synthtumour.options.runs import add_run_options
from synthtumour.options.tumours import add_rare_tumour_options, add_tumour_options


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """What is learnt from, and for how long."""
    parser.description = "Train a network on tumours that are drawn anew at every step, or on stored cases."
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="file of weights to write: junior.pt")
    what = parser.add_argument_group("what is learnt from")
    _folders(what, "--healthy", "tumour-free scans, laid out as for prompt_multi_tumor.py (default: none)")
    _folders(
        what,
        "--dataset",
        "nnU-Net datasets of Stage 1 or 2; cases of the validation task are left out (default: none)",
    )
    what.add_argument(
        "--real",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("IMAGES", "LABELS"),
        help="folders of scans and of their labels or pseudo-labels; may be given several times "
        "(default: none)",
    )
    what.add_argument(
        "--fresh-share",
        type=float,
        default=0.3,
        metavar="F",
        help="beside --dataset or --real: part of the heads that come from --healthy, with new tumours "
        "(default: %(default)s)",
    )
    what.add_argument(
        "--tumour-free-share",
        type=float,
        default=0.1,
        metavar="F",
        help="part of the --healthy heads that stay without a tumour (default: %(default)s)",
    )
    how = parser.add_argument_group("training")
    how.add_argument(
        "--iterations",
        type=int,
        default=1500,
        metavar="N",
        help="steps, of two heads each (default: %(default)s)",
    )
    how.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="in place of --iterations: as many steps as fit (default: no limit)",
    )
    how.add_argument(
        "--seed", "-s", type=seed, default=0, help="same seed and threads, same weights (default: 0)"
    )
    how.add_argument(
        "--threads", type=int, metavar="N", help="threads to compute with (default: the usable cores)"
    )
    how.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: a GPU if there is one (default)",
    )
    how.add_argument(
        "--init",
        type=Path,
        metavar="WEIGHTS",
        help="start from these weights; box: those of the package (default: from random ones)",
    )
    how.add_argument("--resume", action="store_true", help="carry on a training that was interrupted")
    how.add_argument("--overwrite", action="store_true", help="train anew where there are weights already")
    how.add_argument("--quiet", "-q", action="store_true", help="say only what went wrong")
    add_tumour_options(parser, written=False)
    rare = rarely_needed(parser)
    rare.add_argument(
        "--brain-masks",
        type=Path,
        metavar="FOLDER",
        help="brain masks of --dataset and --real: CASE.nii.gz (default: beside the scans)",
    )
    rare.add_argument(
        "--spacing",
        type=float,
        default=3.0,
        metavar="MM",
        help="voxels the network sees (default: %(default)s)",
    )
    rare.add_argument(
        "--no-mirror-channel",
        dest="mirror_channel",
        action="store_false",
        help="do not show the network the other side of the brain beside each side",
    )
    add_rare_tumour_options(rare, written=False)
    add_any_brain_volume(rare)
    add_program_options(parser)


def add_predict_options(parser: argparse.ArgumentParser) -> None:
    """Which scans are segmented, and what becomes of the network's marks."""
    parser.description = "Segment scans with trained weights; of several files of weights the mean counts."
    parser.add_argument(
        "given",
        type=Path,
        nargs="*",
        metavar="WEIGHTS",
        help="what train wrote: junior.pt (default: the weights that come with the package)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="WEIGHTS",
        help="WEIGHTS as an option (default: those)",
    )
    where = parser.add_argument_group("input and output")
    where.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="FLAIR scans CASE_0000.nii.gz, or in subject folders, or a BIDS dataset; or one scan",
    )
    where.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="the labels CASE.nii.gz, tables and pictures; of one scan, the label's file",
    )
    where.add_argument(
        "--brain-masks",
        type=Path,
        metavar="FOLDER",
        help="brain masks CASE.nii.gz (default: beside the scans; stripped scans need none); of one scan, "
        "its mask",
    )
    add_refinement_options(parser)
    marks = parser.add_argument_group("what the network marks")
    marks.add_argument(
        "--min-logit",
        type=float,
        metavar="L",
        help="drop marks of a lower mean logit (default: the confidence gate stored with the weights)",
    )
    add_option(
        marks,
        "--save_probabilities",
        action="store_true",
        help="keep the probability of tumour too, in nnU-Net's form: CASE.npz",
    )
    add_run_options(parser, draws=False)
    rare = rarely_needed(parser)
    add_option(
        rare,
        "--image-name",
        metavar="NAME",
        help="scans, named as for prompt_multi_tumor.py: '*_flair.nii*' (default: by the usual names)",
    )
    add_any_brain_volume(rare)


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Which labels are compared with which."""
    parser.description = "Dice, HD95, volumes and lesions of segmentations, against experts' labels."
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="folder of labels CASE.nii.gz")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="experts' labels CASE.nii.gz, or subject folders",
    )
    parser.add_argument(
        "--tumour-free",
        type=Path,
        metavar="FOLDER",
        help="predictions in tumour-free scans: their false tumour (default: none)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="the scans of PREDICTIONS, for a FLAIR threshold beside it (default: none)",
    )
    parser.add_argument(
        "--brain-masks", type=Path, metavar="FOLDER", help="brain masks of --images (default: beside them)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="table and figure (default: PREDICTIONS/scores)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print the table only")
    add_program_options(parser)


def _folders(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    group.add_argument(name, type=Path, nargs="+", action="extend", default=[], metavar="FOLDER", help=text)
