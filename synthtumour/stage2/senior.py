"""The senior network's dataset: mixed cases, donors, Stage 1's cases, tumour-free scans."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from synthtumour import __version__
from synthtumour.dataset.commands import next_commands
from synthtumour.dataset.nnunet import (
    VAL_SUFFIX,
    Dataset,
    check_names,
    dataset_at,
    safe_name,
    write_dataset,
)
from synthtumour.dataset.sessions import of_one_spelling, subject_of_case
from synthtumour.dataset.sides import tumour_free
from synthtumour.errors import InputError
from synthtumour.files.checks import check_file
from synthtumour.files.staging import read_json
from synthtumour.presets import GateLimits
from synthtumour.report.page import report_file, write_report
from synthtumour.runs.cases import Case, Group, Report
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import speaker, tell_outcome
from synthtumour.runs.run import Working, run
from synthtumour.stage2.heads import HeadFiles, read_donor, read_head
from synthtumour.stage2.plan import COMBINING, Stage2Run, held_out_by, mixed_name
from synthtumour.stage2.summary import tell_next
from synthtumour.text import counted
from synthtumour.volume.writing import write_in_place


@dataclass(frozen=True)
class Member:
    """Where a case of the combined dataset comes from: a donor, a tumour-free scan, or `files` to copy."""

    head: HeadFiles | None
    limits: GateLimits
    files: tuple[Path, ...] = ()
    volume_ml: object = None  # of the label among `files`, as measured when it was made

    @property
    def parameters(self) -> dict[str, object]:
        """What the bytes of the case follow from."""
        if self.head is None:
            return {"copied": True}
        if self.head.label is None:
            return {"tumour-free": self.head.about}
        return {"donor": self.head.about, "limits": self.limits.parameters}

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.files if self.head is None else self.head.files


@dataclass(frozen=True)
class Stage1Case:
    """A case of a Stage 1 dataset: its files (channels, then the label), subject and side of the split."""

    name: str
    subject: str
    split: str
    kind: str
    files: tuple[Path, ...]
    volume_ml: float


def find_stage1_cases(folder: Path, channels: int, subject_pattern: str | None) -> list[Stage1Case]:
    """The cases that prompt_multi_tumor.py made in `folder`; InputError if it is no such dataset."""
    import pandas as pd

    dataset = dataset_at(folder)
    columns = dict.fromkeys(("case", "subject", "split", "kind", "status"), str) | {"volume_ml": float}
    try:
        check_file(folder / "manifest.csv")
        labels = read_json(dataset.files[0])["labels"]
        table = pd.read_csv(
            folder / "manifest.csv", dtype={**columns, "scan": str}, usecols=lambda c: c in (*columns, "scan")
        )
        if not isinstance(labels, dict):
            raise ValueError("dataset.json has no labels")
        if not all(map(_is_stage1_row, table[list(columns)].itertuples(index=False, name=None))):
            raise ValueError("manifest.csv is not as it was written")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{folder}: not a finished dataset of prompt_multi_tumor.py ({error}); give that to --stage1"
        ) from error
    if "tumour" not in labels and "tumour" not in labels.values():
        raise InputError(
            f"{folder}: made with --labels brats; the senior learns whole tumours, so leave that out"
        )
    found = []
    scans = table["scan" if "scan" in table else "subject"].fillna(table["subject"])
    rows = table[list(columns)].itertuples(index=False)
    for scan, (case, subject, split, kind, status, volume_ml) in zip(scans, rows, strict=True):
        files = (*(dataset.image(case, number) for number in range(channels)), dataset.label(case))
        if status != "made":
            continue
        if missing := [file for file in files if not file.is_file()]:
            what = "not a file" if os.path.lexists(missing[0]) else "no such file"
            raise InputError(f"{missing[0]}: {what}; run Stage 1 again, or leave --stage1 out")
        whose = subject_of_case(scan, subject_pattern, subject)
        found.append(Stage1Case(case, whose, split, kind, files, volume_ml))
    return found


def spelt_alike(
    stage1: Sequence[Stage1Case], donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles]
) -> tuple[list[Stage1Case], list[HeadFiles], list[HeadFiles]]:
    """All of them, subjects whose names differ in case alone being one."""
    spelt = of_one_spelling(
        [*(case.subject for case in stage1), *(one.subject for one in (*donors, *recipients))]
    )
    cases = [replace(case, subject=spelt[case.subject]) for case in stage1]
    own, other = (
        [replace(one, subject=spelt[one.subject]) for one in heads] for heads in (donors, recipients)
    )
    return cases, own, other


def _is_stage1_row(row: tuple[object, ...]) -> bool:
    """Whether a manifest's row can be of Stage 1: a name becomes that of files to read and write."""
    case, subject, split, kind, _, _ = row
    return (
        isinstance(case, str)
        and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", case) is not None
        and isinstance(subject, str)
        and split in ("train", "val")
        and isinstance(kind, str)
    )


def member_name(donor: str) -> str:
    """A donor's name as nnU-Net can take it; the ending of Stage 1's validation task may stay here."""
    stem = donor.removesuffix(VAL_SUFFIX)
    return safe_name(stem) + donor[len(stem) :] if stem else safe_name(donor)


def check_members(
    asked: Stage2Run,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    stage1: Sequence[Stage1Case],
) -> None:
    """Raise InputError if two cases of the dataset to come would get the same name, if all could be used."""
    if asked.combine is None or len({donor.subject for donor in donors}) < 2:  # which is told later
        return
    dataset, held_out = dataset_at(asked.combine), held_out_by(asked, donors, recipients)
    mixed = ((mixed_name(asked, number), "a mixed case") for number in range(asked.number))
    _check_names(
        dataset, _members(asked, dataset, donors, recipients, _coming(stage1, held_out), held_out), mixed
    )


def _check_names(dataset: Dataset, groups: Iterable[Group], mixed: Iterable[tuple[str, str]] = ()) -> None:
    sources = [(group.cases[0].name, cast(Member, group.source)) for group in groups]
    named = [(name, source.head.channels[0] if source.head else source.files[0]) for name, source in sources]
    check_names((name, scan, dataset.folder) for name, scan in (*mixed, *named))


def load_member(source: Member) -> Member:
    return source


def make_member(member: Member, case: Case) -> Mapping[str, object]:
    """Copy a case, or write a donor with its cleaned pseudo-label or a tumour-free scan with an empty one."""
    if member.head is None:
        for file, output in zip(member.files, case.outputs, strict=True):
            shutil.copyfile(file, output)
        return {"volume_ml": member.volume_ml}
    if member.head.label is None:
        head, tumour, volume_ml = read_head(member.head, is_tumour_free=True), None, 0.0
    else:
        donor = read_donor(member.head, member.limits)
        head, tumour, volume_ml = donor.head, donor.label, donor.measured["volume_ml"]
    label = head.channels[0].with_array(np.zeros_like(head.brain) if tumour is None else tumour)
    for volume, path in zip((*head.channels, label), case.outputs, strict=True):
        write_in_place(volume, path)
    return {"volume_ml": volume_ml}


def combine(
    asked: Stage2Run,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    stage1: Sequence[Stage1Case],
    held_out: set[str],
    mixed: Report,
    files: Mapping[str, tuple[Path, ...]],
    working: Working,
) -> Report:
    """Put the senior's dataset together: mixed cases (`files`), donors, what else is asked for, a split.

    Of Stage 1 come the cases that may: never a validation task's for training, nor a held-out subject's.
    """
    assert asked.combine is not None
    dataset, conduct = dataset_at(asked.combine), asked.conduct
    coming = _coming(stage1, held_out)
    groups = [
        *_mixed_members(asked, dataset, mixed, files),
        *_members(asked, dataset, donors, recipients, coming, held_out),
    ]
    _check_names(dataset, groups)
    about = {
        **asked.settings,
        "program": COMBINING,
        "stage1": asked.stage1 and str(asked.stage1.resolve()),
        "tumour-free-fraction": asked.add_untouched,
    }
    reserved = (*dataset.files, report_file(dataset.folder))
    with Journal(
        dataset.folder, about, reserved=reserved, overwrite=conduct.overwrite, command=conduct.command
    ) as journal:
        preload = ("synthtumour.stage2.senior",)
        report = run(groups, load_member, make_member, journal, working, preload=preload)
        _finish(asked, dataset, report, _of_stage1(coming, stage1))
    return report


def _of_stage1(coming: Sequence[Stage1Case], stage1: Sequence[Stage1Case]) -> str:
    """How many of Stage 1's cases come, and why not more; '' if there are none."""
    why = "; the rest would be on the wrong side of the split" if len(coming) < len(stage1) else ""
    return f"{len(coming)} of {counted(len(stage1), 'case')}{why}" if stage1 else ""


def _coming(stage1: Sequence[Stage1Case], held_out: set[str]) -> list[Stage1Case]:
    return [case for case in stage1 if (case.split == "val") == (case.subject in held_out)]


def _members(
    asked: Stage2Run,
    dataset: Dataset,
    donors: Sequence[HeadFiles],
    recipients: Sequence[HeadFiles],
    coming: Sequence[Stage1Case],
    held_out: set[str],
) -> Iterator[Group]:
    """All but the mixed cases."""
    yield from _donor_members(asked, dataset, donors, held_out)
    yield from _stage1_members(asked, dataset, coming)
    already = {case.name for case in coming}
    yield from _tumour_free_members(asked, dataset, recipients, held_out, already)


def _member(
    asked: Stage2Run, dataset: Dataset, name: str, member: Member, kind: str, subjects: str, split: str
) -> Group:
    files = (*(dataset.image(name, n) for n in range(asked.channels)), dataset.label(name))
    columns = {"kind": kind, "subjects": subjects, "split": split}
    return Group(member, (Case(name, files, member.parameters, member.inputs, columns),))


def _mixed_members(
    asked: Stage2Run, dataset: Dataset, mixed: Report, files: Mapping[str, tuple[Path, ...]]
) -> Iterator[Group]:
    for row in mixed.rows:
        if row["status"] == "made":
            name, subjects = str(row["case"]), f"{row['donor_subject']}, {row['recipient_subject']}"
            member = Member(None, asked.limits, files[name], row["volume_ml"])
            yield _member(asked, dataset, name, member, "mixed", subjects, str(row["split"]))


def _donor_members(
    asked: Stage2Run, dataset: Dataset, donors: Sequence[HeadFiles], held_out: set[str]
) -> Iterator[Group]:
    for donor in donors:
        name, split = member_name(donor.name), "val" if donor.subject in held_out else "train"
        member = Member(donor, asked.limits)
        yield _member(asked, dataset, name, member, "pseudo-labelled", donor.subject, split)


def _stage1_members(asked: Stage2Run, dataset: Dataset, coming: Sequence[Stage1Case]) -> Iterator[Group]:
    for case in coming:
        member = Member(None, asked.limits, case.files, case.volume_ml)
        yield _member(asked, dataset, case.name, member, f"Stage 1, {case.kind}", case.subject, case.split)


def _tumour_free_members(
    asked: Stage2Run,
    dataset: Dataset,
    recipients: Sequence[HeadFiles],
    held_out: set[str],
    already: set[str],
) -> Iterator[Group]:
    """As Stage 1 names and chooses them, so that the same scan does not come from both."""
    free = tumour_free([head.name for head in recipients], asked.add_untouched, asked.seed)
    for head in recipients:
        name, split = f"{safe_name(head.name)}_free", "val" if head.subject in held_out else "train"
        if head.name in free and name not in already:
            member = Member(head, asked.limits)
            yield _member(asked, dataset, name, member, "tumour-free", head.subject, split)


def _finish(asked: Stage2Run, dataset: Dataset, report: Report, of_stage1: str) -> None:
    """Write dataset.json, the split and the report, unless interrupted, and say what there is."""
    there = [row for row in report.rows if row["status"] == "made"]
    training = [str(row["case"]) for row in there if row["split"] == "train"]
    validation = [str(row["case"]) for row in there if row["split"] == "val"]
    if not report.interrupted:
        channels = ["FLAIR", *(f"channel {n}" for n in range(1, asked.channels))]
        text = f"Stage 2 of SynthTumour {__version__}, seed {asked.seed}"
        write_dataset(dataset, training, validation, text, channels)
    page = write_report(dataset.folder, report.rows, pictures=None, notes=report.notes)
    say = speaker(asked.conduct.tell)
    tell_outcome(report, asked.conduct.tell, of=" of the senior's dataset")
    say(f"of them {len(training)} for training, {len(validation)} for validation")
    if of_stage1:
        say(f"of Stage 1: {of_stage1}")
    say(f"dataset: {dataset.folder}")
    say(page)
    if report.interrupted:
        tell_next(asked.conduct, report)
        return
    if report.failed:
        say("what failed is tried again by the same command")
    say("next:")
    for command in next_commands(dataset, bool(training and validation)):
        say(f"  {command}")
