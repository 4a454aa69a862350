"""What a Stage 2 run is asked for, and the mixed cases that it will make of the heads that can be used."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from synthtumour import __version__
from synthtumour.brain.hdbet import check_installed
from synthtumour.dataset.naming import check_given
from synthtumour.dataset.nnunet import dataset_at, safe_name
from synthtumour.dataset.sessions import check_pattern
from synthtumour.errors import InputError, require
from synthtumour.presets import GateLimits, Mixing
from synthtumour.report.page import report_file
from synthtumour.runs.cases import Group
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.settings import is_run
from synthtumour.stage2.cases import MixSource, mix_case
from synthtumour.stage2.heads import HeadFiles
from synthtumour.stage2.pairs import Pair, held_out_subjects, pair_within_sides
from synthtumour.text import counted

PROGRAM = "stage2_mixed_with_pseudo_label.py"
COMBINING = f"{PROGRAM} --combine"
REJECTED_FILE, GATE_FOLDER, PICTURES_FOLDER = "rejected.csv", "gate", "pictures"


@dataclass(frozen=True)
class Stage2Run:
    """Real tumours to mix into tumour-free scans."""

    images: Path  # --imagesTr_path
    labels: Path  # --labelsTr_path
    healthy: Path  # --healthyimgTr
    tables: Path  # --mask_check_path
    mix_ids: Path  # --mixid_csv_path
    prefix: str
    number: int = 200  # --generate_number
    channels: int = 1  # --modality_num
    donor_masks: Path | None = None
    healthy_masks: Path | None = None
    skull_strip: bool = False
    any_brain_volume: bool = False
    mixing: Mixing = field(default_factory=Mixing)
    limits: GateLimits = field(default_factory=GateLimits)
    combine: Path | None = None
    stage1: Path | None = None
    add_untouched: float = 0.0
    val_fraction: float = 0.2
    subject_pattern: str | None = None
    image_name: str | None = None
    label_name: str | None = None
    conduct: Conduct = field(default_factory=Conduct)

    @property
    def seed(self) -> int:
        return self.conduct.seed

    @property
    def mixed_images(self) -> Path:
        return self.images.parent / "imagesTrMix"

    @property
    def mixed_labels(self) -> Path:
        return self.labels.parent / "labelsTrMix"

    @property
    def settings(self) -> dict[str, object]:
        """What makes a run this run and not another: all but how fast it goes and where it writes.

        The keys are those of the first version, whose runs can be carried on.
        """
        return {
            "program": PROGRAM,
            "version": __version__,
            "options": {
                "imagesTr_path": str(self.images.resolve()),
                "labelsTr_path": str(self.labels.resolve()),
                "healthyimgTr": str(self.healthy.resolve()),
                "donor-masks": self.donor_masks and str(self.donor_masks.resolve()),
                "healthy-masks": self.healthy_masks and str(self.healthy_masks.resolve()),
                "brain-mask": "hdbet" if self.conduct.make_masks else None,
                "generate_number": self.number,
                "modality_num": self.channels,
                "prefix": self.prefix,
                "skull-strip": self.skull_strip,
                "combine": self.combine is not None,
                "val-fraction": self.val_fraction if self.combine else None,
                "subject-pattern": self.subject_pattern,
                "image-name": self.image_name,
                "label-name": self.label_name,
                "seed": self.seed,
            },
            "mixing": asdict(self.mixing),
            "limits": self.limits.parameters,
        }

    def check(self) -> None:
        """Raise InputError for values that make no sense, and for files that would be in the way."""
        require(
            self.number >= (self.combine is None),
            f"--generate_number {self.number}: needs 1 or more, or 0 with --combine",
        )
        require(self.channels >= 1, f"--modality_num {self.channels}: needs 1 or more")
        self._check_numbers()
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.prefix):
            raise InputError(f"--prefix {self.prefix!r}: use letters, digits, _ and - only")
        check_pattern(self.subject_pattern)
        check_given("--image-name", self.image_name)
        check_given("--label-name", self.label_name)
        if self.conduct.preview:
            import synthtumour.pictures  # noqa: F401  a missing Pillow is told before any work
        if self.conduct.make_masks:
            check_installed()
        for masks in (self.donor_masks, self.healthy_masks):
            require(
                masks is None or masks.is_dir(),
                f"{masks}: no such folder; give the folder of the brain masks",
            )
        self._check_folders()

    def _check_numbers(self) -> None:
        limits, mixing = self.limits, self.mixing
        require(limits.max_components >= 1, f"--max_components {limits.max_components}: needs 1 or more")
        for option, share in (
            ("mirror-probability", mixing.mirror_probability),
            ("min-remaining", mixing.min_remaining),
            ("max-brain-fraction", limits.max_brain_fraction),
            ("max-outside-fraction", limits.max_outside_fraction),
            ("add-untouched", self.add_untouched),
            ("min-confidence", limits.min_confidence or 0.0),
        ):
            require(0 <= share <= 1, f"--{option} {share:g}: needs 0 to 1")
        for option, number in (
            ("min-island-ml", limits.min_island_ml),
            ("max-hole-ml", limits.max_hole_ml),
            ("min-volume-ml", limits.min_volume_ml),
            ("min-contrast", limits.min_contrast),
            ("jitter", mixing.jitter_mm),
        ):
            require(0 <= number < float("inf"), f"--{option} {number:g}: needs 0 or more")
        sigma = mixing.buffer_sigma_mm
        require(0 <= sigma <= 20, f"--buffer-sigma {sigma:g}: needs 0 to 20 mm")
        require(
            0 < self.val_fraction < 1,
            f"--val-fraction {self.val_fraction:g}: needs more than 0 and less than 1",
        )

    def _check_folders(self) -> None:
        taken = (self.images, self.labels, self.healthy, self.combine, self.stage1)
        for place in (place for place in taken if place is not None):
            require(
                place.resolve() != self.tables.resolve(),
                f"{place}: holds scans or a dataset; give --mask_check_path a folder of its own",
            )
        if self.combine is None:
            for option, given in (("stage1", self.stage1), ("add-untouched", self.add_untouched)):
                require(not given, f"--{option} adds cases to the dataset of --combine; give that too")
        else:
            require(
                self.combine.resolve() not in {self.images.resolve().parent, self.labels.resolve().parent},
                f"{self.combine}: holds the real scans; choose another folder for --combine",
            )
            files = dataset_at(self.combine).files
            require(
                not any(file.exists() for file in files) or is_run(self.combine, {"program": COMBINING}),
                f"{self.combine}: holds another dataset; choose another folder for --combine",
            )
            report_file(self.combine)
        table = self.mix_ids
        require(
            not table.is_dir() and (table.parent == self.tables or table.parent.is_dir()),
            f"{table}: cannot be written; --mixid_csv_path is a file in a folder that exists",
        )
        rejected = self.tables / REJECTED_FILE
        require(
            not rejected.exists() or (self.tables / GATE_FOLDER).is_dir(),
            f"{rejected}: exists and is not of this program; choose another --mask_check_path",
        )


def default_prefix(images: Path) -> str:
    """What the mixed cases are called by: the dataset's name without nnU-Net's number."""
    folder = images.resolve().parent.name
    return safe_name(re.sub(r"^(Task|Dataset)\d+_", "", folder) or "SynthTumour")


def held_out_by(asked: Stage2Run, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles]) -> set[str]:
    """The subjects of the validation side; none without --combine."""
    if asked.combine is None:
        return set()
    own, other = ({head.name: head.subject for head in heads} for heads in (donors, recipients))
    return held_out_subjects(own, other, asked.val_fraction, asked.seed)


def plan(
    asked: Stage2Run, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], held_out: set[str]
) -> list[Group]:
    """The mixed cases, numbered in the order of their pairs and grouped by donor."""
    heads = {head.name: head for head in recipients}
    mine: dict[str, list[tuple[int, Pair, str]]] = defaultdict(list)
    for number, (pair, split) in enumerate(_pairs(asked, donors, recipients, held_out)):
        mine[pair.donor].append((number, pair, split))
    groups = []
    for donor in donors:
        needed = {name for _, pair, _ in mine[donor.name] for name in (pair.recipient, *pair.spares)}
        source = MixSource(donor, asked.limits, {name: heads[name] for name in sorted(needed)})
        cases = []
        for number, pair, split in mine[donor.name]:
            name = mixed_name(asked, number)
            candidates = (pair.recipient, *pair.spares)
            outputs = _outputs(asked, name)
            cases.append(mix_case(name, outputs, source, candidates, asked.mixing, asked.seed, split))
        if cases:
            groups.append(Group(source, tuple(cases)))
    return groups


def mixed_name(asked: Stage2Run, number: int) -> str:
    return f"{asked.prefix}_CarveMix_{number}"


def _outputs(asked: Stage2Run, name: str) -> tuple[Path, ...]:
    """The files of a mixed case: its channels, its label, perhaps a picture."""
    outputs = [asked.mixed_images / f"{name}_{n:04d}.nii.gz" for n in range(asked.channels)]
    outputs.append(asked.mixed_labels / f"{name}.nii.gz")
    if asked.conduct.preview:
        outputs.append(asked.tables / PICTURES_FOLDER / f"{name}.png")
    return tuple(outputs)


def _pairs(
    asked: Stage2Run, donors: Sequence[HeadFiles], recipients: Sequence[HeadFiles], held_out: set[str]
) -> list[tuple[Pair, str]]:
    """Pairs and their sides: those for training first; all for training if no subject is held out."""
    if not asked.number:
        return []
    own, other = ({head.name: head.subject for head in heads} for heads in (donors, recipients))
    training, validation = pair_within_sides(own, other, asked.number, asked.seed, held_out)
    if not training:
        raise InputError(
            f"no pair to mix: of {counted(len(own), 'donor')} and {counted(len(other), 'tumour-free scan')} "
            "those for training are of the same subject; add scans of others"
        )
    return [(pair, "train") for pair in training] + [(pair, "val") for pair in validation]
