"""Stage 2 from what is asked for to mixed cases, and to the senior's dataset."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synthtumour.report.page import SHEET_FILE, report_file, write_report
from synthtumour.report.sheet import write_sheet
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.folder import held
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import speaker, tell_shard
from synthtumour.runs.run import Working, run
from synthtumour.stage2.cases import load_for_mixing, make_mixed
from synthtumour.stage2.gate import (
    UNUSABLE,
    Rejection,
    pass_through_gate,
    refuse_all,
    rejections,
    with_made_masks,
    write_rejected,
)
from synthtumour.stage2.heads import HeadFiles, caution_of, find_donors, find_recipients
from synthtumour.stage2.plan import PICTURES_FOLDER, Stage2Run, held_out_by, plan
from synthtumour.stage2.senior import check_members, combine, find_stage1_cases, spelt_alike
from synthtumour.stage2.summary import cautions, say_what_there_is, tell_next, write_mix_ids

_PRELOAD = ("synthtumour.stage2.cases", "synthtumour.stage2.picture")  # the second for previews only


@dataclass(frozen=True)
class _Heads:
    """Those that can be used, and what became of the others."""

    donors: list[HeadFiles]
    recipients: list[HeadFiles]
    rejected: list[Rejection]
    gate: Report


def mix_tumours(asked: Stage2Run) -> int:
    """Make the mixed cases, and the senior's dataset if it is asked for; the exit code.

    Raises InputError before any work.
    """
    asked.check()
    conduct, folder = asked.conduct, asked.tables
    stage1 = find_stage1_cases(asked.stage1, asked.channels, asked.subject_pattern) if asked.stage1 else []
    pattern, image_name = asked.subject_pattern, asked.image_name
    donors, unlabelled = find_donors(
        asked.images, asked.labels, asked.channels, asked.donor_masks, pattern, image_name, asked.label_name
    )
    recipients = find_recipients(asked.healthy, asked.channels, asked.healthy_masks, pattern, image_name)
    stage1, donors, recipients = spelt_alike(stage1, donors, recipients)
    if caution := caution_of(donors, recipients, pattern):
        warnings.warn(caution, stacklevel=2)
    check_members(asked, donors, recipients, stage1)
    donors, recipients = (
        [
            replace(head, skull_strip=asked.skull_strip, any_brain_volume=asked.any_brain_volume)
            for head in heads
        ]
        for heads in (donors, recipients)
    )
    reads = [asked.images, asked.labels, asked.healthy]
    reads += [place for place in (asked.donor_masks, asked.healthy_masks, asked.stage1) if place is not None]
    writes = [folder, asked.images.parent, asked.labels.parent, asked.combine or folder]
    part = conduct.shard.lock if conduct.shard else ""
    reserved = (asked.mix_ids, report_file(folder), folder / SHEET_FILE)
    with (
        conduct.working(reads, writes) as working,
        Journal(
            folder, asked.settings, reserved=reserved, overwrite=conduct.overwrite, **conduct.sharing
        ) as journal,
        # a run with another CHECK folder stays out of the mixed images
        held(asked.mixed_images, part, conduct.command, remedy="make its folder writable"),
    ):
        before = [Rejection("donor", *entry) for entry in unlabelled]
        heads = _usable(asked, donors, recipients, before, working)
        if isinstance(heads, int):
            return heads
        held_out = held_out_by(asked, heads.donors, heads.recipients)
        groups = plan(asked, heads.donors, heads.recipients, held_out)
        preload = _PRELOAD[: 1 + conduct.preview]
        report = run(groups, load_for_mixing, make_mixed, journal, working, preload=preload)
        if journal.shard:
            tell_shard(report, journal.shard, conduct.tell)
            return report.exit_code
        report = _finish(asked, heads, report)
        exit_code = report.exit_code or int(
            any(one.role == "healthy" or one.kind == UNUSABLE for one in heads.rejected)
        )
        if report.interrupted or asked.combine is None:
            tell_next(conduct, report)
            return exit_code
        combined = combine(
            asked, heads.donors, heads.recipients, stage1, held_out, report, _files(asked, groups), working
        )
        return combined.exit_code or exit_code


def _usable(
    asked: Stage2Run,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    rejected: list[Rejection],
    working: Working,
) -> _Heads | int:
    """The heads that pass the gate; an exit code if that was interrupted. InputError if none is left."""
    folder = asked.tables
    if asked.conduct.make_masks:
        donors, recipients, masks = with_made_masks(asked, donors, recipients, working)
        if masks.interrupted:
            print("interrupted while brain masks were made; the same command carries on")
            return masks.exit_code
        for name, why in masks.failed:
            role, _, head = name.partition("/")
            rejected.append(Rejection(role, head, UNUSABLE, why))
    gate = pass_through_gate(asked, [*donors, *recipients], working)
    if gate.interrupted:
        print("interrupted while the scans were looked at; the same command carries on")
        return gate.exit_code
    rejected += rejections(gate)
    refused = {(one.role, one.name) for one in rejected}
    donors = [head for head in donors if ("donor", head.name) not in refused]
    recipients = [head for head in recipients if ("healthy", head.name) not in refused]
    if not donors or not recipients:
        write_rejected(rejected, folder)
        refuse_all(rejected, "healthy" if donors else "donor", folder)
    return _Heads(donors, recipients, rejected, gate)


def _finish(asked: Stage2Run, heads: _Heads, report: Report) -> Report:
    """Write the tables, then what people look at, and say what there is; the report with its cautions."""
    conduct, folder = asked.conduct, asked.tables
    report = replace(report, notes=(*report.notes, *cautions(asked.mixing, heads.gate, report)))
    write_rejected(heads.rejected, folder)
    write_mix_ids(report, asked.mix_ids)
    if conduct.preview:
        title = f"{asked.prefix}, seed {asked.seed}"
        report = replace(
            report, notes=(*report.notes, *write_sheet(folder, PICTURES_FOLDER, report.rows, title))
        )
    page = write_report(
        folder,
        report.rows,
        brains=[(head.channels[0], head.mask) for head in heads.recipients],
        left_out={
            what: [(f"{one.name}: {one.reason}", one.kind) for one in heads.rejected if one.role == role]
            for role, what in (("donor", "rejected donors"), ("healthy", "rejected tumour-free scans"))
        },
        pictures=PICTURES_FOLDER,
        notes=report.notes,
    )
    say_what_there_is(asked, report, len(heads.donors), len(heads.recipients), heads.rejected)
    speaker(conduct.tell)(page)
    return report


def _files(asked: Stage2Run, groups: Sequence[Group]) -> dict[str, tuple[Path, ...]]:
    """The channels and the label of every mixed case."""
    return {case.name: case.outputs[: asked.channels + 1] for group in groups for case in group.cases}
