"""What a Stage 2 run says when it is done, and its table of mixed cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthtumour.presets import Mixing
from synthtumour.report.page import SHEET_FILE
from synthtumour.runs.cases import Report
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.progress import by_reason, speaker, tell_outcome, typed
from synthtumour.runs.table import write_table
from synthtumour.stage2.gate import UNUSABLE, Rejection, tally
from synthtumour.stage2.plan import PICTURES_FOLDER, REJECTED_FILE, Stage2Run


def write_mix_ids(report: Report, table: Path) -> None:
    """id, id1, id2 (mixed case, donor, recipient) of every case that is there, and its figures."""
    made = [row for row in report.rows if row["status"] == "made"]
    made.sort(key=lambda row: int(str(row["case"]).rpartition("_")[2]))
    # "seconds" differ from run to run: manifest.csv has them, this table repeats to the byte
    left_out = ("case", "status", "reason", "seconds")
    keys = dict.fromkeys(["id1", "id2", *(key for row in made for key in row)])
    columns = {"id": "case", **{key: key for key in keys if key not in left_out}}
    decimal = {column for column in columns if _has_decimals([row.get(column) for row in made])}
    write_table(made, columns, table, decimal)


def _has_decimals(values: Sequence[object]) -> bool:
    """Whether a column is one of numbers that are not all there, or not all whole."""
    numbers = [value for value in values if value is not None]
    if not numbers or not all(type(value) in (int, float) for value in numbers):
        return False
    return len(numbers) < len(values) or any(type(value) is float for value in numbers)


def cautions(mixing: Mixing, gate: Report, report: Report) -> list[str]:
    """What a user should know of these cases before a network learns from them."""
    said = []
    looks = [(r["id1"], r["id2"], r["mirrored"]) for r in report.rows if r["status"] == "made"]
    repeated = len(looks) - len(set(looks))
    if mixing.carve == "label" and not mixing.jitter_mm and repeated:
        said.append(
            f"exact repeats of another case, for want of donors and scans: {repeated} of {len(looks)}; "
            "--jitter or --carve distance makes them differ, -num asks for fewer"
        )
    whole = [row["whole_head"] for row in gate.rows if "whole_head" in row]
    if any(whole) and not all(whole):
        said.append(
            f"whole heads: {sum(map(bool, whole))} of {len(whole)} scans, the rest skull-stripped; "
            "--skull-strip makes them alike"
        )
    return said


def say_what_there_is(
    asked: Stage2Run, report: Report, donors: int, recipients: int, rejected: Sequence[Rejection]
) -> None:
    """How many cases of how many heads, what was rejected, and where all of it is."""
    tell, folder = asked.conduct.tell, asked.tables
    say = speaker(tell)
    tell_outcome(report, tell)
    for role, used, what in (
        ("donor", donors, "donors with their pseudo-labels"),
        ("healthy", recipients, "tumour-free scans"),
    ):
        of_role = [one for one in rejected if one.role == role]
        say(f"{what}: {used} used, {tally(of_role)}")
        for fails in (True, False):  # the exit code is 1 for those
            told = [one for one in of_role if (role == "healthy" or one.kind == UNUSABLE) == fails]
            for line in by_reason((one.name, one.reason, ()) for one in told):
                speaker("usual" if fails else tell)(f"  rejected {line}")
    say(f"mixed images: {asked.mixed_images}")
    say(f"their labels: {asked.mixed_labels}")
    say(f"every case, drawn and measured: {asked.mix_ids}")
    say(f"what was rejected: {folder / REJECTED_FILE}")
    if asked.conduct.preview and any(row["status"] == "made" for row in report.rows):
        say(f"pictures: {folder / PICTURES_FOLDER}")
        say(f"some of them on one sheet: {folder / SHEET_FILE}")


def tell_next(conduct: Conduct, report: Report) -> None:
    """The command that makes what is missing, or the one for the senior's dataset."""
    say = speaker(conduct.tell)
    more: tuple[str, ...] = ()
    if report.made + report.kept and not report.interrupted:
        say("for the senior's dataset and its split, pairs are made anew within each side, replacing these:")
        more = ("--combine", "nnUNet_raw/Dataset102_Senior", "--overwrite")
    say("next:")
    say(f"  {typed(conduct.command, *more)}")
