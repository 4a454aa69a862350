"""Options of Stage 2: how tumours are mixed in, and which pseudo-labels are good enough.

They may be written with - or with _, as those of the published tool are.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from synthtumour.errors import require
from synthtumour.presets import GateLimits, Mixing, Refinement


def add_option(group: argparse._ActionsContainer, name: str, *short: str, **how: object) -> None:
    """`group.add_argument` for an option that may be written either way."""
    other = name.replace("_", "-") if "_" in name else "--" + name[2:].replace("-", "_")
    names = dict.fromkeys((name, *short, other))
    group.add_argument(*names, dest=name[2:].replace("-", "_"), **how)  # type: ignore[arg-type]


def add_mixing_options(parser: argparse.ArgumentParser) -> None:
    """How a tumour is placed, cut out and blended, as far as most users choose."""
    group, usual = parser.add_argument_group("mixing"), Mixing()
    add_option(
        group,
        "--align",
        choices=("brain", "affine", "none"),
        default=usual.align,
        help="brain box on brain box, brains registered, or coordinates as they are (default: %(default)s)",
    )
    add_option(
        group,
        "--mirror-probability",
        type=float,
        default=usual.mirror_probability,
        metavar="P",
        help="how often left and right are swapped (default: %(default)s)",
    )
    add_option(
        group,
        "--jitter",
        type=float,
        default=usual.jitter_mm,
        metavar="MM",
        help="standard deviation of a random shift of each tumour, along each axis (default: %(default)s)",
    )
    add_option(
        group,
        "--carve",
        choices=("label", "distance"),
        default=usual.carve,
        help="cut along the label, or CarveMix's random distance from its border (default: %(default)s)",
    )
    add_option(
        group,
        "--buffer-sigma",
        type=float,
        default=usual.buffer_sigma_mm,
        metavar="MM",
        help="Gaussian sigma of the buffer layer round a tumour (default: %(default)s)",
    )
    add_option(
        group,
        "--min-remaining",
        type=float,
        default=usual.min_remaining,
        metavar="F",
        help="part of a tumour that must stay inside the recipient's brain, or it is drawn again "
        "(default: %(default)s)",
    )


def add_refinement_options(parser: argparse.ArgumentParser) -> None:
    """How labels are refined by the scan's own contrast."""
    group, usual = parser.add_argument_group("refinement"), Refinement()
    add_option(
        group,
        "--refine",
        choices=("on", "off"),
        default="on",
        help="let the scan's own contrast say where a label ends (default: %(default)s)",
    )
    add_option(
        group,
        "--refine-mm",
        type=float,
        default=usual.reach_mm,
        metavar="MM",
        help="how far from the label tumour is looked for (default: %(default)s)",
    )
    add_option(
        group,
        "--refine-level",
        type=float,
        default=usual.level,
        metavar="L",
        help="where it ends, between the tissue's level, 0, and the tumour's, 1 (default: %(default)s)",
    )


def add_name_options(group: argparse._ArgumentGroup) -> None:
    """How scans and their labels are called where the usual names are not."""
    add_option(
        group,
        "--image-name",
        metavar="NAME",
        help="scans, named as for prompt_multi_tumor.py: '*_flair.nii*' (default, and where no file is "
        "called so: by the usual names)",
    )
    add_option(
        group,
        "--label-name",
        metavar="NAME",
        help="pseudo-labels, named in the same way: '*_seg.nii*', beside or in folders as the scans are "
        "(default: CASE.nii.gz)",
    )


def add_rare_mixing_options(group: argparse._ArgumentGroup) -> None:
    """The other ways of mixing, and the limits that a pseudo-label must keep to."""
    add_option(
        group, "--scale-per-axis", action="store_true", help="--align brain scales R, A and S each for itself"
    )
    add_option(
        group,
        "--blend",
        choices=("buffer", "hard"),
        default=Mixing().blend,
        help="border of a mixed tumour (default: %(default)s)",
    )
    for field, metavar, text in (
        ("min_island_ml", "ML", "smaller parts of a pseudo-label are dropped"),
        ("max_components", "N", "only the largest parts are kept"),
        ("max_hole_ml", "ML", "holes up to this size are filled"),
        ("min_volume_ml", "ML", "a smaller label is rejected"),
        ("max_brain_fraction", "F", "a label that fills more of the brain is rejected"),
        ("max_outside_fraction", "F", "a label with more of it outside the brain is rejected"),
        ("min_contrast", "C", "a label whose mean differs by less from its surroundings' is rejected"),
        ("min_confidence", "P", "a label of lower mean probability (nnU-Net's .npz beside it) is rejected"),
        ("min_logit", "L", "parts of lower mean logit (nnU-Net's .npz) are dropped before they are refined"),
    ):
        default = getattr(GateLimits(), field)
        add_option(
            group,
            "--" + field.replace("_", "-"),
            type=int if field == "max_components" else float,
            default=default,
            metavar=metavar,
            help=f"{text} (default: {'no limit' if default is None else f'{default:g}'})",
        )


def mixing_from(args: argparse.Namespace) -> Mixing:
    """How tumours are mixed in."""
    return Mixing(
        align=args.align,
        scale_per_axis=args.scale_per_axis,
        mirror_probability=args.mirror_probability,
        jitter_mm=args.jitter,
        carve=args.carve,
        blend=args.blend,
        buffer_sigma_mm=args.buffer_sigma,
        min_remaining=args.min_remaining,
    )


def limits_from(args: argparse.Namespace) -> GateLimits:
    """What a pseudo-label must satisfy, and how it is refined."""
    given = {field: getattr(args, field) for field in asdict(GateLimits()) if field != "refinement"}
    return GateLimits(**given, refinement=refinement_from(args) if args.refine == "on" else None)


def refinement_from(args: argparse.Namespace) -> Refinement:
    """How a label is refined; InputError for numbers that make no sense."""
    require(
        0 < args.refine_mm <= 100, f"--refine-mm {args.refine_mm:g}: needs more than 0 and at most 100 mm"
    )
    require(
        0 < args.refine_level < 1, f"--refine-level {args.refine_level:g}: needs more than 0 and less than 1"
    )
    return Refinement(reach_mm=args.refine_mm, level=args.refine_level)
