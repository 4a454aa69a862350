"""Every head is looked at once, before any work: which can be used, and what is wrong with the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from synthtumour import __version__
from synthtumour.brain import hdbet
from synthtumour.errors import InputError
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import waiting
from synthtumour.runs.run import Working, run
from synthtumour.runs.settings import is_run
from synthtumour.runs.table import write_table
from synthtumour.stage2.cases import gate_case, load_for_gate, look_at
from synthtumour.stage2.heads import HeadFiles
from synthtumour.stage2.plan import GATE_FOLDER, PROGRAM, REJECTED_FILE, Stage2Run

_ROLES = {"donor": "tumour scan with a usable pseudo-label", "healthy": "usable tumour-free scan"}
UNUSABLE = "unusable file"


@dataclass(frozen=True, order=True)
class Rejection:
    """A head that cannot be used: what is wrong with it in short (`kind`), and at length (`reason`)."""

    role: str  # 'donor' or 'healthy'
    name: str
    kind: str
    reason: str
    before_ml: str = ""  # of the label, as it was read
    after_ml: str = ""  # cleaned and refined


def with_made_masks(
    asked: Stage2Run, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], working: Working
) -> tuple[list[HeadFiles], list[HeadFiles], Report]:
    """Donors and recipients with a brain mask made, in a folder of the tables, for those that have none.

    Those of which that failed are left out; the report says why.
    """
    masks, conduct = asked.tables / hdbet.FOLDER, asked.conduct
    named = [(f"donor/{head.name}", head) for head in donors]
    named += [(f"healthy/{head.name}", head) for head in recipients]
    without = {name: head for name, head in named if not (head.mask and os.path.lexists(head.mask))}
    images = {name: head.channels[0] for name, head in without.items()}
    # As the gate, which needs them all: of several shards the first makes them, the others wait for it.
    wait = waiting(conduct.tell)
    report = hdbet.make_masks(images, masks, working, wait=wait, command=conduct.command)
    failed = dict(report.failed)
    sides: dict[str, list[HeadFiles]] = {"donor": [], "healthy": []}
    for name, head in named:
        if name in without:
            head = replace(head, mask=hdbet.mask_in(masks, name))
        if name not in failed:
            sides[name.split("/")[0]].append(head)
    return sides["donor"], sides["healthy"], report


def pass_through_gate(asked: Stage2Run, heads: Sequence[HeadFiles], working: Working) -> Report:
    """Look at every head once; what an earlier run saw is not looked at again."""
    folder = asked.tables / GATE_FOLDER
    cases = [gate_case(head, asked.limits) for head in heads]
    groups = [Group((head, asked.limits), (case,)) for head, case in zip(heads, cases, strict=True)]
    about = {"program": f"{PROGRAM}, gate", "version": __version__, "cases": [case.name for case in cases]}
    # It holds notes only, no images. Of several shards the first looks at the heads, the others wait for it.
    wait, command = waiting(asked.conduct.tell), asked.conduct.command
    with Journal(folder, about, overwrite=True, wait=wait, command=command) as journal:
        journal.overwrite = not is_run(folder, about)
        preload = ("synthtumour.stage2.cases",)
        return run(groups, load_for_gate, look_at, journal, working, preload=preload, unit="scans")


def rejections(gate: Report) -> list[Rejection]:
    """The heads that cannot be used."""
    found = []
    for row in gate.rows:
        kind, why = row.get("rejected"), row.get("why")
        if row["status"] != "made":
            kind, why = UNUSABLE, row["reason"]
        if kind:
            volumes = (_number(row.get(name)) for name in ("raw_volume_ml", "volume_ml"))
            found.append(Rejection(str(row["role"]), str(row["name"]), str(kind), str(why), *volumes))
    return found


def _number(value: object) -> str:
    return "" if value is None else str(value)


def write_rejected(rejected: Iterable[Rejection], folder: Path) -> None:
    """The table of rejected heads, sorted."""
    columns = {"role": "role", "case": "name", "rejected": "kind", "reason": "reason"}
    columns |= {"volume_before_ml": "before_ml", "volume_after_ml": "after_ml"}
    write_table([vars(one) for one in sorted(rejected)], columns, folder / REJECTED_FILE)


def refuse_all(rejected: Iterable[Rejection], role: str, folder: Path) -> NoReturn:
    """Raise InputError: there is no donor, or no tumour-free scan, that can be used."""
    of_role = [one for one in rejected if one.role == role]
    first = f"{of_role[0].name}: {of_role[0].reason}" if of_role else "none found"
    raise InputError(
        f"no {_ROLES[role]} is left: {tally(of_role)}; see {folder / REJECTED_FILE} (the first: {first})"
    )


def tally(rejected: Sequence[Rejection]) -> str:
    """'2 rejected: 1 empty label, 1 too small'."""
    kinds = Counter(one.kind for one in rejected)
    listed = ", ".join(
        f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))
    )
    return f"{len(rejected)} rejected" + (f": {listed}" if listed else "")
