#!/usr/bin/env python3
"""Real tumours made harder to find, for a ruler to score: faint ones, and ones that are dark inside.

Takes a folder of subjects with flair.nii.gz, flair_brainmask.nii.gz, whole_tumour.nii.gz and writes another
one: each SUBJECT as it is; SUBJECT_faint, where half of what the tumour is brighter than the brain's median
is taken away; SUBJECT_ring, which 8 mm inside its border is as dark as that median. Labels and masks stay.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthtumour.errors import InputError  # noqa: E402
from synthtumour.options.program import add_program_options, run  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402

KINDS = ("faint", "ring")
_RING_MM = 8.0
_SMALL_RING = 0.4  # of the largest depth, where that is less
_SOFT_MM = 2.0  # sigma of the changes' edges
_NAMES = ("flair.nii.gz", "whole_tumour.nii.gz", "flair_brainmask.nii.gz")

EXAMPLES = """\
example, and the scores of each kind in columns of their own:
  python benchmarks/harder_tumours.py --tumour DATA/tumour --output WORK/tumour
  python benchmarks/ablation.py --ruler downstream.py --healthy DATA/healthy --tumour WORK/tumour \\
      --output WORK
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harder_tumours.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tumour", type=Path, required=True, metavar="DIR", help="scans of real tumours")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    add_program_options(parser)
    return parser


def harder(kind: str, flair: sitk.Image, tumour: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """`flair` with its tumour changed, float32; `kind` is one of KINDS."""
    image, inside = sitk.GetArrayFromImage(flair).astype(np.float32), sitk.GetArrayFromImage(tumour) > 0
    median = float(np.median(image[(sitk.GetArrayFromImage(brain) > 0) & ~inside]))
    changed, to = inside, image - 0.5 * np.maximum(image - median, 0)
    if kind == "ring":
        depth = -sitk.GetArrayFromImage(
            sitk.SignedMaurerDistanceMap(tumour > 0, squaredDistance=False, useImageSpacing=True)
        )
        changed, to = depth > min(_RING_MM, _SMALL_RING * float(depth.max())), np.full_like(image, median)
    mask = sitk.GetImageFromArray(changed.astype(np.float32))
    mask.CopyInformation(flair)
    weight = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(mask, _SOFT_MM)).clip(0, 1)
    weight[image == image.min()] = 0  # nothing outside a skull-stripped brain
    made = sitk.GetImageFromArray(image + weight * (to - image))
    made.CopyInformation(flair)
    return made


def main(args: argparse.Namespace) -> int:
    subjects = sorted(path.parent for path in args.tumour.glob(f"*/{_NAMES[1]}"))
    if not subjects:
        raise InputError(f"{args.tumour}: no SUBJECT/{_NAMES[1]} in it; give the folder of real tumours")
    for path in (subject / name for subject in subjects for name in _NAMES):
        if not path.exists():
            raise InputError(f"{path}: not found; a subject needs {', '.join(_NAMES)}")
    if args.output.exists():
        raise InputError(f"{args.output}: is there already; choose another --output")
    for subject in subjects:
        flair, tumour, brain = (sitk.ReadImage(str(subject / name)) for name in _NAMES)
        if not flair.GetSize() == tumour.GetSize() == brain.GetSize():
            raise InputError(f"{subject}: {', '.join(_NAMES)} differ in size; they must share one grid")
        for kind in ("", *(f"_{kind}" for kind in KINDS)):
            folder = args.output / f"{subject.name}{kind}"
            folder.mkdir(parents=True)
            for name in _NAMES[1:] if kind else _NAMES:
                shutil.copyfile(subject / name, folder / name)
            if kind:
                sitk.WriteImage(harder(kind[1:], flair, tumour, brain), str(folder / _NAMES[0]))
    print_safely(f"{args.output}: {len(subjects)} tumours as they are, and as many {' and '.join(KINDS)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main, build_parser(), None))
