#!/usr/bin/env python3
"""Put synthetic tumours into one tumour-free FLAIR scan: an image and its label."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from synthtumour.errors import InputError
from synthtumour.options.program import add_any_brain_volume, add_program_options, rarely_needed, run, seed
from synthtumour.options.runs import HDBET
from synthtumour.options.tumours import add_rare_tumour_options, add_tumour_options, preset_from

EXAMPLES = """\
examples:
  python resect_multi_tumor.py DemoData/sim-01/flair.nii.gz \\
      test_img.nii.gz test_lab.nii.gz
  python resect_multi_tumor.py flair.nii.gz img.nii.gz lab.nii.gz --seed 7 \\
      --preview img.png --record img.json
  python resect_multi_tumor.py flair.nii.gz img.nii.gz lab.nii.gz \\
      --num-tumours 1 3 --min-volume 2000
  python resect_multi_tumor.py flair.nii.gz again.nii.gz lab.nii.gz \\
      --from-record img.json
"""
# All other options say what to draw or render, which a record fixes.
BESIDE_A_RECORD = {
    *("scan", "output_image", "output_label", "brain_mask", "from_record", "case", "record", "preview"),
    *("channel", "debug", "quiet", "command", "any_brain_volume"),
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resect_multi_tumor.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scan", type=Path, help="tumour-free scan (.nii, .nii.gz, .mha, .nrrd)")
    parser.add_argument("output_image", type=Path, help="synthetic image to write")
    parser.add_argument("output_label", type=Path, help="label to write (uint8, 1 = tumour)")
    parser.add_argument(
        "--brain-mask",
        type=lambda text: text if text == HDBET else Path(text),
        metavar="PATH",
        help="brain mask on the scan's grid (default: <stem>_brainmask.nii.gz beside the scan; a scan "
        "that is already skull-stripped needs none); hdbet: where there is none, made with HD-BET and kept "
        "in brain_masks/ beside the output (a file of that name: ./hdbet)",
    )
    parser.add_argument(
        "--seed", "-s", type=seed, help="same seed, same tumours (default: a fresh one, printed)"
    )
    parser.add_argument(
        "--task",
        choices=("train", "val"),
        default="train",
        help="intensity rule of the training task or of the validation task (default: %(default)s)",
    )
    parser.add_argument(
        "--center-ras",
        "-r",
        type=float,
        nargs=3,
        metavar=("R", "A", "S"),
        help="centre of the (first) tumour in RAS mm (default: drawn from the brain)",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="JSON",
        help="write every drawn and measured number here (default: nowhere)",
    )
    parser.add_argument(
        "--from-record",
        type=Path,
        metavar="FILE",
        help="make the case of a --record JSON again, or with --case one of a Stage 1 manifest.csv "
        "(default: a new one)",
    )
    parser.add_argument(
        "--case", help="which case of the manifest.csv given to --from-record (default: none; a JSON has one)"
    )
    parser.add_argument(
        "--preview",
        type=Path,
        metavar="PNG",
        help="write a picture: three planes; before, after, label outlined (default: none)",
    )
    parser.add_argument(
        "--channel",
        nargs=3,
        action="append",
        default=[],
        metavar=("CONTRAST", "SCAN", "OUTPUT"),
        help="put the same tumours into another channel of this head, CONTRAST t1, t1ce or t2, on the scan's "
        "grid (preset diverse; may be given more than once; default: none)",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="say nothing unless something is wrong")
    add_program_options(parser)
    add_tumour_options(parser)
    rare = rarely_needed(parser)
    add_rare_tumour_options(rare)
    add_any_brain_volume(rare)
    return parser


def resect(args: argparse.Namespace) -> int:
    from synthtumour.stage1.one_scan import OneScan, make_one

    if args.from_record:
        refuse_what_a_record_fixes(args)
    make_one(
        OneScan(
            scan=args.scan,
            output_image=args.output_image,
            output_label=args.output_label,
            brain_mask=args.brain_mask if args.brain_mask != HDBET else None,
            make_mask=args.brain_mask == HDBET,
            preset=preset_from(args),
            seed=args.seed,
            task=args.task,
            center_ras=args.center_ras and tuple(args.center_ras),
            shape_engine=args.shape_engine,
            location_prior=args.location_prior,
            skull_strip=args.skull_strip,
            any_brain_volume=args.any_brain_volume,
            record=args.record,
            from_record=args.from_record,
            case=args.case,
            preview=args.preview,
            channels=tuple((contrast, Path(scan), Path(output)) for contrast, scan, output in args.channel),
            volumes_path=args.volumes_path,
            tell="quiet" if args.quiet else "usual",
            command=args.command,
        )
    )
    return 0


def refuse_what_a_record_fixes(args: argparse.Namespace) -> None:
    """Raise InputError for an option that says what to draw, beside a record that says it."""
    parser = build_parser()
    for name, value in vars(args).items():
        if name not in BESIDE_A_RECORD and value != parser.get_default(name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: --from-record already fixes it; leave one of the two out")


def main(argv: list[str] | None = None) -> int:
    return run(resect, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
