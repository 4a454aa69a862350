#!/usr/bin/env python3
"""Put synthetic tumours into one tumour-free FLAIR scan: an image and its label."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from synthtumour.arguments import (
    HDBET,
    add_generation_options,
    add_program_options,
    preset_from,
    run,
    seed,
)

CONTRASTS = ("t1", "t1ce", "t2")
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
        "--record", type=Path, metavar="JSON", help="write every drawn and measured number here"
    )
    parser.add_argument(
        "--from-record",
        type=Path,
        metavar="FILE",
        help="make the case of a --record JSON again, or with --case one of a Stage 1 manifest.csv",
    )
    parser.add_argument("--case", help="which case of the manifest.csv given to --from-record")
    parser.add_argument(
        "--preview",
        type=Path,
        metavar="PNG",
        help="write a picture: three planes; before, after, label outlined",
    )
    parser.add_argument(
        "--channel",
        nargs=3,
        action="append",
        default=[],
        metavar=("CONTRAST", "SCAN", "OUTPUT"),
        help="put the same tumours into another channel of this head, CONTRAST t1, t1ce or t2, on the scan's "
        "grid (preset diverse; may be given more than once)",
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="say nothing unless something is wrong")
    add_program_options(parser)
    add_generation_options(parser)
    return parser


def resect(args: argparse.Namespace) -> int:
    from synthtumour.stage1 import (
        brain_mask_beside,
        head_scale_in,
        in_other_contrast,
        prepare_brain,
        resynthesise,
        skull_stripped,
        synthesise,
    )
    from synthtumour.volume import (
        InputError,
        check_output,
        extension_of,
        read_volume,
        staged_outputs,
        write_in_place,
    )

    preset = preset_from(args)
    if not all(abs(mm) <= 10_000 for mm in args.center_ras or ()):
        centre = " ".join(f"{mm:g}" for mm in args.center_ras)
        raise InputError(f"--center-ras {centre}: needs three numbers from -10000 to 10000 mm")
    for path in (args.output_image, args.output_label):
        extension_of(path)
    if args.preview and args.preview.suffix.lower() != ".png":
        raise InputError(f"{args.preview}: the preview is a PNG; name it so")
    if args.preview:  # now, so that a missing Pillow is told before any work
        from synthtumour.preview import write_stage1_preview
    outputs = [p for p in (args.output_image, args.output_label, args.record, args.preview) if p]
    channels = [(contrast, Path(path), Path(output)) for contrast, path, output in args.channel]
    for contrast, _, output in channels:
        if contrast not in CONTRASTS:
            raise InputError(f"--channel {contrast}: choose one of {', '.join(CONTRASTS)}")
        extension_of(output)
        outputs.append(output)
    record = read_record(args.from_record, args.case) if args.from_record else None
    recorded_mask = mask_of_record(args, record)
    mask_path = recorded_mask or brain_mask_beside(args.scan)
    if isinstance(args.brain_mask, Path):
        mask_path = args.brain_mask
    inputs = [args.scan, mask_path, args.volumes_path, args.from_record, args.location_prior]
    for path in outputs:
        check_output(path, *inputs, *(source for _, source, _ in channels))
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError(f"{args.output_label}: two outputs have the same path; give each its own")
    if args.case and not (args.from_record and args.from_record.suffix.lower() == ".csv"):
        raise InputError(f"--case {args.case}: names a row of a manifest.csv; give that with --from-record")
    if record is not None and (given := options_of_the_tumour(args)):
        raise InputError(f"{given[0]}: --from-record already fixes it; leave one of the two out")

    if mask_path is None and args.brain_mask == HDBET:
        from synthtumour import brain_extraction

        brain_extraction.check_installed()
        scan = read_volume(args.scan)
        folder = args.output_image.parent / brain_extraction.FOLDER
        print(f"no brain mask: the one made earlier in {folder}, or HD-BET makes it now", file=sys.stderr)
        mask_path = recorded_mask = brain_extraction.mask_for_one(scan, args.scan, folder)
    else:
        scan = read_volume(args.scan)
    brain = prepare_brain(scan, args.scan, mask_path)
    stripped = args.skull_strip if record is None else record.get("skull_strip", False)
    original = skull_stripped(scan, brain) if stripped else scan
    scale = 1.0
    try:
        if record is not None:
            scale = head_scale_in(record)
            made = resynthesise(original, brain, record)
        else:
            made = synthesise(
                original,
                brain,
                preset,
                seed=secrets.randbits(32) if args.seed is None else args.seed,
                task=args.task,
                centre_ras_mm=args.center_ras,
                shape_engine=args.shape_engine,
                location_prior=args.location_prior and read_volume(args.location_prior),
            )
    except InputError as error:
        raise InputError(f"{args.scan}: {error}") from error
    made.record.update(skull_strip=stripped, head_scale=scale)
    if mask_path is not None and mask_path == recorded_mask:
        made.record["brain_mask"] = os.path.relpath(mask_path, (args.record or args.output_image).parent)
    others = {}
    for contrast, path, output in channels:
        channel = read_volume(path)
        try:
            channel = skull_stripped(channel, brain) if stripped else channel
            others[output] = in_other_contrast(original, brain, made.record, channel, contrast)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    written = made.resized(scale)
    with staged_outputs(outputs) as partial:
        write_in_place(written.image, partial[args.output_image])
        write_in_place(written.label, partial[args.output_label])
        for output, volume in others.items():
            write_in_place(volume.resized(scale), partial[output])
        if args.record:
            partial[args.record].write_text(json.dumps(made.record, indent=1) + "\n", encoding="utf-8")
        if args.preview:
            name = made.record["case"] or "/".join(args.scan.absolute().parts[-2:])
            before = original.resized(scale), brain.resized(scale)
            write_stage1_preview(partial[args.preview], name, *before, written)
    if not args.quiet:
        from synthtumour.progress import speaker, typed

        say = speaker("usual")
        say(summary(written.record))
        if sys.stdout.isatty():  # one line for programs, for people also what to type for the same once more
            drawn = args.seed is None and record is None
            say(f"again: {typed(*(['--seed', str(made.record['seed'])] if drawn else []))}")
    return 0


def mask_of_record(args: argparse.Namespace, record: dict[str, Any] | None) -> Path | None:
    """The brain mask that was made for the case of `record`, which names it relative to its own folder."""
    from synthtumour.volume import InputError

    if record is None or "brain_mask" not in record:
        return None
    path: Path = args.from_record.parent / str(record["brain_mask"])
    if os.path.isfile(path):  # which takes any text for a name
        return path
    if args.brain_mask is None:
        raise InputError(f"{path}: the brain mask of the record is not there; give it with --brain-mask")
    return None


def options_of_the_tumour(args: argparse.Namespace) -> list[str]:
    """The given options that say what to draw or render, as --long-names."""
    parser = build_parser()
    elsewhere = {
        "scan",
        "output_image",
        "output_label",
        "brain_mask",
        "from_record",
        "case",
        "record",
        "preview",
        "channel",
        "debug",
        "quiet",
    }
    return [
        f"--{name.replace('_', '-')}"
        for name, value in vars(args).items()
        if name not in elsewhere and value != parser.get_default(name)
    ]


def read_record(path: Path, case: str | None) -> dict[str, Any]:
    """The record in a JSON file, or in the row `case` of a Stage 1 manifest.csv."""
    from synthtumour.volume import InputError, check_file

    if path.exists():
        check_file(path)
    try:
        # a manifest may name files whose names are not UTF-8
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if path.suffix.lower() == ".csv":
            rows = {row.get("case"): row for row in csv.DictReader(io.StringIO(text))}
            if case not in rows:
                raise InputError(f"{path}: no case {case or ''!r}; name one of its rows with --case")
            text = rows[case].get("record") or ""
            if not text:
                reason = rows[case].get("reason")
                raise InputError(f"{path}: case {case} was not made ({reason}); nothing to repeat")
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("no JSON object")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the file that --record wrote"
        ) from error
    except InputError:
        raise
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: not a record ({error}); give the file that --record wrote") from error
    return record


def summary(record: dict[str, Any]) -> str:
    """One line: how many tumours, their volume, place and brightness, and how to make them again."""
    measured, tumours = record["measured"], record["tumours"]
    what = "1 tumour" if len(tumours) == 1 else f"{len(tumours)} tumours"
    if not tumours:
        return f"no tumour, as recorded (preset {record['preset']}, seed {record['seed']})"
    places = "; ".join("({:.1f}, {:.1f}, {:.1f})".format(*t["shape"]["centre_ras_mm"]) for t in tumours)
    factors = ", ".join(f"{t['intensity']['factor']:.2f}" for t in tumours)
    digits = 1 if measured["volume_ml"] >= 1 else 4
    contrast = f"; {measured['contrast']:.2f} x its rim" if measured["contrast"] else ""
    return (
        f"{what}: {measured['volume_ml']:.{digits}f} ml, centre RAS {places} mm, intensity factor {factors}"
        f"{contrast} (preset {record['preset']}, task {record['rendering']['task']}, seed {record['seed']})"
    )


def main(argv: list[str] | None = None) -> int:
    return run(resect, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
