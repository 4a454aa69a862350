#!/usr/bin/env python3
"""Mix real tumours, labelled by the junior, into tumour-free scans: Stage 2."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour import __version__
from synthtumour.arguments import add_run_options, run, say_shard, sharing_from, workers_from
from synthtumour.presets import GateLimits, Mixing

if TYPE_CHECKING:
    from synthtumour.fanout import Group, Report
    from synthtumour.pairs import Pair
    from synthtumour.shards import Shard
    from synthtumour.stage2_cases import HeadFiles, Stage1Case

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
PROGRAM = "stage2_mixed_with_pseudo_label.py"
COMBINING = f"{PROGRAM} --combine"
REJECTED_FILE, GATE_FOLDER, PICTURES_FOLDER = "rejected.csv", "gate", "pictures"
Rejection = tuple[str, str, str, str]  # donor or healthy, its name, what is wrong in short, and at length


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(group: argparse._ActionsContainer, name: str, *short: str, **how: object) -> None:
        other = name.replace("_", "-") if "_" in name else "--" + name[2:].replace("-", "_")
        names = dict.fromkeys((name, *short, other))
        group.add_argument(*names, dest=name[2:].replace("-", "_"), **how)  # type: ignore[arg-type]

    where = parser.add_argument_group("input and output")
    add(
        where,
        "--imagesTr_path",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="real tumour scans, nnU-Net form",
    )
    add(where, "--labelsTr_path", type=Path, required=True, metavar="FOLDER", help="their pseudo-labels")
    add(
        where,
        "--healthyimgTr",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="tumour-free scans: nnU-Net form, subject folders, or a BIDS dataset",
    )
    add(
        where,
        "--mask_check_path",
        type=Path,
        metavar="FOLDER",
        help="tables and pictures (default: mask_check beside the folder of --imagesTr_path)",
    )
    add(
        where,
        "--mixid_csv_path",
        type=Path,
        metavar="CSV",
        help="default: CarveMixID.csv in --mask_check_path",
    )
    add(
        where,
        "--generate_number",
        "-num",
        type=int,
        default=200,
        metavar="N",
        help="mixed cases (default: 200)",
    )
    add(
        where,
        "--modality_num",
        "-mnum",
        type=int,
        default=1,
        metavar="N",
        help="channels _0000, _0001, ... of every scan, mixed alike (default: 1)",
    )
    add(where, "--prefix", metavar="NAME", help="<prefix>_CarveMix_<i> (default: the dataset's name)")
    for name, whose in (("--donor-masks", "--imagesTr_path"), ("--healthy-masks", "--healthyimgTr")):
        add(
            where,
            name,
            type=Path,
            metavar="FOLDER",
            help=f"brain masks CASE.nii.gz for {whose} (default: beside the scans; stripped scans need none)",
        )
    add(where, "--skull-strip", action="store_true", help="set everything outside the brains to zero")

    how = parser.add_argument_group("mixing")
    usual = Mixing()
    add(
        how,
        "--align",
        choices=("brain", "affine", "none"),
        default=usual.align,
        help="brain box on brain box, brains registered, or coordinates as they are (default: %(default)s)",
    )
    add(how, "--scale-per-axis", action="store_true", help="--align brain scales R, A and S each for itself")
    add(
        how,
        "--mirror-probability",
        type=float,
        default=usual.mirror_probability,
        metavar="P",
        help="how often left and right are swapped (default: %(default)s)",
    )
    add(
        how,
        "--jitter",
        type=float,
        default=usual.jitter_mm,
        metavar="MM",
        help="standard deviation of a random shift of each tumour, along each axis (default: %(default)s)",
    )
    add(
        how,
        "--carve",
        choices=("label", "distance"),
        default=usual.carve,
        help="cut along the label, or CarveMix's random distance from its border (default: %(default)s)",
    )
    add(how, "--blend", choices=("buffer", "hard"), default=usual.blend, help="border (default: %(default)s)")
    add(
        how,
        "--buffer-sigma",
        type=float,
        default=usual.buffer_sigma_mm,
        metavar="MM",
        help="Gaussian sigma of the buffer layer round a tumour (default: %(default)s)",
    )
    add(
        how,
        "--min-remaining",
        type=float,
        default=usual.min_remaining,
        metavar="F",
        help="part of a tumour that must stay inside the recipient's brain, or it is drawn again "
        "(default: %(default)s)",
    )

    gate = parser.add_argument_group("pseudo-labels", "how they are cleaned, and which are rejected")
    limits = GateLimits()
    for field, metavar, text in (
        ("min_island_ml", "ML", "smaller parts of a label are dropped"),
        ("max_components", "N", "only the largest parts are kept"),
        ("max_hole_ml", "ML", "holes up to this size are filled"),
        ("min_volume_ml", "ML", "a smaller label is rejected"),
        ("max_brain_fraction", "F", "a label that is more of the brain is rejected"),
        ("max_outside_fraction", "F", "a label that lies more outside the brain is rejected"),
        ("min_contrast", "C", "a label whose mean differs by less from its surroundings' is rejected"),
        ("min_confidence", "P", "a label of lower mean probability (nnU-Net's .npz beside it) is rejected"),
    ):
        default = getattr(limits, field)
        add(
            gate,
            "--" + field.replace("_", "-"),
            type=int if field == "max_components" else float,
            default=default,
            metavar=metavar,
            help=f"{text} (default: {'any' if default is None else f'{default:g}'})",
        )

    senior = parser.add_argument_group("the senior network's training set")
    add(
        senior,
        "--combine",
        type=Path,
        metavar="FOLDER",
        help="DatasetNNN_Name or TaskNNN_Name to write: mixed cases, the real scans with their pseudo-labels "
        "and a split. Pairs are then made within each side of the split",
    )
    add(
        senior,
        "--stage1",
        type=Path,
        metavar="FOLDER",
        help="the junior's dataset, to learn from too: the cases whose side of the junior's split is their "
        "subject's side here (give both stages the same --seed)",
    )
    add(
        senior,
        "--tumour-free-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="part of the tumour-free scans added untouched, with an empty label (default: %(default)s)",
    )
    add(
        senior,
        "--val-fraction",
        type=float,
        default=0.2,
        metavar="F",
        help="part of the subjects on the validation side (default: %(default)s)",
    )
    add(
        senior,
        "--subject-pattern",
        metavar="REGEX",
        help="finds the subject in a case's name, in its first group (default: Stage 1's manifest.csv, "
        "sub-..., or the name without _vNN and val)",
    )

    add_run_options(parser)
    return parser


def stage2(args: argparse.Namespace) -> int:
    from synthtumour import fanout, stage2_cases
    from synthtumour.journal import Journal
    from synthtumour.progress import speaker
    from synthtumour.report import SHEET_FILE, report_file, write_report

    check(args)
    mixing, limits = mixing_from(args), limits_from(args)
    folder = args.mask_check_path or args.imagesTr_path.parent / "mask_check"
    table = args.mixid_csv_path or folder / "CarveMixID.csv"
    check_tables(folder, table)
    stage1_cases = (
        stage2_cases.find_stage1_cases(args.stage1, args.modality_num, args.subject_pattern)
        if args.stage1
        else []
    )
    donors, unlabelled = stage2_cases.find_donors(
        args.imagesTr_path, args.labelsTr_path, args.modality_num, args.donor_masks, args.subject_pattern
    )
    recipients = stage2_cases.find_recipients(
        args.healthyimgTr, args.modality_num, args.healthy_masks, args.subject_pattern
    )
    donors, recipients = (
        [replace(h, skull_strip=args.skull_strip) for h in heads] for heads in (donors, recipients)
    )

    about = settings(args, mixing, limits)
    reserved = (table, report_file(folder), folder / SHEET_FILE)
    reads = [args.imagesTr_path, args.labelsTr_path, args.healthyimgTr]
    reads += [place for place in (args.donor_masks, args.healthy_masks, args.stage1) if place is not None]
    writes = [folder, args.imagesTr_path.parent, args.labelsTr_path.parent, args.combine or folder]
    sharing = sharing_from(args)
    with (
        workers_from(args, reads, writes) as workers,
        Journal(folder, about, reserved=reserved, overwrite=args.overwrite, **sharing) as journal,
        holding(args.imagesTr_path.parent / "imagesTrMix", journal.shard),
    ):
        unmasked: list[Rejection] = []
        if args.brain_mask:
            donors, recipients, masks = with_made_masks(donors, recipients, folder, workers)
            if masks.interrupted:
                print("interrupted while brain masks were made; the same command carries on")
                return masks.exit_code
            for name, why in masks.failed:
                role, _, head = name.partition("/")
                unmasked.append((role, head, "unusable file", why))
        gate = pass_through_gate(donors, recipients, limits, folder / GATE_FOLDER, workers)
        if gate.interrupted:
            print("interrupted while the scans were looked at; the same command carries on")
            return gate.exit_code
        rejected = [("donor", *entry) for entry in unlabelled] + unmasked + rejections(gate)
        refused = {(role, name) for role, name, _, _ in rejected}
        donors = [head for head in donors if ("donor", head.name) not in refused]
        recipients = [head for head in recipients if ("healthy", head.name) not in refused]
        if not donors or not recipients:
            write_rejected(rejected, folder)
            refuse_all(rejected, "healthy" if donors else "donor", folder)

        held_out = held_out_by(args, donors, recipients)
        training, validation = pair(args, donors, recipients, held_out)
        groups = plan(args, mixing, limits, donors, recipients, training, validation, folder)
        report = fanout.run(
            groups,
            stage2_cases.load_for_mixing,
            stage2_cases.make_mixed,
            journal,
            preload=("synthtumour.stage2_cases", "synthtumour.preview")[: 1 + args.preview],
            **workers,
        )
        if journal.shard:
            say_shard(report, journal.shard, args.tell)
            return report.exit_code
        report = replace(report, notes=(*report.notes, *cautions(args, gate, report)))
        write_rejected(rejected, folder)
        write_mix_ids(report, table)
        if args.preview and report.made + report.kept:
            from synthtumour.preview import write_contact_sheet

            title = f"{prefix(args)}, seed {args.seed}"
            write_contact_sheet(folder / SHEET_FILE, report.rows, folder / PICTURES_FOLDER, title)
        page = write_report(
            folder,
            report.rows,
            brains=[(head.channels[0], head.mask) for head in recipients],
            left_out={
                what: [(f"{name}: {why}", kind) for role, name, kind, why in rejected if role == of]
                for of, what in (("donor", "rejected donors"), ("healthy", "rejected tumour-free scans"))
            },
            pictures=PICTURES_FOLDER,
            notes=report.notes,
        )
        say_what_there_is(args, report, donors, recipients, rejected, folder, table)
        speaker(args.tell)(page)
        unusable = any(role == "healthy" or kind == "unusable file" for role, _, kind, _ in rejected)
        exit_code = report.exit_code or int(unusable)
        if report.interrupted or args.combine is None:
            say_next(args, report)
            return exit_code
        combined = combine(
            args, limits, donors, recipients, stage1_cases, held_out, report, groups, about, workers
        )
        return combined.exit_code or exit_code


@contextlib.contextmanager
def holding(images: Path, shard: Shard | None) -> Iterator[None]:
    """Keep a run with another CHECK folder out of the mixed images; InputError if one is there."""
    from synthtumour.lock import hold
    from synthtumour.volume import InputError

    with contextlib.ExitStack() as stack:
        try:
            if not images.exists():
                images.mkdir()
                stack.callback(remove_if_empty, images)
            stack.enter_context(hold(images, shard.lock if shard else ""))
        except BlockingIOError as error:
            raise InputError(f"{images}: {error.strerror}; wait for it to end") from error
        except OSError as error:
            raise InputError(
                f"{images}: cannot be written ({error.strerror}); make its folder writable"
            ) from error
        yield


def remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


# ---------------------------------------------------------------- options


def check(args: argparse.Namespace) -> None:
    """Raise InputError for option values that make no sense."""
    from synthtumour.nnunet import dataset_at
    from synthtumour.report import report_file
    from synthtumour.volume import InputError

    for option, lowest in (
        ("generate_number", 1),
        ("modality_num", 1),
        ("workers", 1),
        ("max_components", 1),
    ):
        value = getattr(args, option)
        if value is not None and value < lowest:
            raise InputError(f"--{option} {value}: needs {lowest} or more")
    for option in (
        "mirror_probability",
        "min_remaining",
        "max_brain_fraction",
        "max_outside_fraction",
        "tumour_free_fraction",
    ):
        if not 0 <= getattr(args, option) <= 1:
            raise InputError(f"--{option.replace('_', '-')} {getattr(args, option):g}: needs 0 to 1")
    if args.min_confidence is not None and not 0 <= args.min_confidence <= 1:
        raise InputError(f"--min-confidence {args.min_confidence:g}: needs 0 to 1")
    for option in ("min_island_ml", "max_hole_ml", "min_volume_ml", "min_contrast", "jitter"):
        if not 0 <= getattr(args, option) < float("inf"):
            raise InputError(f"--{option.replace('_', '-')} {getattr(args, option):g}: needs 0 or more")
    if not 0 <= args.buffer_sigma <= 20:
        raise InputError(f"--buffer-sigma {args.buffer_sigma:g}: needs 0 to 20 mm")
    if not 0 < args.val_fraction < 1:
        raise InputError(f"--val-fraction {args.val_fraction:g}: needs more than 0 and less than 1")
    if args.prefix is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", args.prefix):
        raise InputError(f"--prefix {args.prefix!r}: use letters, digits, _ and - only")
    if args.subject_pattern is not None:
        try:
            re.compile(args.subject_pattern)
        except re.error as error:
            raise InputError(f"--subject-pattern {args.subject_pattern!r}: {error}") from error
    if args.preview:
        import synthtumour.preview  # noqa: F401  a missing Pillow is told before any work
    if args.brain_mask:
        from synthtumour.brain_extraction import check_installed

        check_installed()
    for masks in (args.donor_masks, args.healthy_masks):
        if masks is not None and not masks.is_dir():
            raise InputError(f"{masks}: no such folder; give the folder of the brain masks")
    tables = args.mask_check_path and args.mask_check_path.resolve()
    for taken in (args.imagesTr_path, args.labelsTr_path, args.healthyimgTr, args.combine, args.stage1):
        if taken is not None and taken.resolve() == tables:
            raise InputError(f"{taken}: holds scans or a dataset; give --mask_check_path a folder of its own")
    if args.combine is None:
        for option in ("stage1", "tumour_free_fraction"):
            if getattr(args, option):
                raise InputError(
                    f"--{option.replace('_', '-')} adds cases to the dataset of --combine; give that too"
                )
    if args.combine is not None:
        if args.combine.resolve() in {
            args.imagesTr_path.resolve().parent,
            args.labelsTr_path.resolve().parent,
        }:
            raise InputError(f"{args.combine}: holds the real scans; choose another folder for --combine")
        dataset = dataset_at(args.combine)
        if any(file.exists() for file in dataset.files) and not is_run(args.combine, {"program": COMBINING}):
            raise InputError(f"{args.combine}: holds another dataset; choose another folder for --combine")
        report_file(args.combine)


def check_tables(folder: Path, table: Path) -> None:
    """Raise InputError if the tables cannot be written or would replace somebody else's."""
    from synthtumour.volume import InputError

    if table.is_dir() or (table.parent != folder and not table.parent.is_dir()):
        raise InputError(f"{table}: cannot be written; --mixid_csv_path is a file in a folder that exists")
    rejected = folder / REJECTED_FILE
    if rejected.exists() and not (folder / GATE_FOLDER).is_dir():
        raise InputError(f"{rejected}: exists and is not of this program; choose another --mask_check_path")


def mixing_from(args: argparse.Namespace) -> Mixing:
    return Mixing(
        align=args.align,
        scale_per_axis=args.scale_per_axis,
        mirror_probability=args.mirror_probability,
        jitter_mm=args.jitter,
        carve=args.carve,
        blend=args.blend,
        buffer_sigma_mm=args.buffer_sigma,
        min_remaining=args.min_remaining,
    )


def limits_from(args: argparse.Namespace) -> GateLimits:
    return GateLimits(**{field: getattr(args, field) for field in asdict(GateLimits())})


def settings(args: argparse.Namespace, mixing: Mixing, limits: GateLimits) -> dict[str, object]:
    """What makes a run this run and not another: all options but how fast it goes and where it writes."""
    return {
        "program": PROGRAM,
        "version": __version__,
        "options": {
            "imagesTr_path": str(args.imagesTr_path.resolve()),
            "labelsTr_path": str(args.labelsTr_path.resolve()),
            "healthyimgTr": str(args.healthyimgTr.resolve()),
            "donor-masks": args.donor_masks and str(args.donor_masks.resolve()),
            "healthy-masks": args.healthy_masks and str(args.healthy_masks.resolve()),
            "brain-mask": args.brain_mask,
            "generate_number": args.generate_number,
            "modality_num": args.modality_num,
            "prefix": prefix(args),
            "skull-strip": args.skull_strip,
            "combine": args.combine is not None,
            "val-fraction": args.val_fraction if args.combine else None,
            "subject-pattern": args.subject_pattern,
            "seed": args.seed,
        },
        "mixing": asdict(mixing),
        "limits": asdict(limits),
    }


def prefix(args: argparse.Namespace) -> str:
    """What the mixed cases are called by: the dataset's name without nnU-Net's number."""
    from synthtumour.nnunet import safe_name

    folder = args.imagesTr_path.resolve().parent.name
    return args.prefix or safe_name(re.sub(r"^(Task|Dataset)\d+_", "", folder) or "SynthTumour")


# ---------------------------------------------------------------- the gate


def with_made_masks(
    donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], folder: Path, workers: Mapping[str, Any]
) -> tuple[list[HeadFiles], list[HeadFiles], Report]:
    """Donors and recipients with a brain mask made in `folder` for those that have none.

    Those of which that failed are left out; the report says why.
    """
    from synthtumour import brain_extraction

    masks = folder / brain_extraction.FOLDER
    named = [(f"donor/{head.name}", head) for head in donors]
    named += [(f"healthy/{head.name}", head) for head in recipients]
    without = {name: head for name, head in named if not (head.mask and os.path.lexists(head.mask))}
    images = {name: head.channels[0] for name, head in without.items()}
    # As the gate, which needs them all: of several shards the first makes them, the others wait for it.
    report = brain_extraction.make_masks(images, masks, workers, wait=True)
    failed = dict(report.failed)
    sides: dict[str, list[HeadFiles]] = {"donor": [], "healthy": []}
    for name, head in named:
        if name in without:
            head = replace(head, mask=brain_extraction.mask_in(masks, name))
        if name not in failed:
            sides[name.split("/")[0]].append(head)
    return sides["donor"], sides["healthy"], report


def pass_through_gate(
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    limits: GateLimits,
    folder: Path,
    workers: dict[str, Any],
) -> Report:
    """Look at every head once; what an earlier run saw is not looked at again."""
    from synthtumour import fanout, stage2_cases
    from synthtumour.journal import Journal

    heads = (*donors, *recipients)
    cases = [stage2_cases.gate_case(head, limits) for head in heads]
    groups = [fanout.Group((head, limits), (case,)) for head, case in zip(heads, cases, strict=True)]
    about = {"program": f"{PROGRAM}, gate", "version": __version__, "cases": [case.name for case in cases]}
    # It holds notes only, no images. Of several shards the first looks at the heads, the others wait for it.
    with Journal(folder, about, overwrite=True, wait=True) as journal:
        journal.overwrite = not is_run(folder, about)
        return fanout.run(
            groups,
            stage2_cases.load_for_gate,
            stage2_cases.look_at,
            journal,
            preload=("synthtumour.stage2_cases",),
            unit="scans",
            **workers,
        )


def is_run(folder: Path, about: Mapping[str, object]) -> bool:
    """Whether an earlier run in `folder` was about the same."""
    from synthtumour.journal import RUN_FILE, read_json

    try:
        earlier = read_json(folder / RUN_FILE)
    except (OSError, ValueError):
        return False
    return all(earlier.get(key) == value for key, value in about.items())


def rejections(gate: Report) -> list[Rejection]:
    """The heads that cannot be used."""
    found = []
    for row in gate.rows:
        kind, why = row.get("rejected"), row.get("why")
        if row["status"] != "made":
            kind, why = "unusable file", row["reason"]
        if kind:
            found.append((str(row["role"]), str(row["name"]), str(kind), str(why)))
    return found


def write_rejected(rejected: list[Rejection], folder: Path) -> None:
    import pandas as pd

    from synthtumour.journal import write_bytes

    table = pd.DataFrame(sorted(rejected), columns=["role", "case", "rejected", "reason"])
    write_bytes(table.to_csv(index=False).encode("utf-8", "surrogateescape"), folder / REJECTED_FILE)


def refuse_all(rejected: list[Rejection], role: str, folder: Path) -> None:
    """Raise InputError: there is no donor, or no tumour-free scan, that can be used."""
    from synthtumour.volume import InputError

    what = {"donor": "tumour scan with a usable pseudo-label", "healthy": "usable tumour-free scan"}[role]
    reasons = [entry for entry in rejected if entry[0] == role]
    first = f"{reasons[0][1]}: {reasons[0][3]}" if reasons else "none found"
    raise InputError(
        f"no {what} is left: {tally(reasons)}; see {folder / REJECTED_FILE} (the first: {first})"
    )


def tally(rejected: list[Rejection]) -> str:
    """'2 rejected: 1 empty label, 1 too small'."""
    kinds = Counter(kind for _, _, kind, _ in rejected)
    listed = ", ".join(
        f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))
    )
    return f"{len(rejected)} rejected" + (f": {listed}" if listed else "")


# ---------------------------------------------------------------- which cases


def held_out_by(
    args: argparse.Namespace, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles]
) -> set[str]:
    """The subjects of the validation side; none without --combine."""
    from synthtumour.pairs import held_out_subjects

    if args.combine is None:
        return set()
    own, other = ({head.name: head.subject for head in heads} for heads in (donors, recipients))
    return held_out_subjects(own, other, args.val_fraction, args.seed)


def pair(
    args: argparse.Namespace, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], held_out: set[str]
) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and for validation; all for training if no subject is held out."""
    from synthtumour.pairs import pair_within_sides
    from synthtumour.volume import InputError

    own, other = ({head.name: head.subject for head in heads} for heads in (donors, recipients))
    training, validation = pair_within_sides(own, other, args.generate_number, args.seed, held_out)
    if not training:
        raise InputError(
            f"no pair to mix: of {len(own)} donors and {len(other)} tumour-free scans those for training are "
            "of the same subject; add scans of others"
        )
    return training, validation


def plan(
    args: argparse.Namespace,
    mixing: Mixing,
    limits: GateLimits,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    training: list[Pair],
    validation: list[Pair],
    folder: Path,
) -> list[Group]:
    """The mixed cases, numbered in the order of their pairs and grouped by donor."""
    from synthtumour.fanout import Group
    from synthtumour.stage2_cases import MixSource, mix_case

    heads = {head.name: head for head in recipients}
    base = args.imagesTr_path.parent, args.labelsTr_path.parent
    pairs = [(one, "train") for one in training] + [(one, "val") for one in validation]
    groups = []
    for donor in donors:
        mine = [(number, *one) for number, one in enumerate(pairs) if one[0].donor == donor.name]
        needed = {name for _, one, _ in mine for name in (one.recipient, *one.spares)}
        source = MixSource(donor, limits, {name: heads[name] for name in sorted(needed)})
        cases = []
        for number, one, split in mine:
            name = f"{prefix(args)}_CarveMix_{number}"
            outputs = [base[0] / "imagesTrMix" / f"{name}_{n:04d}.nii.gz" for n in range(args.modality_num)]
            outputs.append(base[1] / "labelsTrMix" / f"{name}.nii.gz")
            if args.preview:
                outputs.append(folder / PICTURES_FOLDER / f"{name}.png")
            candidates = (one.recipient, *one.spares)
            cases.append(mix_case(name, tuple(outputs), source, candidates, mixing, args.seed, split))
        if cases:
            groups.append(Group(source, tuple(cases)))
    return groups


# ---------------------------------------------------------------- the end


def write_mix_ids(report: Report, table: Path) -> None:
    """id, id1, id2 (mixed case, donor, recipient) of every case that is there, and its figures."""
    import pandas as pd

    from synthtumour.journal import write_bytes

    rows = []
    for row in sorted(report.rows, key=lambda row: int(str(row["case"]).rpartition("_")[2])):
        if row["status"] == "made":
            first = {"id": row["case"], "id1": row["id1"], "id2": row["id2"]}
            # "seconds" differ from run to run: manifest.csv has them, this table repeats to the byte
            rest = {k: v for k, v in row.items() if k not in (*first, "case", "status", "reason", "seconds")}
            rows.append({**first, **rest})
    content = pd.DataFrame(rows, columns=None if rows else ["id", "id1", "id2"]).to_csv(index=False)
    write_bytes(content.encode("utf-8", "surrogateescape"), table)


def cautions(args: argparse.Namespace, gate: Report, report: Report) -> list[str]:
    """What a user should know of these cases before a network learns from them."""
    said = []
    looks = [(r["id1"], r["id2"], r["mirrored"]) for r in report.rows if r["status"] == "made"]
    repeated = len(looks) - len(set(looks))
    if args.carve == "label" and not args.jitter and repeated:
        said.append(
            f"{repeated} of {len(looks)} cases repeat another one exactly, for want of donors and scans: "
            "--jitter or --carve distance makes them differ, -num asks for fewer"
        )
    whole = [row["whole_head"] for row in gate.rows if "whole_head" in row]
    if any(whole) and not all(whole):
        said.append(
            f"{sum(map(bool, whole))} of {len(whole)} scans are whole heads, the others are skull-stripped: "
            "--skull-strip makes them alike"
        )
    return said


def say_what_there_is(
    args: argparse.Namespace,
    report: Report,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    rejected: list[Rejection],
    folder: Path,
    table: Path,
) -> None:
    from synthtumour.progress import speaker, tell_outcome
    from synthtumour.report import SHEET_FILE

    there = [row for row in report.rows if row["status"] == "made"]
    say = speaker(args.tell)
    tell_outcome(report, args.tell)
    for role, used, what in (
        ("donor", donors, "donors with their pseudo-labels"),
        ("healthy", recipients, "tumour-free scans"),
    ):
        say(f"{what}: {len(used)} used, {tally([entry for entry in rejected if entry[0] == role])}")
        for _, name, kind, reason in (entry for entry in rejected if entry[0] == role):
            fails = role == "healthy" or kind == "unusable file"  # the exit code is 1 then
            speaker("usual" if fails else args.tell)(f"  rejected {name}: {reason}")
    say(f"mixed images: {args.imagesTr_path.parent / 'imagesTrMix'}")
    say(f"their labels: {args.labelsTr_path.parent / 'labelsTrMix'}")
    say(f"every case, drawn and measured: {table}")
    say(f"what was rejected: {folder / REJECTED_FILE}")
    if args.preview and there:
        say(f"pictures: {folder / PICTURES_FOLDER}")
        say(f"some of them on one sheet: {folder / SHEET_FILE}")


def say_next(args: argparse.Namespace, report: Report) -> None:
    """The command that makes what is missing, or the one for the senior's dataset."""
    from synthtumour.progress import speaker, typed

    say = speaker(args.tell)
    if report.interrupted or not report.made + report.kept:
        more: tuple[str, ...] = ()
    else:
        say("for the senior's dataset and its split, pairs are made anew within each side, replacing these:")
        more = ("--combine", "nnUNet_raw/Dataset102_Senior", "--overwrite")
    say("next:")
    say(f"  {typed(*more)}")


def combine(
    args: argparse.Namespace,
    limits: GateLimits,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    stage1_cases: Sequence[Stage1Case],
    held_out: set[str],
    mixed: Report,
    groups: Sequence[Group],
    about: dict[str, object],
    workers: dict[str, Any],
) -> Report:
    """Put the senior's dataset together: mixed cases, donors and what else is asked for, and the split.

    Of Stage 1 come the cases that may: never a validation task's for training, nor a held-out subject's.
    """
    from synthtumour import fanout, stage2_cases
    from synthtumour.journal import Journal
    from synthtumour.nnunet import dataset_at, next_commands, safe_name, tumour_free, write_dataset
    from synthtumour.progress import speaker, tell_outcome
    from synthtumour.report import report_file, write_report
    from synthtumour.volume import InputError

    dataset = dataset_at(args.combine)
    outputs = {case.name: case.outputs[: args.modality_num + 1] for group in groups for case in group.cases}
    new_groups = []
    more = {
        "stage1": args.stage1 and str(args.stage1.resolve()),
        "tumour-free-fraction": args.tumour_free_fraction,
    }

    def add(name: str, member: stage2_cases.Member, kind: str, subjects: str, split: str) -> None:
        files = (*(dataset.image(name, n) for n in range(args.modality_num)), dataset.label(name))
        columns = {"kind": kind, "subjects": subjects, "split": split}
        new_groups.append(
            fanout.Group(member, (fanout.Case(name, files, member.parameters, member.inputs, columns),))
        )

    for row in mixed.rows:
        if row["status"] == "made":
            name, subjects = str(row["case"]), f"{row['donor_subject']}, {row['recipient_subject']}"
            member = stage2_cases.Member(None, limits, outputs[name], row["volume_ml"])
            add(name, member, "mixed", subjects, str(row["split"]))
    for donor in donors:
        name, split = stage2_cases.member_name(donor.name), "val" if donor.subject in held_out else "train"
        add(name, stage2_cases.Member(donor, limits), "pseudo-labelled", donor.subject, split)
    coming = [case for case in stage1_cases if (case.split == "val") == (case.subject in held_out)]
    for case in coming:
        member = stage2_cases.Member(None, limits, case.files, case.volume_ml)
        add(case.name, member, f"Stage 1, {case.kind}", case.subject, case.split)
    # As Stage 1 names and chooses them, so that the same scan does not come from both.
    free = tumour_free([head.name for head in recipients], args.tumour_free_fraction, args.seed)
    already = {case.name for case in coming}
    for head in recipients:
        name, split = f"{safe_name(head.name)}_free", "val" if head.subject in held_out else "train"
        if head.name in free and name not in already:
            add(name, stage2_cases.Member(head, limits), "tumour-free", head.subject, split)
    names = Counter(case.name for group in new_groups for case in group.cases)
    if both := [name for name, count in sorted(names.items()) if count > 1]:
        raise InputError(f"{both[0]}: two cases of this name for {dataset.folder}; rename one of the scans")
    about = {**about, "program": COMBINING, **more}
    reserved = (*dataset.files, report_file(dataset.folder))
    with Journal(dataset.folder, about, reserved=reserved, overwrite=args.overwrite) as journal:
        report = fanout.run(
            new_groups,
            stage2_cases.load_member,
            stage2_cases.make_member,
            journal,
            preload=("synthtumour.stage2_cases",),
            **workers,
        )
        there = [row for row in report.rows if row["status"] == "made"]
        training = [str(row["case"]) for row in there if row["split"] == "train"]
        validation = [str(row["case"]) for row in there if row["split"] == "val"]
        say = speaker(args.tell)
        tell_outcome(report, args.tell, "cases of the senior's dataset")
        say(f"of them {len(training)} for training, {len(validation)} for validation")
        if stage1_cases:
            say(f"of Stage 1: {len(coming)} of {len(stage1_cases)} cases; the others are on the other side")
        say(f"dataset: {dataset.folder}")
        say(write_report(dataset.folder, report.rows, pictures=None, notes=report.notes))
        if report.interrupted:
            say_next(args, report)
            return report
        channels = ["FLAIR", *(f"channel {n}" for n in range(1, args.modality_num))]
        text = f"Stage 2 of SynthTumour {__version__}, seed {args.seed}"
        write_dataset(dataset, training, validation, text, channels)
        if report.failed:
            say("what failed is tried again by the same command")
        say("next:")
        for command in next_commands(dataset, bool(training and validation)):
            say(f"  {command}")
        return report


def main(argv: list[str] | None = None) -> int:
    return run(stage2, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
