#!/usr/bin/env python3
"""Synthetic tumours in a folder of FLAIR scans: a Stage 1 dataset for nnU-Net."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from synthtumour import __version__
from synthtumour.arguments import (
    add_generation_options,
    add_run_options,
    preset_from,
    run,
    say_shard,
    sharing_from,
    workers_from,
)

if TYPE_CHECKING:
    from synthtumour.fanout import Case, Group, Report
    from synthtumour.journal import Journal
    from synthtumour.nnunet import Dataset
    from synthtumour.presets import Preset
    from synthtumour.stage1_cases import Source
    from synthtumour.subjects import Found, Scan

EXAMPLES = """\
examples:
  python prompt_multi_tumor.py
  python prompt_multi_tumor.py --input SUBJECTS \\
      --output nnUNet_raw/Dataset101_SynthTumour --variants 8
  python prompt_multi_tumor.py --input BIDS \\
      --output nnUNet_raw/Dataset102_Small --max-volume 20000 --min-volume 500 \\
      --num-tumours 1 3 --tumour-free-fraction 0.2

A run that was interrupted is carried on by the same command; a finished one is
left as it is.
"""
PROGRAM = "prompt_multi_tumor.py"
PREVIEWS_FOLDER = "previews"
DEMO_DATA = Path(__file__).resolve().parent / "DemoData"  # in the source, not beside an installed command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
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
        "--image-name",
        metavar="NAME",
        help="scan in a subject's folder (default: flair.nii.gz); elsewhere what follows sub-*_ or CASE_ "
        "(default: FLAIR.nii.gz, 0000.nii.gz)",
    )
    parser.add_argument(
        "--mask-name",
        metavar="NAME",
        help="brain mask, named as --image-name is (default: <stem>_brainmask.nii.gz beside the scan)",
    )
    parser.add_argument(
        "--subjects",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="only these; the split stays that of the whole folder (for a leading dash: --subjects=-NAME)",
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
        "--tumour-free-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="part of the training scans that is added untouched, with an empty label (default: %(default)s)",
    )
    parser.add_argument(
        "--tumour-free-probability",
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
        choices=("t1", "t1ce", "t2"),
        default=[],
        metavar="CONTRAST",
        help="channels of every head beside FLAIR: t1, t1ce, t2, in CONTRAST.nii.gz beside each scan, on its "
        "grid; they get the same tumours (preset diverse)",
    )
    add_generation_options(parser)
    return parser


def prompt(args: argparse.Namespace) -> int:
    from synthtumour import fanout, stage1_cases
    from synthtumour.journal import Journal
    from synthtumour.nnunet import dataset_at
    from synthtumour.report import SHEET_FILE, report_file, write_report
    from synthtumour.subjects import find_scans
    from synthtumour.volume import InputError

    check(args)
    preset = preset_from(args)
    if args.channels and preset.model != "glioma":
        raise InputError("--channels needs --preset diverse")
    if args.tumour_free_probability is not None:
        preset = replace(preset, tumour_free_probability=args.tumour_free_probability)
    if args.head_scale is not None:
        preset = replace(preset, head_scale=tuple(args.head_scale))
    dataset = dataset_at(args.output)
    found = find_scans(args.input, args.image_name, args.mask_name)
    groups = plan(args, preset, found, dataset)
    about = settings(args, preset)
    reserved = (*dataset.files, report_file(dataset.folder), dataset.folder / SHEET_FILE)
    sharing = sharing_from(args)
    with (
        workers_from(args, (args.input,), (dataset.folder,)) as workers,
        Journal(dataset.folder, about, reserved=reserved, overwrite=args.overwrite, **sharing) as journal,
    ):
        if args.brain_mask:
            found, masks = with_made_masks(found, groups, journal, workers, sharing)
            if masks.interrupted:
                print("interrupted while brain masks were made; the same command carries on")
                return masks.exit_code
            groups = plan(args, preset, found, dataset, dict(masks.failed))
        report = fanout.run(
            groups,
            stage1_cases.load_scan,
            stage1_cases.make_case,
            journal,
            preload=("synthtumour.stage1_cases", "synthtumour.preview")[: 1 + args.preview],
            **workers,
        )
        if journal.shard:
            say_shard(report, journal.shard, args.tell)
            return report.exit_code
        if args.preview and report.made + report.kept:
            from synthtumour.preview import write_contact_sheet

            title = f"{dataset.folder.name}, preset {args.preset}, seed {args.seed}"
            write_contact_sheet(
                dataset.folder / SHEET_FILE, report.rows, dataset.folder / PREVIEWS_FOLDER, title
            )
        made_from = {args.input / str(row["source"]) for row in report.rows if row["status"] == "made"}
        page = write_report(
            dataset.folder,
            report.rows,
            brains=[(scan.image, scan.mask) for scan in found.scans if scan.image in made_from],
            left_out={"skipped": found.skipped},
            notes=report.notes,
        )
        finish(report, found, dataset, args, preset.labels, page)
    return report.exit_code


def check(args: argparse.Namespace) -> None:
    """Raise InputError for option values that make no sense."""
    from synthtumour.stage1 import HEAD_SCALES
    from synthtumour.volume import InputError

    if args.input == DEMO_DATA and not DEMO_DATA.is_dir():
        raise InputError("--input: give the folder of your scans; DemoData comes with the source alone")
    if args.variants < 1:
        raise InputError(f"--variants {args.variants}: needs 1 or more")
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: needs 1 or more")
    if not 0 <= args.val_fraction < 1:
        raise InputError(f"--val-fraction {args.val_fraction:g}: needs 0 or more, and less than 1")
    if not 0 <= args.tumour_free_fraction <= 1:
        raise InputError(f"--tumour-free-fraction {args.tumour_free_fraction:g}: needs 0 to 1")
    probability = args.tumour_free_probability
    if probability is not None and not 0 <= probability <= 1:
        raise InputError(f"--tumour-free-probability {probability:g}: needs 0 to 1")
    if args.head_scale is not None:
        (low, high), (least, most) = args.head_scale, HEAD_SCALES
        if not least <= low <= high <= most:
            raise InputError(f"--head-scale {low:g} {high:g}: needs {least:g} <= LOW <= HIGH <= {most:g}")
    if args.brain_mask:
        from synthtumour.brain_extraction import check_installed

        check_installed()
    for folder in (args.output, args.output / "imagesTr", args.output / "labelsTr"):
        if folder.resolve() == args.input.resolve():
            raise InputError(f"{args.input}: is also where the output would go; choose another --output")
    if args.preview:
        import synthtumour.preview  # noqa: F401  a missing Pillow is told before any work


def settings(args: argparse.Namespace, preset: Preset) -> dict[str, object]:
    """What makes a run this run and not another: all options but how fast it goes and where it writes."""
    return {
        "program": PROGRAM,
        "version": __version__,
        "options": {
            "input": str(args.input.resolve()),
            "image-name": args.image_name,
            "mask-name": args.mask_name,
            "brain-mask": args.brain_mask,
            "subjects": args.subjects and sorted(args.subjects),
            "variants": args.variants,
            "val-fraction": args.val_fraction,
            "tumour-free-fraction": args.tumour_free_fraction,
            "seed": args.seed,
            "shape-engine": args.shape_engine,
            "skull-strip": args.skull_strip,
            "channels": args.channels,
            "location-prior": args.location_prior and str(args.location_prior),
        },
        "preset": asdict(preset),
    }


# ---------------------------------------------------------------- which cases


def plan(
    args: argparse.Namespace, preset: Preset, found: Found, dataset: Dataset, unmasked: Mapping[str, str] = {}
) -> list[Group]:
    """A group of cases for every scan, sides and tumour-free scans chosen over the whole input.

    `unmasked`: why a brain mask that was missing could not be made.
    """
    from synthtumour.fanout import Group
    from synthtumour.nnunet import safe_name, tumour_free, validation_subjects
    from synthtumour.stage1_cases import Source
    from synthtumour.volume import InputError

    subjects = {scan.subject for scan in found.scans}
    if unknown := sorted(set(args.subjects or ()) - subjects):
        raise InputError(f"--subjects {unknown[0]}: no such subject in {args.input}")
    held_out = validation_subjects(subjects, args.val_fraction, args.seed)
    training = [scan.name for scan in found.scans if scan.subject not in held_out]
    untouched = tumour_free(training, args.tumour_free_fraction, args.seed)
    groups: list[Group] = []
    names: dict[str, str] = {}
    for scan in found.scans:
        name = safe_name(scan.name)
        if name in names:
            raise InputError(f"{args.input}: {scan.name!r} and {names[name]!r} get the same case name {name}")
        names[name] = scan.name
        if args.subjects and scan.subject not in args.subjects:
            continue
        source = Source(
            scan.image.relative_to(args.input).as_posix(),
            scan,
            args.skull_strip,
            prior_of(args, scan),
            tuple((contrast, scan.image.parent / f"{contrast}.nii.gz") for contrast in args.channels),
            made_mask(scan, dataset),
            unmasked.get(name, ""),
        )
        task = "val" if scan.subject in held_out else "train"
        cases = [describe(args, preset, dataset, source, name, task, v) for v in range(args.variants)]
        if scan.name in untouched:
            cases.append(describe(args, preset, dataset, source, name, task, None))
        groups.append(Group(source, tuple(cases)))
    return groups


def with_made_masks(
    found: Found,
    groups: Sequence[Group],
    journal: Journal,
    workers: Mapping[str, Any],
    sharing: Mapping[str, Any],
) -> tuple[Found, Report]:
    """`found` with a brain mask made, in a folder of the dataset, for every scan of `groups` that has none.

    The report says of which that failed, and why.
    """
    from synthtumour import brain_extraction
    from synthtumour.nnunet import safe_name
    from synthtumour.shards import shard_of_each

    folder = journal.folder / brain_extraction.FOLDER
    shards = shard_of_each(groups, journal.part_count)  # each makes the masks of its own scans
    without, whose = {}, {}
    for group in groups:
        scan = cast("Source", group.source).scan
        if not (scan.mask and os.path.lexists(scan.mask)):
            without[safe_name(scan.name)] = scan
            whose[safe_name(scan.name)] = shards[group.cases[0].name]
    images = {name: scan.image for name, scan in without.items()}
    report = brain_extraction.make_masks(images, folder, workers, whose, **sharing)
    for name, _ in report.failed:
        del without[name]
    made = {
        scan: replace(scan, mask=brain_extraction.mask_in(folder, name)) for name, scan in without.items()
    }
    return replace(found, scans=tuple(made.get(scan, scan) for scan in found.scans)), report


def made_mask(scan: Scan, dataset: Dataset) -> str:
    """The path in the dataset of a brain mask that was made for it; '' for any other."""
    from synthtumour.brain_extraction import FOLDER

    if scan.mask is None or scan.mask.parent != dataset.folder / FOLDER:
        return ""
    return f"{FOLDER}/{scan.mask.name}"


def prior_of(args: argparse.Namespace, scan: Scan) -> Path | None:
    """The location prior of one scan: the file given or, for a bare name, the one beside the scan."""
    given: Path | None = args.location_prior
    if given is None or os.path.lexists(given):
        return given
    return scan.image.parent / given


@lru_cache(maxsize=2)  # one for all cases: as many copies would be most of the memory that they take
def as_dict(preset: Preset) -> dict[str, object]:
    return asdict(preset)


def describe(
    args: argparse.Namespace,
    preset: Preset,
    dataset: Dataset,
    source: Source,
    name: str,
    task: str,
    variant: int | None,
) -> Case:
    """One case of the scan `name`; `variant` None is the untouched scan.

    The tumours are drawn for scan and variant, not for the side of the split.
    """
    from synthtumour.fanout import Case
    from synthtumour.nnunet import VAL_SUFFIX, gets_no_tumour, head_scale

    scan, prior = source.scan, source.location_prior
    drawn_for = name
    if variant is None:
        drawn_for += "_free"
    elif args.variants > 1:
        drawn_for += f"_v{variant:0{max(2, len(str(args.variants - 1)))}d}"
    case = drawn_for + (VAL_SUFFIX if task == "val" else "")
    without = task == "train" and gets_no_tumour(drawn_for, preset.tumour_free_probability, args.seed)
    if without and preset.tumour_free_probability == 1:  # the trainer draws distractors and sizes too
        preset = replace(preset, distractor_probability=0.0, head_scale=(1.0, 1.0))
    parameters = {
        "kind": "tumour-free" if variant is None or without else "synthetic",
        "drawn_for": drawn_for,
        "seed": args.seed,
        "task": task,
        "preset": as_dict(preset),
        "shape_engine": args.shape_engine,
        "skull_strip": args.skull_strip,
        "head_scale": head_scale(drawn_for, preset.head_scale, args.seed) if task == "train" else 1.0,
        "scan": source.shown,
        "mask": scan.mask and scan.mask.name,
        "channels": [contrast for contrast, _ in source.channels],
        "location_prior": prior and prior.name,
    }
    columns = {
        "kind": parameters["kind"],
        "subject": scan.subject,
        "session": scan.session,
        "split": task,
        "task": task,
        "variant": "" if variant is None else variant,
        "seed": args.seed,
        "source": source.shown,
        "mask": source.made_mask or (scan.mask.relative_to(args.input).as_posix() if scan.mask else ""),
    }
    outputs = [dataset.label(case), *(dataset.image(case, n) for n in range(1 + len(source.channels)))]
    if args.preview:
        outputs.append(dataset.folder / PREVIEWS_FOLDER / f"{case}.png")
    channels = [path for _, path in source.channels]
    inputs = tuple(path for path in (scan.image, scan.mask, *channels, prior) if path)
    return Case(case, tuple(outputs), parameters, inputs, columns)


# ---------------------------------------------------------------- the end


def finish(
    report: Report, found: Found, dataset: Dataset, args: argparse.Namespace, labels: str, page: str
) -> None:
    """Write the dataset's own files, unless the run was interrupted, and say what there is now.

    `page` is the line about the report.
    """
    from synthtumour.journal import MANIFEST_FILE
    from synthtumour.nnunet import next_commands, write_dataset
    from synthtumour.progress import speaker, tell_outcome, typed
    from synthtumour.report import SHEET_FILE

    there = [row for row in report.rows if row["status"] == "made"]
    training = [str(row["case"]) for row in there if row["split"] == "train"]
    validation = [str(row["case"]) for row in there if row["split"] == "val"]
    say = speaker(args.tell)
    tell_outcome(report, args.tell)
    say(f"of them {len(training)} for the training task, {len(validation)} for the validation task")
    say(f"input: {len(found.scans)} scans ({found.layout}), {len(found.skipped)} entries skipped")
    for name, reason in found.skipped:
        say(f"  skipped {name}: {reason}")
    ours = {dataset.image(str(row["case"]), n) for row in there for n in range(1 + len(args.channels))}
    others = sorted(path.name for path in (dataset.folder / "imagesTr").glob("*") if path not in ours)
    if others:
        what = (
            f"{len(others)} file(s) that this run did not make ({others[0]}{', ...' if others[1:] else ''})"
        )
        say(f"  note imagesTr holds {what}; nnU-Net counts every image there")
    say(f"dataset: {dataset.folder} (imagesTr, labelsTr)")
    say(f"every case, drawn and measured: {dataset.folder / MANIFEST_FILE}")
    say(page)
    if report.interrupted or not there:
        say("next:")
        say(f"  {typed()}")
        return
    channels = ("FLAIR", *(contrast.upper() for contrast in args.channels))
    about = f"Stage 1 of SynthTumour {__version__}, seed {args.seed}"
    write_dataset(dataset, training, validation, about, channels, regions=labels == "brats")
    if args.preview:
        say(f"pictures: {dataset.folder / PREVIEWS_FOLDER}")
        say(f"some of them on one sheet: {dataset.folder / SHEET_FILE}")
    sizes = {float(str(row["head_scale"])) for row in there if row["split"] == "train"}
    if sizes - {1.0}:
        which = f"{min(sizes):g} to {max(sizes):g} times the size they were scanned in"
        say(f"training heads: {which} (--head-scale 1 1 leaves them)")
    if not (training and validation):
        say("no split was written: it needs cases on both sides (two subjects, --val-fraction above 0)")
    trainer = ""
    drawn = any(row["tumours"] for row in there if row["split"] == "train")
    if training and validation and not drawn and not args.channels:  # it takes FLAIR alone
        trainer = f"nnUNetTrainerSynthTumour{'Diverse' * (args.preset == 'diverse')}"
        say("no training case has a tumour: the trainer draws them (nnU-Net v2, skull-stripped scans)")
    if report.failed:
        say("what failed is tried again by the same command")
    say("next:")
    for command in next_commands(dataset, bool(training and validation), trainer):
        say(f"  {command}")


def main(argv: list[str] | None = None) -> int:
    return run(prompt, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
