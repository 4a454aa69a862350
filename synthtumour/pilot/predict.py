"""`pilot_network.py predict`: a folder of scans, or one, to labels by the same names."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from synthtumour import __version__
from synthtumour.brain import hdbet
from synthtumour.dataset.naming import check_given
from synthtumour.errors import InputError, require
from synthtumour.files.checks import check_output
from synthtumour.files.names import brain_mask_beside, extension_of, extension_to_read, is_image, stem_of
from synthtumour.files.staging import staged_outputs
from synthtumour.pilot.scans import check_torch
from synthtumour.presets import Refinement
from synthtumour.report.page import SHEET_FILE, report_file, write_report
from synthtumour.report.sheet import write_sheet
from synthtumour.runs.cases import Group, Report
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.journal import Journal
from synthtumour.runs.progress import speaker, tell_outcome, tell_shard, typed
from synthtumour.runs.run import run
from synthtumour.runs.settings import MANIFEST_FILE
from synthtumour.stage2.heads import HeadFiles, find_recipients, with_made_masks
from synthtumour.text import volume_text

PROGRAM = "pilot_network.py predict"
PICTURES_FOLDER = "pictures"
_PRELOAD = ("synthtumour.pilot.predict_cases", "synthtumour.stage2.refine_picture")  # the second for previews


@dataclass(frozen=True)
class Prediction:
    """Scans to segment; fields have the options' names."""

    images: Path
    output: Path
    weights: tuple[Path, ...]
    brain_masks: Path | None = None
    image_name: str | None = None
    refinement: Refinement | None = field(default_factory=Refinement)
    min_logit: float | None = None
    save_probabilities: bool = False
    any_brain_volume: bool = False
    conduct: Conduct = field(default_factory=Conduct)

    def settings(self, digests: Sequence[str]) -> dict[str, object]:
        """What makes a run this run and not another: all but how fast it goes and where it writes."""
        return {
            "program": PROGRAM,
            "version": __version__,
            "options": {
                "images": str(self.images.resolve()),
                "brain-masks": self.brain_masks and str(self.brain_masks.resolve()),
                "image-name": self.image_name,
                "brain-mask": "hdbet" if self.conduct.make_masks else None,
                "min-logit": self.min_logit,
                "save-probabilities": self.save_probabilities,
            },
            "weights": list(digests),
            "refinement": self.refinement and asdict(self.refinement),
        }

    def check(self) -> None:
        """Raise InputError for what cannot be done."""
        check_torch()
        require(
            self.min_logit is None or math.isfinite(self.min_logit),
            f"--min-logit {self.min_logit or 0:g}: needs a number",
        )
        check_given("--image-name", self.image_name)
        require(os.path.lexists(self.images), f"{self.images}: no such folder; give the scans with --images")
        if self.conduct.preview:
            import synthtumour.pictures  # noqa: F401  a missing Pillow is told before any work
        if self.conduct.make_masks:
            hdbet.check_installed()
        if self.images.is_dir():
            for place in (self.images, self.brain_masks):
                require(
                    place is None or place.resolve() != self.output.resolve(),
                    f"{place}: is read, and would be written to; give --output a folder of its own",
                )


def predict(asked: Prediction) -> int:
    """Segment the scans, or carry that on; the exit code. Raises InputError before any work."""
    asked.check()
    from synthtumour.pilot.network import BOX, digest_of
    from synthtumour.pilot.predict_cases import load_for_prediction, make_prediction
    from synthtumour.pilot.segment import check_gates, networks_in

    given = asked.weights or (BOX,)
    for path in given:
        require(path.is_file(), f"{path}: no such file; give what pilot_network.py train wrote")
    weights = tuple(path.resolve() for path in given)
    digests = tuple(map(digest_of, weights))
    check_gates(networks_in(weights, digests), given, asked.min_logit)
    if not asked.weights:
        speaker(asked.conduct.tell)(
            f"weights: those of the package, {digests[0][:8]} (docs/weights.md); for research only"
        )
    if not asked.images.is_dir():
        return _predict_one(asked, weights, digests)
    heads = [
        replace(head, any_brain_volume=asked.any_brain_volume)
        for head in find_recipients(
            asked.images, 1, asked.brain_masks, None, asked.image_name, "scans to segment", "--images"
        )
    ]
    conduct, folder = asked.conduct, asked.output
    reads = [asked.images, *([asked.brain_masks] if asked.brain_masks else []), *(w.parent for w in weights)]
    reserved = (report_file(folder), folder / SHEET_FILE)
    with (
        conduct.working(reads, [folder]) as working,
        Journal(
            folder, asked.settings(digests), reserved=reserved, overwrite=conduct.overwrite, **conduct.sharing
        ) as journal,
    ):
        unmasked: dict[str, str] = {}
        if conduct.make_masks:
            heads, masks = with_made_masks(heads, folder, working, conduct.sharing)
            if masks.interrupted:
                print("interrupted while brain masks were made; the same command carries on")
                return masks.exit_code
            unmasked = dict(masks.failed)
        report = run(
            _plan(asked, heads, weights, digests, unmasked),
            load_for_prediction,
            make_prediction,
            journal,
            working,
            preload=_PRELOAD[: 1 + conduct.preview],
        )
        if journal.shard:
            tell_shard(report, journal.shard, conduct.tell)
            return report.exit_code
        _finish(asked, heads, report)
    return report.exit_code


def _plan(
    asked: Prediction,
    heads: Sequence[HeadFiles],
    weights: tuple[Path, ...],
    digests: tuple[str, ...],
    unmasked: Mapping[str, str],
) -> list[Group]:
    """A case a scan, called as the scan is."""
    from synthtumour.pilot.predict_cases import PredictSource, predict_case

    groups = []
    for head in heads:
        why = unmasked.get(head.name, "")
        source = PredictSource(head, weights, digests, asked.refinement, asked.min_logit, why)
        label = asked.output / f"{head.name}{extension_to_read(head.channels[0])}"
        probabilities = asked.output / f"{head.name}.npz" if asked.save_probabilities else None
        picture = asked.output / PICTURES_FOLDER / f"{head.name}.png" if asked.conduct.preview else None
        groups.append(Group(source, (predict_case(source, label, probabilities, picture),)))
    return groups


def _finish(asked: Prediction, heads: Sequence[HeadFiles], report: Report) -> None:
    """Write what people look at, and say what there is."""
    conduct, folder = asked.conduct, asked.output
    if conduct.preview:
        failed = write_sheet(folder, PICTURES_FOLDER, report.rows, f"{folder.resolve().name}, segmented")
        report = replace(report, notes=(*report.notes, *failed))
    page = write_report(
        folder,
        report.rows,
        brains=[(head.channels[0], head.mask) for head in heads],
        pictures=PICTURES_FOLDER,
        notes=report.notes,
    )
    say = speaker(conduct.tell)
    tell_outcome(report, conduct.tell, "scan")
    made = [row for row in report.rows if row["status"] == "made"]
    empty = [row for row in made if not float(str(row["volume_ml"]))]
    dropped = sum(bool(int(str(row["dropped"]))) for row in made)
    say(f"with tumour: {len(made) - len(empty)} of {len(made)}; nothing marked: {len(empty)}")
    say(f"with marks that were dropped as not sure enough: {dropped} of {len(made)}")
    say(f"labels: {folder}")
    say(f"every label, measured: {folder / MANIFEST_FILE}")
    say(page)
    if conduct.preview and made:
        say(f"pictures: {folder / PICTURES_FOLDER}")
        say(f"some of them on one sheet: {folder / SHEET_FILE}")
    if report.interrupted:
        say("next:")
        say(f"  {typed(conduct.command)}")


def _predict_one(asked: Prediction, weights: tuple[Path, ...], digests: tuple[str, ...]) -> int:
    """Segment one scan: `asked.images` is it, `asked.output` the label's file."""
    from synthtumour.pilot.predict_cases import (
        PredictSource,
        load_for_prediction,
        make_prediction,
        predict_case,
    )

    require(
        is_image(asked.images), f"{asked.images}: neither a folder nor an image (.nii.gz, .nii, .mha, .nrrd)"
    )
    extension_of(asked.output)
    if asked.conduct.shard or asked.conduct.finalise or asked.conduct.dask:
        raise InputError(
            "--shard, --finalise and --dask are for folders of scans; leave them out for one scan"
        )
    mask = asked.brain_masks or brain_mask_beside(asked.images)
    beside = asked.output.with_name(stem_of(asked.output))
    picture = beside.with_name(f"{beside.name}.png") if asked.conduct.preview else None
    probabilities = beside.with_name(f"{beside.name}.npz") if asked.save_probabilities else None
    outputs = [path for path in (asked.output, probabilities, picture) if path]
    for path in outputs:
        check_output(path, asked.images, mask, *weights)
    name = stem_of(asked.images).removesuffix("_0000")
    head = HeadFiles(name, name, (asked.images,), mask, any_brain_volume=asked.any_brain_volume)
    if mask is None and asked.conduct.make_masks:
        from synthtumour.volume.reading import read_volume

        made = hdbet.mask_for_one(read_volume(asked.images), asked.images, asked.output.parent / hdbet.FOLDER)
        head = replace(head, mask=made)
    source = PredictSource(head, weights, digests, asked.refinement, asked.min_logit)
    with staged_outputs(outputs) as partial:
        case = predict_case(
            source,
            partial[asked.output],
            probabilities and partial[probabilities],
            picture and partial[picture],
        )
        said = make_prediction(load_for_prediction(source), case)
    volume_ml = float(str(said["volume_ml"]))
    speaker(asked.conduct.tell)(
        f"{volume_text(volume_ml)} of tumour: {asked.output}"
        if volume_ml
        else f"no tumour found: {asked.output}"
    )
    return 0
