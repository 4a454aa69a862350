"""A folder of labels refined by their scans' own contrast, from what is asked for to a folder like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from synthtumour import __version__
from synthtumour.brain import hdbet
from synthtumour.dataset.naming import check_given
from synthtumour.errors import InputError, require
from synthtumour.files.names import EXTENSIONS, extension_to_read
from synthtumour.presets import Refinement
from synthtumour.report.page import SHEET_FILE, report_file, write_report
from synthtumour.report.sheet import write_sheet
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import by_reason, speaker, tell_outcome, tell_shard, typed
from synthtumour.runs.run import run
from synthtumour.runs.settings import MANIFEST_FILE
from synthtumour.stage2.confidence import Gate
from synthtumour.stage2.heads import HeadFiles, find_donors, with_made_masks
from synthtumour.stage2.refine_cases import RefineSource, load_for_refinement, make_refined, refine_case
from synthtumour.text import counted

PROGRAM = "refine_pseudo_label.py"
PICTURES_FOLDER = "pictures"
_PRELOAD = ("synthtumour.stage2.refine_cases", "synthtumour.stage2.refine_picture")  # the second for previews
Unpaired = list[tuple[str, str]]  # name and reason


@dataclass(frozen=True)
class RefineRun:
    """Labels to refine by the contrast of their scans."""

    images: Path
    labels: Path
    output: Path
    brain_masks: Path | None = None
    image_name: str | None = None
    label_name: str | None = None
    threshold: float | None = None  # --softmax: the label is where tumour is at least so probable
    how: Refinement | None = field(default_factory=Refinement)  # None: borders stay as they are
    gate_from: tuple[Path, Path] | None = None  # predictions of validation cases, and their labels
    confirmed_by: Path | None = None  # another network's labels of the same scans
    any_brain_volume: bool = False
    conduct: Conduct = field(default_factory=Conduct)

    @property
    def settings(self) -> dict[str, object]:
        """What makes a run this run and not another: all but how fast it goes and where it writes."""
        return {
            "program": PROGRAM,
            "version": __version__,
            "options": {
                "images": str(self.images.resolve()),
                "labels": str(self.labels.resolve()),
                "brain-masks": self.brain_masks and str(self.brain_masks.resolve()),
                "image-name": self.image_name,
                "label-name": self.label_name,
                "brain-mask": "hdbet" if self.conduct.make_masks else None,
                "softmax": self.threshold,
                **({"gate-from": [str(path.resolve()) for path in self.gate_from]} if self.gate_from else {}),
                **({"confirmed-by": str(self.confirmed_by.resolve())} if self.confirmed_by else {}),
            },
            "refinement": self.how and asdict(self.how),
        }

    def check(self) -> None:
        """Raise InputError for values that make no sense, and for folders that would be in the way."""
        require(
            self.threshold is None or 0 < self.threshold < 1,
            f"--softmax {self.threshold or 0:g}: needs a probability, more than 0 and less than 1",
        )
        require(
            any(given is not None for given in (self.how, self.gate_from, self.confirmed_by, self.threshold)),
            "--refine off: leaves nothing to do; give --gate-from, --confirmed-by or --softmax too",
        )
        check_given("--image-name", self.image_name)
        check_given("--label-name", self.label_name)
        if self.conduct.preview:
            import synthtumour.pictures  # noqa: F401  a missing Pillow is told before any work
        if self.conduct.make_masks:
            hdbet.check_installed()
        masks = self.brain_masks
        require(
            masks is None or masks.is_dir(), f"{masks}: no such folder; give the folder of the brain masks"
        )
        other = self.confirmed_by
        require(
            other is None or other.is_dir(),
            f"{other}: no such folder; --confirmed-by takes the labels of another network",
        )
        for place in (self.images, self.labels, masks, other, *(self.gate_from or ())):
            require(
                place is None or place.resolve() != self.output.resolve(),
                f"{place}: is read, and would be written to; give --output a folder of its own",
            )


def refine_labels(asked: RefineRun) -> int:
    """Refine the labels, or carry that on; the exit code. Raises InputError before any work."""
    asked.check()
    conduct, folder = asked.conduct, asked.output
    heads, unpaired = _pairs(asked)
    gate = _gate(asked)
    reads = [asked.images, asked.labels]
    reads += [folder for folder in (asked.brain_masks, asked.confirmed_by) if folder]
    reserved = (report_file(folder), folder / SHEET_FILE)
    with (
        conduct.working(reads, [folder]) as working,
        Journal(
            folder, asked.settings, reserved=reserved, overwrite=conduct.overwrite, **conduct.sharing
        ) as journal,
    ):
        unmasked: dict[str, str] = {}
        if conduct.make_masks:
            heads, masks = with_made_masks(heads, folder, working, conduct.sharing)
            if masks.interrupted:
                print("interrupted while brain masks were made; the same command carries on")
                return masks.exit_code
            unmasked = dict(masks.failed)
        preload = _PRELOAD[: 1 + conduct.preview]
        report = run(
            plan(asked, heads, unmasked, gate),
            load_for_refinement,
            make_refined,
            journal,
            working,
            preload=preload,
        )
        if journal.shard:
            tell_shard(report, journal.shard, conduct.tell)
            return report.exit_code
        _finish(asked, heads, unpaired, report)
    return report.exit_code or int(bool(unpaired))


def _pairs(asked: RefineRun) -> tuple[list[HeadFiles], Unpaired]:
    """The scans with their labels, and what has no other half; InputError if there is no pair."""
    heads, refused = find_donors(
        asked.images,
        asked.labels,
        1,
        asked.brain_masks,
        None,
        asked.image_name,
        asked.label_name,
        options=("--images", "--labels"),
    )
    unpaired = [(name, reason) for name, _, reason in refused]
    if not heads:
        raise InputError(
            f"{asked.labels}: holds no label of a scan in {asked.images} (the first: {unpaired[0][1]})"
        )
    # A label does not change with a file that is not used.
    if asked.threshold is None and asked.gate_from is None:
        heads = [replace(head, softmax=None) for head in heads]
    return [replace(head, any_brain_volume=asked.any_brain_volume) for head in heads], unpaired


def _gate(asked: RefineRun) -> Gate | None:
    """The confidence gate that is asked for; says what it is chosen by."""
    if asked.gate_from is None:
        return None
    from synthtumour.stage2.gate_choice import about_gate, gate_of_validation

    gate, figures = gate_of_validation(*asked.gate_from)
    for line in about_gate(figures, gate is not None, by_size=True):
        speaker(asked.conduct.tell)(line)
    return gate


def plan(
    asked: RefineRun,
    heads: Sequence[HeadFiles],
    unmasked: Mapping[str, str] | None = None,
    gate: Gate | None = None,
) -> list[Group]:
    """A case a label, called as its scan; `unmasked` says of which no brain mask could be made, and why."""
    groups = []
    for head in heads:
        assert head.label is not None
        confirming = asked.confirmed_by and _label_in(asked.confirmed_by, head)
        unmasked_why = (unmasked or {}).get(head.name, "")
        source = RefineSource(head, asked.how, asked.threshold, gate, confirming, unmasked_why)
        outputs = [asked.output / f"{head.name}{extension_to_read(head.label)}"]
        if asked.conduct.preview:
            outputs.append(asked.output / PICTURES_FOLDER / f"{head.name}.png")
        groups.append(Group(source, (refine_case(tuple(outputs), source, len(outputs) - 1),)))
    return groups


def _label_in(folder: Path, head: HeadFiles) -> Path:
    """The label of a scan in a folder of another network's, in whatever format."""
    files = [folder / f"{head.name}{extension}" for extension in EXTENSIONS]
    return next((file for file in files if file.is_file()), folder / f"{head.name}.nii.gz")


def _finish(asked: RefineRun, heads: Sequence[HeadFiles], unpaired: Unpaired, report: Report) -> None:
    """Write what people look at, and say what there is."""
    conduct, folder = asked.conduct, asked.output
    if conduct.preview:
        failed = write_sheet(folder, PICTURES_FOLDER, report.rows, f"{folder.resolve().name}, refined")
        report = replace(report, notes=(*report.notes, *failed))
    page = write_report(
        folder,
        report.rows,
        brains=[(head.channels[0], head.mask) for head in heads],
        left_out={"without its other half": unpaired},
        pictures=PICTURES_FOLDER,
        notes=report.notes,
    )
    tell_summary(asked, unpaired, report, page)


def tell_summary(asked: RefineRun, unpaired: Unpaired, report: Report, page: str) -> None:
    """What there is now; `page` is the line about the report."""
    conduct, folder = asked.conduct, asked.output
    say, always = speaker(conduct.tell), speaker("usual")
    tell_outcome(report, conduct.tell, "label")
    for line in by_reason((name, reason, ()) for name, reason in unpaired):
        always(f"  FAILED {line}")
    made = [row for row in report.rows if row["status"] == "made"]
    left = [(str(row["case"]), str(row["left_as_it_was"]), ()) for row in made if row["left_as_it_was"]]
    changed = sum(any(float(str(row[key])) for key in ("added_ml", "removed_ml")) for row in made)
    if any("dropped" in row for row in made):
        dropped = [float(str(row["dropped_ml"])) for row in made if row["dropped"]]
        say(f"confidence gate: {sum(dropped):.1f} ml dropped from {counted(len(dropped), 'label')}")
    say(f"changed: {changed} of {len(made)}; left as they were, all or some of their parts: {len(left)}")
    for line in by_reason(left):
        say(f"  left {line}")
    before, after = (sum(float(str(row[key])) for row in made) for key in ("volume_before_ml", "volume_ml"))
    say(f"volume of all: {before:.1f} ml before, {after:.1f} ml now")
    say(f"refined labels: {folder}")
    say(f"every label, measured: {folder / MANIFEST_FILE}")
    say(page)
    if conduct.preview and made:
        say(f"pictures: {folder / PICTURES_FOLDER}")
        say(f"some of them on one sheet: {folder / SHEET_FILE}")
    if report.interrupted:
        say("next:")
        say(f"  {typed(conduct.command)}")
