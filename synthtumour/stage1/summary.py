"""What a Stage 1 run says when it is done."""

from __future__ import annotations

from synthtumour.dataset.commands import next_commands
from synthtumour.dataset.nnunet import Dataset
from synthtumour.dataset.subjects import Found
from synthtumour.report.page import SHEET_FILE
from synthtumour.runs.cases import Report
from synthtumour.runs.progress import by_reason, speaker, tell_outcome, typed
from synthtumour.runs.settings import MANIFEST_FILE
from synthtumour.stage1.plan import PREVIEWS_FOLDER, Stage1Run
from synthtumour.text import counted


def on_side(report: Report, side: str) -> list[str]:
    """The cases that are there on one side of the split, 'train' or 'val'."""
    return [str(row["case"]) for row in report.rows if row["status"] == "made" and row["split"] == side]


def tell_summary(asked: Stage1Run, dataset: Dataset, found: Found, report: Report, page: str) -> None:
    """What there is now, and what to type next; `page` is the line about the report."""
    training, validation = (on_side(report, side) for side in ("train", "val"))
    say = speaker(asked.conduct.tell)
    tell_outcome(report, asked.conduct.tell)
    say(f"of them {len(training)} for the training task, {len(validation)} for the validation task")
    scans, subjects = len(found.scans), len({scan.subject for scan in found.scans})
    what = f"{counted(scans, 'scan')} of {counted(subjects, 'subject')} ({found.layout})"
    say(f"input: {what}, {counted(len(found.skipped), 'entry', 'entries')} skipped")
    for line in by_reason((name, reason, ()) for name, reason in found.skipped):
        say(f"  skipped {line}")
    ours = {
        dataset.image(case, channel)
        for case in (*training, *validation)
        for channel in range(1 + len(asked.channels))
    }
    others = sorted(path.name for path in (dataset.folder / "imagesTr").glob("*") if path not in ours)
    if others:
        named = f"{others[0]}{', ...' if others[1:] else ''}"
        what = f"{counted(len(others), 'file')} that this run did not make ({named})"
        say(f"  note imagesTr holds {what}; nnU-Net counts every image there")
    say(f"dataset: {dataset.folder} (imagesTr, labelsTr)")
    say(f"every case, drawn and measured: {dataset.folder / MANIFEST_FILE}")
    say(page)
    if report.interrupted or not (training or validation):
        say("next:")
        say(f"  {typed(asked.conduct.command)}")
        return
    if asked.conduct.preview:
        say(f"pictures: {dataset.folder / PREVIEWS_FOLDER}")
        say(f"some of them on one sheet: {dataset.folder / SHEET_FILE}")
    for line in _for_training(asked, dataset, report, bool(training and validation)):
        say(line)


def _for_training(asked: Stage1Run, dataset: Dataset, report: Report, has_split: bool) -> list[str]:
    """What to know, and to type, to train on a dataset that is complete."""
    said = []
    rows = [row for row in report.rows if row["status"] == "made" and row["split"] == "train"]
    sizes = {float(str(row["head_scale"])) for row in rows if row["variant"] != ""}  # not of untouched scans
    if sizes - {1.0}:
        which = f"{min(sizes):g} to {max(sizes):g} times the size they were scanned in"
        said.append(f"training heads: {which} (--head-scale)")
    if not has_split:
        said.append(
            "no split was written: it needs cases on both sides (two subjects, --val-fraction above 0)"
        )
    trainer = ""
    if has_split and not any(row["tumours"] for row in rows):
        if asked.preset.tumour_free_probability < 1:
            said.append(
                "no training case has a tumour, by chance: give more --variants, another --seed, or "
                "--without-tumour 0"
            )
        elif not asked.channels:  # it takes FLAIR alone
            trainer = f"nnUNetTrainerSynthTumour{'Diverse' * (asked.preset.name == 'diverse')}"
            said.append(
                "no training case has a tumour: the trainer draws them (nnU-Net v2, skull-stripped scans)"
            )
    if report.failed:
        said.append("what failed is tried again by the same command")
    commands = [f"  {command}" for command in next_commands(dataset, has_split, trainer)]
    return [*said, "next:", *commands]
