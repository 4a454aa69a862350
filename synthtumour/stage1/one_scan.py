"""Stage 1 for one scan: files in, files out."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthtumour.brain.masks import has_bright_rim, prepare_brain, skull_stripped, tell_bright_rim
from synthtumour.brain.measures import tell_black
from synthtumour.errors import InputError, require
from synthtumour.files.checks import check_file, check_output
from synthtumour.files.names import brain_mask_beside, extension_of
from synthtumour.files.staging import staged_outputs
from synthtumour.presets import CONTRASTS, DEFAULT_PRESET, PRESETS, Preset
from synthtumour.runs.progress import speaker, typed
from synthtumour.stage1.contrasts import SameTumours
from synthtumour.stage1.record import head_scale_in, resynthesise
from synthtumour.stage1.synthesis import Synthesis, recipient_of, synthesise
from synthtumour.text import counted
from synthtumour.tumour.placing import Recipient
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import write_in_place


@dataclass(frozen=True)
class OneScan:
    """Tumours to put into `scan`; fields have the options' names."""

    scan: Path
    output_image: Path
    output_label: Path
    brain_mask: Path | None = None
    make_mask: bool = False  # by HD-BET, where there is none
    preset: Preset = PRESETS[DEFAULT_PRESET]
    seed: int | None = None  # None: a fresh one
    task: str = "train"
    center_ras: tuple[float, float, float] | None = None
    shape_engine: str = "formula"
    location_prior: Path | None = None
    skull_strip: bool = False
    any_brain_volume: bool = False
    record: Path | None = None
    from_record: Path | None = None
    case: str | None = None
    preview: Path | None = None
    channels: tuple[tuple[str, Path, Path], ...] = ()  # contrast, scan, output
    volumes_path: Path | None = None  # of what the preset's volumes were read from
    tell: str = "usual"
    command: tuple[str, ...] = ()  # as it was typed

    @property
    def outputs(self) -> list[Path]:
        """All files to write."""
        usual = (self.output_image, self.output_label, self.record, self.preview)
        return [path for path in usual if path] + [output for _, _, output in self.channels]

    def check(self, mask: Path | None) -> None:
        """Raise InputError for what cannot be done; `mask` is the brain mask that will be read."""
        if not all(abs(mm) <= 10_000 for mm in self.center_ras or ()):
            centre = " ".join(f"{mm:g}" for mm in self.center_ras or ())
            raise InputError(f"--center-ras {centre}: needs three numbers from -10000 to 10000 mm")
        for path in (self.output_image, self.output_label, *(output for _, _, output in self.channels)):
            extension_of(path)
        if self.preview:
            require(
                self.preview.suffix.lower() == ".png", f"{self.preview}: the preview is a PNG; name it so"
            )
            import synthtumour.pictures  # noqa: F401  a missing Pillow is told before any work
        for contrast, _, _ in self.channels:
            require(contrast in CONTRASTS, f"--channel {contrast}: choose one of {', '.join(CONTRASTS)}")
        if mask is None and self.make_mask:
            from synthtumour.brain.hdbet import check_installed

            check_installed()
        inputs = [self.scan, mask, self.volumes_path, self.from_record, self.location_prior]
        for path in self.outputs:
            check_output(path, *inputs, *(source for _, source, _ in self.channels))
        require(
            len({path.resolve() for path in self.outputs}) == len(self.outputs),
            f"{self.output_label}: two outputs have the same path; give each its own",
        )
        require(
            not self.case or (self.from_record is not None and self.from_record.suffix.lower() == ".csv"),
            f"--case {self.case}: names a row of a manifest.csv; give that with --from-record",
        )


def make_one(asked: OneScan) -> None:
    """Make the case, write its files and say what it is. Raises InputError, before any work if it can."""
    record = read_record(asked.from_record, asked.case) if asked.from_record else None
    made_mask = _mask_of_record(asked, record)  # which is no file of the user's
    mask = asked.brain_mask or made_mask or brain_mask_beside(asked.scan)
    asked.check(mask)
    if record is not None:
        asked = replace(asked, skull_strip=record.get("skull_strip", False))
    scan = read_volume(asked.scan)
    if mask is None and asked.make_mask:
        mask = made_mask = _extracted(asked, scan)
    brain = prepare_brain(scan, asked.scan, mask, asked.any_brain_volume)
    original = skull_stripped(scan, brain) if asked.skull_strip else scan
    scale = 1.0 if record is None else _of_scan(asked.scan, head_scale_in, record)
    recipient = _of_scan(asked.scan, recipient_of, original, brain)
    tell_black(recipient.black, asked.scan)
    if bright := has_bright_rim(recipient.array, recipient.brain, recipient.grid):
        tell_bright_rim(asked.scan)
    made = _of_scan(asked.scan, _synthetic, asked, original, brain, recipient, record)
    made.record.update(skull_strip=asked.skull_strip, head_scale=scale)
    if mask is not None and mask == made_mask:
        made.record["brain_mask"] = os.path.relpath(mask, (asked.record or asked.output_image).parent)
    others = _other_channels(asked, original, brain, recipient, made)

    written = made.resized(scale)
    with staged_outputs(asked.outputs) as partial:
        write_in_place(written.image, partial[asked.output_image])
        write_in_place(written.label, partial[asked.output_label])
        for output, volume in others.items():
            write_in_place(volume.resized(scale), partial[output])
        if asked.record:
            partial[asked.record].write_text(json.dumps(made.record, indent=1) + "\n", encoding="utf-8")
        if asked.preview:
            from synthtumour.stage1.picture import write_picture

            name = made.record["case"] or "/".join(asked.scan.absolute().parts[-2:])
            before = original.resized(scale), brain.resized(scale)
            write_picture(partial[asked.preview], name, *before, written, with_brain=bright)
    say = speaker(asked.tell)
    say(_summary(written.record))
    if sys.stdout.isatty():  # one line for programs, for people also what to type for the same once more
        drawn = asked.seed is None and record is None
        say(f"again: {typed(asked.command, *(['--seed', str(made.record['seed'])] if drawn else []))}")


def _synthetic(
    asked: OneScan, scan: Volume, brain: Volume, recipient: Recipient, record: dict[str, Any] | None
) -> Synthesis:
    if record is not None:
        return resynthesise(scan, brain, record, recipient=recipient)
    return synthesise(
        scan,
        brain,
        asked.preset,
        seed=secrets.randbits(32) if asked.seed is None else asked.seed,
        task=asked.task,
        centre_ras_mm=asked.center_ras,
        shape_engine=asked.shape_engine,
        location_prior=None if asked.location_prior is None else read_volume(asked.location_prior),
        recipient=recipient,
    )


def _other_channels(
    asked: OneScan, flair: Volume, brain: Volume, recipient: Recipient, made: Synthesis
) -> dict[Path, Volume]:
    """The other channels of the head with the tumours of `made`, by the files they go to."""
    others: dict[Path, Volume] = {}
    for contrast, path, output in asked.channels:
        channel = read_volume(path)
        same = _of_scan(path, SameTumours, flair, brain, made.record, recipient=recipient)
        if asked.skull_strip:
            channel = _of_scan(path, skull_stripped, channel, brain)
        others[output] = _of_scan(path, same.put_into, channel, contrast)
    return others


def _of_scan(path: Path, function: Any, /, *args: Any, **named: Any) -> Any:
    """What `function` returns; an InputError of it names the file that it is about."""
    try:
        return function(*args, **named)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _extracted(asked: OneScan, scan: Volume) -> Path:
    """The brain mask that HD-BET makes of the scan, or made earlier."""
    from synthtumour.brain import hdbet

    folder = asked.output_image.parent / hdbet.FOLDER
    print(f"no brain mask: the one made earlier in {folder}, or HD-BET makes it now", file=sys.stderr)
    return hdbet.mask_for_one(scan, asked.scan, folder)


def _mask_of_record(asked: OneScan, record: dict[str, Any] | None) -> Path | None:
    """The brain mask that was made for the case of `record`, which names it relative to its own folder."""
    if record is None or "brain_mask" not in record or asked.from_record is None:
        return None
    path = asked.from_record.parent / str(record["brain_mask"])
    if os.path.isfile(path):  # which takes any text for a name
        return path
    require(
        asked.brain_mask is not None or asked.make_mask,
        f"{path}: the brain mask of the record is not there; give it with --brain-mask",
    )
    return None


def read_record(path: Path, case: str | None) -> dict[str, Any]:
    """The record in a JSON file, or in the row `case` of a Stage 1 manifest.csv."""
    if path.exists():
        check_file(path)
    try:
        # a manifest may name files whose names are not UTF-8
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        if path.suffix.lower() == ".csv":
            text = _record_in_row(path, text, case)
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("no JSON object")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the file that --record wrote"
        ) from error
    except InputError:
        raise
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: not a record ({error}); give the file that --record wrote") from error
    return record


def _record_in_row(path: Path, manifest: str, case: str | None) -> str:
    rows = {row.get("case"): row for row in csv.DictReader(io.StringIO(manifest))}
    if case not in rows:
        raise InputError(f"{path}: no case {case or ''!r}; name one of its rows with --case")
    text = rows[case].get("record") or ""
    if not text:
        raise InputError(f"{path}: case {case} was not made ({rows[case].get('reason')}); nothing to repeat")
    return text


def _summary(record: dict[str, Any]) -> str:
    """One line: how many tumours, their volume, place and brightness, and how to make them again."""
    measured, tumours = record["measured"], record["tumours"]
    if not tumours:
        return f"no tumour, as recorded (preset {record['preset']}, seed {record['seed']})"
    places = "; ".join("({:.1f}, {:.1f}, {:.1f})".format(*t["shape"]["centre_ras_mm"]) for t in tumours)
    factors = ", ".join(f"{t['intensity']['factor']:.2f}" for t in tumours)
    digits = 1 if measured["volume_ml"] >= 1 else 4
    contrast = f"; {measured['contrast']:.2f} x its rim" if measured["contrast"] else ""
    return (
        f"{counted(len(tumours), 'tumour')}: {measured['volume_ml']:.{digits}f} ml, centre RAS {places} mm, "
        f"intensity factor {factors}{contrast} (preset {record['preset']}, "
        f"task {record['rendering']['task']}, seed {record['seed']})"
    )
