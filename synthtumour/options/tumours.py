"""Options that say what tumours to draw and how to render them; each overrides the preset."""

from __future__ import annotations

import argparse
import csv
import importlib.util
from dataclasses import replace
from pathlib import Path

from synthtumour.errors import InputError, require
from synthtumour.files.checks import check_file
from synthtumour.presets import DEFAULT_PRESET, INFILTRATIVE, MIXED, PRESETS, SHAPES, VAL_TASKS, Preset

DIVERSE = PRESETS["diverse"]


def by_preset(field: str) -> str:
    """What the presets have, the default one first: for --help."""

    def said(value: object) -> str:
        if isinstance(value, tuple):
            low, high = value
            return f"{low:g}" if low == high else f"{low:g} to {high:g}"
        return f"{value:g}" if isinstance(value, float) else str(value)

    names = sorted(PRESETS, key=lambda name: name != DEFAULT_PRESET)
    first, *others = (said(getattr(PRESETS[name], field)) for name in names)
    different = [
        f"; {name}: {value}" for name, value in zip(names[1:], others, strict=True) if value != first
    ]
    return f"(default: {first}{''.join(different)})"


def add_tumour_options(parser: argparse.ArgumentParser, written: bool = True) -> None:
    """Those that most users need; `written`: with those that say how cases become files."""
    group = parser.add_argument_group("tumours", "whatever a preset fixes can be overridden")
    group.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default=DEFAULT_PRESET,
        help="named parameter set (default: %(default)s)",
    )
    group.add_argument(
        "--min-volume",
        "-miv",
        type=float,
        metavar="MM3",
        help=f"smallest volume before noise and clipping {by_preset('min_volume_mm3')}",
    )
    group.add_argument(
        "--max-volume",
        "-mav",
        type=float,
        metavar="MM3",
        help=f"largest volume before noise and clipping {by_preset('max_volume_mm3')}",
    )
    group.add_argument(
        "--volumes-path",
        "-p",
        type=Path,
        metavar="CSV",
        help="draw volumes from the column 'Volume' (mm^3) of this file instead (default: from that range)",
    )
    group.add_argument(
        "--shape",
        choices=(*SHAPES, INFILTRATIVE),
        help=f"shape model; infiltrative, of preset diverse, grows through the scan's own tissue "
        f"{by_preset('shape')}",
    )
    group.add_argument(
        "--num-tumours",
        type=int,
        nargs="+",
        metavar="N",
        help="how many tumours that do not merge: one number, or the least and the most (default: 1, in "
        f"{DIVERSE.several_probability * 100:g} %% of cases 1 to {DIVERSE.num_tumours[1]}; paper: 1)",
    )
    group.add_argument(
        "--core-probability",
        type=float,
        metavar="P",
        help=f"how often a tumour has a core, 0 to 1 {by_preset('core_probability')}",
    )
    group.add_argument(
        "--intensity-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="brightness of a tumour: robust standard deviations of tissue above the brain's median; with "
        f"preset paper, multiples of the scan {by_preset('intensity_range')}",
    )
    group.add_argument(
        "--buffer-sigma",
        type=float,
        metavar="MM",
        help=f"Gaussian sigma of the buffer layer round a tumour {by_preset('buffer_sigma_mm')}",
    )
    group.add_argument(
        "--mass-effect",
        type=float,
        nargs="+",
        metavar="MM",
        help="push tissue away from a tumour by this much at most, or by a draw between two numbers "
        "(preset diverse; default: none)",
    )
    group.add_argument(
        "--distractors",
        type=float,
        metavar="P",
        help="how often a scan gets unlabelled bright spots, bright cortex, bias and the like, 0 to 1 "
        f"(preset diverse; default: {DIVERSE.distractor_probability:g})",
    )
    if not written:
        parser.set_defaults(labels=None, skull_strip=False)
        return
    group.add_argument(
        "--labels",
        choices=("whole", "brats"),
        help="1 = tumour, or BraTS's values: 1 necrotic and other non-enhancing core, 2 oedema, 3 enhancing "
        "(preset diverse; default: whole)",
    )
    group.add_argument("--skull-strip", action="store_true", help="set everything outside the brain to zero")


def add_rare_tumour_options(group: argparse._ArgumentGroup, written: bool = True) -> None:
    """The others, for the group of what is rarely needed."""
    group.add_argument(
        "--nodules",
        type=float,
        metavar="P",
        help="how often a tumour is bright and has one to three times the least volume, 0 to 1 "
        "(preset diverse; default: never)",
    )
    group.add_argument(
        "--masses",
        type=float,
        metavar="P",
        help="how often a tumour is a mass (dark, like tissue, bright or patchy) with oedema on one side, "
        "0 to 1 (preset diverse; default: never)",
    )
    group.add_argument(
        "--texture",
        type=float,
        metavar="F",
        help="strength of texture in tumours, as a multiple of the preset's, 0 for none (preset diverse; "
        f"default: {DIVERSE.texture:g})",
    )
    if not written:
        group.set_defaults(val_task=None, location_prior=None, shape_engine="formula")
        return
    group.add_argument(
        "--val-task",
        choices=(*VAL_TASKS, MIXED),
        help="rule of the validation task: the scan brightened (scaled, the paper's), one intensity (flat), "
        "bright shells about a dark inside (rings), or one of these for each case (mixed) "
        f"{by_preset('val_task')}",
    )
    group.add_argument(
        "--location-prior",
        type=Path,
        metavar="PATH",
        help="map on the scan's grid of how probable it is that a tumour starts at a voxel (default: the "
        "scan's own tissue; paper: the brain)",
    )
    group.add_argument(
        "--shape-engine",
        choices=("formula", "resector"),
        default="formula",
        help="'resector' renders shapes through the real package resector (slow; must be installed; default: "
        "%(default)s)",
    )


def preset_from(args: argparse.Namespace) -> Preset:
    """The chosen preset with the options of this module over it.

    Raises InputError for values that contradict each other or make no sense.
    """
    preset = replace(PRESETS[args.preset], **_changes(args))  # type: ignore[arg-type]
    _check_model(args, preset)
    _check_numbers(preset)
    return preset


def _changes(args: argparse.Namespace) -> dict[str, object]:
    """The fields of the preset that options change."""
    changes: dict[str, object] = {}
    for option, field in (
        ("min_volume", "min_volume_mm3"),
        ("max_volume", "max_volume_mm3"),
        ("shape", "shape"),
        ("val_task", "val_task"),
        ("labels", "labels"),
        ("nodules", "nodule_probability"),
        ("masses", "mass_probability"),
        ("texture", "texture"),
        ("distractors", "distractor_probability"),
        ("core_probability", "core_probability"),
        ("buffer_sigma", "buffer_sigma_mm"),
    ):
        if getattr(args, option) is not None:
            changes[field] = getattr(args, option)
    if args.intensity_range is not None:
        changes["intensity_range"] = tuple(args.intensity_range)
    if args.mass_effect is not None:
        require(len(args.mass_effect) <= 2, "--mass-effect takes one number of mm, or the least and the most")
        changes["mass_effect_mm"] = (args.mass_effect[0], args.mass_effect[-1])
    if args.num_tumours is not None:
        require(len(args.num_tumours) <= 2, "--num-tumours takes one number, or the least and the most")
        changes["num_tumours"] = (args.num_tumours[0], args.num_tumours[-1])
        changes["several_probability"] = 1.0
    if args.volumes_path is not None:
        require(
            args.min_volume is None and args.max_volume is None,
            "--volumes-path replaces --min-volume and --max-volume; give either",
        )
        changes["volumes_mm3"] = _read_volumes(args.volumes_path)
    return changes


def _check_model(args: argparse.Namespace, preset: Preset) -> None:
    """Raise InputError for options that the preset's model, or this machine, does not have."""
    if preset.model != "glioma":
        for option in ("mass_effect", "labels", "nodules", "masses", "texture", "distractors"):
            given = getattr(args, option) is not None
            require(not given, f"--{option.replace('_', '-')} needs --preset diverse")
        require(preset.shape != INFILTRATIVE, "--shape infiltrative needs --preset diverse")
    require(
        not preset.mass_probability or preset.shape == INFILTRATIVE,
        f"--masses: tumours of --shape {preset.shape} have none; leave one of the two out",
    )
    require(
        preset.shape != INFILTRATIVE or args.shape_engine == "formula",
        "--shape-engine resector has no infiltrative shapes; add --shape noisy, ellipsoid or cuboid",
    )
    require(
        args.shape_engine == "formula" or importlib.util.find_spec("resector") is not None,
        "--shape-engine resector: the package is missing; pip install resector==0.2.10",
    )


def _check_numbers(preset: Preset) -> None:
    """Raise InputError for numbers that make no sense."""
    for option, chance in (
        ("nodules", preset.nodule_probability),
        ("masses", preset.mass_probability),
        ("distractors", preset.distractor_probability),
        ("core-probability", preset.core_probability),
    ):
        require(0 <= chance <= 1, f"--{option} {chance:g}: needs 0 to 1")
    require(0 <= preset.texture <= 5, f"--texture {preset.texture:g}: needs 0 to 5")
    low, high = preset.mass_effect_mm
    require(0 <= low <= high <= 30, f"--mass-effect {low:g} {high:g}: needs 0 <= least <= most <= 30 mm")
    low, high = preset.min_volume_mm3, preset.max_volume_mm3
    for option, volume in (("min", low), ("max", high)):
        require(1 <= volume <= 1e7, f"--{option}-volume {volume:g}: needs 1 to 10000000 mm^3")
    require(low <= high, f"--min-volume {low:g} is above --max-volume {high:g} (the default where not given)")
    low, high = preset.intensity_range
    require(0 <= low <= high <= 1000, f"--intensity-range {low:g} {high:g}: needs 0 <= LOW <= HIGH <= 1000")
    fewest, most = preset.num_tumours
    require(1 <= fewest <= most <= 100, f"--num-tumours {fewest} {most}: needs 1 <= least <= most <= 100")
    sigma = preset.buffer_sigma_mm
    require(0 <= sigma <= 20, f"--buffer-sigma {sigma:g}: needs 0 to 20 mm")


def _read_volumes(path: Path) -> tuple[float, ...]:
    """The positive numbers in column 'Volume' of a CSV, in mm^3."""
    if path.exists():
        check_file(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "Volume" not in (reader.fieldnames or []):
                raise InputError(f"{path}: no column 'Volume'; name the column of volumes in mm^3 so")
            volumes = tuple(float(row["Volume"]) for row in reader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (TypeError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: column 'Volume' holds something other than numbers ({error})") from error
    require(len(volumes) > 0, f"{path}: column 'Volume' is empty")
    require(all(1 <= v <= 1e7 for v in volumes), f"{path}: needs volumes of 1 to 10000000 mm^3")
    return volumes
