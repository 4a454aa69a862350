"""What a Stage 1 run is asked for, and the cases that it will make of the scans that were found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from synthtumour import __version__
from synthtumour.brain.hdbet import FOLDER as MASKS_FOLDER
from synthtumour.brain.hdbet import check_installed
from synthtumour.dataset.nnunet import VAL_SUFFIX, Dataset, check_names, safe_name
from synthtumour.dataset.sessions import caution_of_sessions
from synthtumour.dataset.sides import gets_no_tumour, head_scale, tumour_free, validation_subjects
from synthtumour.dataset.subjects import Found, Scan
from synthtumour.errors import InputError, require
from synthtumour.presets import DEFAULT_PRESET, PRESETS, Preset
from synthtumour.runs.cases import Case, Group
from synthtumour.runs.conduct import Conduct
from synthtumour.stage1.cases import Source
from synthtumour.stage1.record import HEAD_SCALES

PROGRAM = "prompt_multi_tumor.py"
PREVIEWS_FOLDER = "previews"


@dataclass(frozen=True)
class Stage1Run:
    """A Stage 1 dataset to make in `output` from the scans in `input`; fields have the options' names."""

    input: Path
    output: Path
    image_name: str | None = None
    mask_name: str | None = None
    subjects: tuple[str, ...] = ()  # only these, subjects or scans; none: all
    subject_pattern: str | None = None
    variants: int = 1
    val_fraction: float = 0.5
    add_untouched: float = 0.0
    preset: Preset = PRESETS[DEFAULT_PRESET]
    shape_engine: str = "formula"
    skull_strip: bool = False
    any_brain_volume: bool = False
    channels: tuple[str, ...] = ()  # contrasts beside FLAIR
    location_prior: Path | None = None
    conduct: Conduct = field(default_factory=Conduct)

    @property
    def seed(self) -> int:
        return self.conduct.seed

    @property
    def settings(self) -> dict[str, object]:
        """What makes a run this run and not another: all but how fast it goes and where it writes.

        The keys are those of the first version, whose runs can be carried on.
        """
        return {
            "program": PROGRAM,
            "version": __version__,
            "options": {
                "input": str(self.input.resolve()),
                "image-name": self.image_name,
                "mask-name": self.mask_name,
                "brain-mask": "hdbet" if self.conduct.make_masks else None,
                "subjects": sorted(self.subjects) or None,
                "subject-pattern": self.subject_pattern,
                "variants": self.variants,
                "val-fraction": self.val_fraction,
                "tumour-free-fraction": self.add_untouched,
                "seed": self.seed,
                "shape-engine": self.shape_engine,
                "skull-strip": self.skull_strip,
                "channels": list(self.channels),
                "location-prior": self.location_prior and str(self.location_prior),
            },
            "preset": asdict(self.preset),
        }

    def check(self) -> None:
        """Raise InputError for values that make no sense."""
        require(self.variants >= 1, f"--variants {self.variants}: needs 1 or more")
        require(
            0 <= self.val_fraction < 1,
            f"--val-fraction {self.val_fraction:g}: needs 0 or more, and less than 1",
        )
        require(0 <= self.add_untouched <= 1, f"--add-untouched {self.add_untouched:g}: needs 0 to 1")
        without = self.preset.tumour_free_probability
        require(0 <= without <= 1, f"--without-tumour {without:g}: needs 0 to 1")
        (low, high), (least, most) = self.preset.head_scale, HEAD_SCALES
        require(
            least <= low <= high <= most,
            f"--head-scale {low:g} {high:g}: needs {least:g} <= LOW <= HIGH <= {most:g}",
        )
        require(not self.channels or self.preset.model == "glioma", "--channels needs --preset diverse")
        if self.conduct.make_masks:
            check_installed()
        for folder in (self.output, self.output / "imagesTr", self.output / "labelsTr"):
            require(
                folder.resolve() != self.input.resolve(),
                f"{self.input}: is also where the output would go; choose another --output",
            )
        if self.conduct.preview:
            import synthtumour.pictures  # noqa: F401  a missing Pillow is told before any work


def plan(
    run: Stage1Run, found: Found, dataset: Dataset, unmasked: Mapping[str, str] | None = None
) -> list[Group]:
    """A group of cases for every scan, sides and tumour-free scans chosen over the whole input.

    `unmasked`: why a brain mask that was missing could not be made, by the name of the scan's cases.
    Raises InputError if two cases get the same name.
    """
    subjects = {scan.subject for scan in found.scans}
    if unknown := sorted({*run.subjects} - subjects - {scan.name for scan in found.scans}):
        raise InputError(f"--subjects {unknown[0]}: no such subject or scan in {run.input}")
    held_out = validation_subjects(subjects, run.val_fraction, run.seed)
    training = [scan.name for scan in found.scans if scan.subject not in held_out]
    untouched = tumour_free(training, run.add_untouched, run.seed)
    groups: list[Group] = []
    for scan in found.scans:
        name = safe_name(scan.name)
        if run.subjects and not {scan.subject, scan.name} & {*run.subjects}:
            continue
        source = Source(
            scan.image.relative_to(run.input).as_posix(),
            scan,
            run.skull_strip,
            _prior_of(run, scan),
            tuple((contrast, scan.image.parent / f"{contrast}.nii.gz") for contrast in run.channels),
            _made_mask(scan, dataset),
            (unmasked or {}).get(name, ""),
            run.any_brain_volume,
        )
        task = "val" if scan.subject in held_out else "train"
        variants: list[int | None] = [*range(run.variants)]
        if scan.name in untouched:
            variants.append(None)
        groups.append(Group(source, tuple(_case(run, dataset, source, name, task, v) for v in variants)))
    check_names(
        (case.name, str(case.columns["source"]), dataset.folder) for group in groups for case in group.cases
    )
    return groups


def caution_of(run: Stage1Run, found: Found) -> str:
    """One line about sessions that may be on both sides of the split; '' if there are none."""
    by_scan = {scan.name: scan.subject for scan in found.scans}
    return caution_of_sessions(by_scan, run.subject_pattern) if run.val_fraction else ""


def _prior_of(run: Stage1Run, scan: Scan) -> Path | None:
    """The location prior of one scan: the file given or, for a bare name, the one beside the scan."""
    given = run.location_prior
    if given is None or os.path.lexists(given):
        return given
    return scan.image.parent / given


def _made_mask(scan: Scan, dataset: Dataset) -> str:
    """The path in the dataset of a brain mask that was made for it; '' for any other."""
    if scan.mask is None or scan.mask.parent != dataset.folder / MASKS_FOLDER:
        return ""
    return f"{MASKS_FOLDER}/{scan.mask.name}"


def _case(
    run: Stage1Run, dataset: Dataset, source: Source, name: str, task: str, variant: int | None
) -> Case:
    """One case of the scan `name`; `variant` None is the untouched scan.

    The tumours are drawn for scan and variant, not for the side of the split.
    """
    scan, preset = source.scan, run.preset
    drawn_for = name
    if variant is None:
        drawn_for += "_free"
    elif run.variants > 1:
        drawn_for += f"_v{variant:0{max(2, len(str(run.variants - 1)))}d}"
    case = drawn_for + (VAL_SUFFIX if task == "val" else "")
    without = task == "train" and gets_no_tumour(drawn_for, preset.tumour_free_probability, run.seed)
    if without and preset.tumour_free_probability == 1:  # the trainer draws distractors and sizes too
        preset = replace(preset, distractor_probability=0.0, head_scale=(1.0, 1.0))
    kind = "tumour-free" if variant is None or without else "synthetic"
    resized = task == "train" and variant is not None  # an untouched scan stays as it was scanned
    channels, prior = [path for _, path in source.channels], source.location_prior
    parameters = {
        "kind": kind,
        "drawn_for": drawn_for,
        "seed": run.seed,
        "task": task,
        "preset": _as_dict(preset),
        "shape_engine": run.shape_engine,
        "skull_strip": run.skull_strip,
        "head_scale": head_scale(drawn_for, preset.head_scale, run.seed) if resized else 1.0,
        "scan": source.shown,
        "mask": scan.mask and scan.mask.name,
        "channels": [contrast for contrast, _ in source.channels],
        "location_prior": prior and prior.name,
    }
    columns = {
        "kind": kind,
        "scan": scan.name,
        "subject": scan.subject,
        "session": scan.session,
        "split": task,
        "task": task,
        "variant": "" if variant is None else variant,
        "seed": run.seed,
        "source": source.shown,
        "mask": source.made_mask or (scan.mask.relative_to(run.input).as_posix() if scan.mask else ""),
    }
    outputs = [dataset.label(case), *(dataset.image(case, n) for n in range(1 + len(channels)))]
    if run.conduct.preview:
        outputs.append(dataset.folder / PREVIEWS_FOLDER / f"{case}.png")
    inputs = tuple(path for path in (scan.image, scan.mask, *channels, prior) if path)
    return Case(case, tuple(outputs), parameters, inputs, columns, pictures=int(run.conduct.preview))


@lru_cache(maxsize=2)  # one for all cases: as many copies would be most of the memory that they take
def _as_dict(preset: Preset) -> dict[str, object]:
    return asdict(preset)
