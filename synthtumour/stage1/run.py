"""Stage 1 over a folder of scans, from what is asked for to a dataset that nnU-Net takes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from synthtumour import __version__
from synthtumour.brain import hdbet
from synthtumour.dataset.nnunet import Dataset, dataset_at, safe_name, write_dataset
from synthtumour.dataset.subjects import Found, find_scans
from synthtumour.report.page import SHEET_FILE, report_file, write_report
from synthtumour.report.sheet import write_sheet
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import tell_shard
from synthtumour.runs.run import Working, run
from synthtumour.runs.shards import shard_of_each
from synthtumour.stage1.cases import Source, load_scan, make_case
from synthtumour.stage1.plan import PREVIEWS_FOLDER, Stage1Run, caution_of, plan
from synthtumour.stage1.summary import on_side, tell_summary

_PRELOAD = ("synthtumour.stage1.cases", "synthtumour.stage1.picture")  # the second for previews only


def make_dataset(asked: Stage1Run) -> int:
    """Make the dataset, carry it on, or a part of it; the exit code. Raises InputError before any work."""
    asked.check()
    dataset = dataset_at(asked.output)
    found = find_scans(asked.input, asked.image_name, asked.mask_name, asked.subject_pattern)
    groups = plan(asked, found, dataset)
    if caution := caution_of(asked, found):
        warnings.warn(caution, stacklevel=2)
    conduct, sheet = asked.conduct, dataset.folder / SHEET_FILE
    reserved = (*dataset.files, report_file(dataset.folder), sheet)
    with (
        conduct.working((asked.input,), (dataset.folder,)) as working,
        Journal(
            dataset.folder,
            asked.settings,
            reserved=reserved,
            overwrite=conduct.overwrite,
            **conduct.sharing,
        ) as journal,
    ):
        if conduct.make_masks:
            found, masks = _with_made_masks(asked, found, groups, journal, working)
            if masks.interrupted:
                print("interrupted while brain masks were made; the same command carries on")
                return masks.exit_code
            groups = plan(asked, found, dataset, dict(masks.failed))
        preload = _PRELOAD[: 1 + conduct.preview]
        report = run(groups, load_scan, make_case, journal, working, preload=preload)
        if journal.shard:
            tell_shard(report, journal.shard, conduct.tell)
            return report.exit_code
        if caution:
            report = replace(report, notes=(*report.notes, caution))
        if not report.interrupted:
            _write_dataset(asked, dataset, report)
        report, page = _write_pictures_and_page(asked, dataset, found, report)
        tell_summary(asked, dataset, found, report, page)
    return report.exit_code


def _with_made_masks(
    asked: Stage1Run, found: Found, groups: Sequence[Group], journal: Journal, working: Working
) -> tuple[Found, Report]:
    """`found` with a brain mask made, in a folder of the dataset, for every scan of `groups` that has none.

    The report says of which that failed, and why.
    """
    folder = journal.folder / hdbet.FOLDER
    shards = shard_of_each(groups, journal.part_count)  # each makes the masks of its own scans
    without, whose = {}, {}
    for group in groups:
        scan = cast(Source, group.source).scan
        if not (scan.mask and os.path.lexists(scan.mask)):
            without[safe_name(scan.name)] = scan
            whose[safe_name(scan.name)] = shards[group.cases[0].name]
    images = {name: scan.image for name, scan in without.items()}
    report = hdbet.make_masks(images, folder, working, whose, **asked.conduct.sharing)
    for name, _ in report.failed:
        del without[name]
    made = {scan: replace(scan, mask=hdbet.mask_in(folder, name)) for name, scan in without.items()}
    return replace(found, scans=tuple(made.get(scan, scan) for scan in found.scans)), report


def _write_dataset(asked: Stage1Run, dataset: Dataset, report: Report) -> None:
    """dataset.json and the split, if any case was made."""
    training, validation = (on_side(report, side) for side in ("train", "val"))
    if training or validation:
        channels = ("FLAIR", *(contrast.upper() for contrast in asked.channels))
        about = f"Stage 1 of SynthTumour {__version__}, seed {asked.seed}"
        regions = asked.preset.labels == "brats"
        write_dataset(dataset, training, validation, about, channels, regions=regions)


def _write_pictures_and_page(
    asked: Stage1Run, dataset: Dataset, found: Found, report: Report
) -> tuple[Report, str]:
    """The contact sheet and the page; the report with what went wrong there, and the line about the page."""
    if asked.conduct.preview:
        title = f"{dataset.folder.name}, preset {asked.preset.name}, seed {asked.seed}"
        failed = write_sheet(dataset.folder, PREVIEWS_FOLDER, report.rows, title)
        report = replace(report, notes=(*report.notes, *failed))
    made_from = {asked.input / str(row["source"]) for row in report.rows if row["status"] == "made"}
    page = write_report(
        dataset.folder,
        report.rows,
        brains=[(scan.image, scan.mask) for scan in found.scans if scan.image in made_from],
        left_out={"skipped": found.skipped},
        notes=report.notes,
    )
    return report, page
