#!/usr/bin/env python3
"""Is there a better way to refine a network's marks? Dice of several rules, none of which sees a label.

Takes what a network marked in scans of real tumours: labels CASE.nii.gz with CASE.npz beside them, as
`pilot_network.py predict --refine off --save_probabilities` writes them. Subject folders hold flair.nii.gz,
flair_brainmask.nii.gz and whole_tumour.nii.gz. Prints mean Dice for the first, third, ... and for the second,
fourth, ... scan by name: what helps one half alone helps by chance. Only the largest part of a mark counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.two_stage import dice  # noqa: E402
from synthtumour.brain.measures import distance_mm  # noqa: E402
from synthtumour.errors import require  # noqa: E402
from synthtumour.options.program import add_program_options, run  # noqa: E402
from synthtumour.presets import Refinement  # noqa: E402
from synthtumour.stage2.pseudo_labels import tumour_probability  # noqa: E402
from synthtumour.stage2.refinement import refined_mask  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402
from synthtumour.volume.grid import Grid, bounding_box, grown, largest_component  # noqa: E402
from synthtumour.volume.reading import read_volume  # noqa: E402

USUAL = Refinement()


@dataclass(frozen=True, eq=False)
class Marked:
    """A scan in the box round its mark, 20 mm wider: arrays [i, j, k]; `logits` are the network's."""

    scan: np.ndarray
    smooth: np.ndarray
    brain: np.ndarray
    mark: np.ndarray
    logits: np.ndarray
    tissue: float  # level of the brain further than 9 mm from the mark
    grid: Grid

    @property
    def tumour(self) -> float:
        return float(np.percentile(self.smooth[self.mark], USUAL.percentile))

    @property
    def near(self) -> np.ndarray:
        return self.brain & (distance_mm(self.mark, self.grid.spacing_mm) <= USUAL.reach_mm)

    @property
    def deep(self) -> np.ndarray:
        inside = distance_mm(~np.pad(self.mark, 1), self.grid.spacing_mm)[1:-1, 1:-1, 1:-1]
        return inside > USUAL.core_mm

    def image(self, array: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetSpacing([float(s) for s in self.grid.spacing_mm])
        return image


def array_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).T


def as_marked(one: Marked) -> np.ndarray:
    return one.mark


def usual(one: Marked) -> np.ndarray:
    return refined_mask(one.scan, one.brain, one.mark, one.grid)[0]


def at_level(one: Marked, level: float) -> np.ndarray:
    """What is brighter than `level` near the mark, or deep in it, and joined to it."""
    found = (one.near & (one.smooth > level)) | one.deep
    parts = array_of(sitk.ConnectedComponent(one.image(found.astype(np.uint8)), True))
    touching = np.unique(parts[one.mark & found])
    filled = sitk.BinaryFillhole(one.image(np.isin(parts, touching[touching > 0]).astype(np.uint8)))
    return (array_of(filled) > 0) & one.brain


def two_classes(one: Marked, threshold: Callable[..., sitk.Image]) -> np.ndarray:
    """The level that parts what is near the mark into two classes."""
    values = one.smooth[one.near]
    image = sitk.GetImageFromArray(values[None].astype(np.float32))
    bright = sitk.GetArrayFromImage(threshold(image, 0, 1, 256))[0] > 0
    return at_level(one, float(values[bright].min()) if bright.any() else np.inf)


def gradient_of(one: Marked) -> sitk.Image:
    scan = np.where(one.brain, one.scan, 0).astype(np.float32)
    return sitk.GradientMagnitudeRecursiveGaussian(one.image(scan), 1.5)


def watershed(one: Marked) -> np.ndarray:
    """From what is deep in the mark, and from what is far from it, to the steepest gradient between them."""
    markers = np.where(~one.near, 2, np.where(one.deep, 1, 0)).astype(np.uint8)
    if not one.deep.any():
        return one.mark
    return array_of(sitk.MorphologicalWatershedFromMarkers(gradient_of(one), one.image(markers))) == 1


def geodesic_contour(one: Marked) -> np.ndarray:
    """A geodesic active contour that starts as the mark."""
    gradient = gradient_of(one)
    steep = float(np.percentile(array_of(gradient)[one.near], 75))
    edges = sitk.Cast(sitk.BoundedReciprocal(gradient / steep * 2), sitk.sitkFloat32)
    contour = sitk.GeodesicActiveContourLevelSetImageFilter()
    contour.SetPropagationScaling(0.5)
    contour.SetCurvatureScaling(0.5)
    contour.SetAdvectionScaling(1.0)
    contour.SetMaximumRMSError(0.01)
    contour.SetNumberOfIterations(150)
    mark = one.image(one.mark.astype(np.uint8))
    start = sitk.SignedMaurerDistanceMap(mark, squaredDistance=False, useImageSpacing=True)
    found = contour.Execute(sitk.Cast(start, sitk.sitkFloat32), edges)
    return (array_of(found) < 0) & one.near


def closed(one: Marked, radius_mm: float) -> np.ndarray:
    """The usual rule, then what lies between its parts: dark masses are often half surrounded."""
    voxels = [max(round(radius_mm / s), 1) for s in one.grid.spacing_mm]
    image = one.image(usual(one).astype(np.uint8))
    return (array_of(sitk.BinaryMorphologicalClosing(image, voxels)) > 0) & one.brain


def with_logits(one: Marked, weight: float) -> np.ndarray:
    """The usual level, lower where the network is sure of tumour and higher where it is sure of none."""
    height = one.tumour - one.tissue
    shift = weight * height * np.clip(one.logits, -4, 4) / 4
    brighter = Marked(one.scan, one.smooth + shift, one.brain, one.mark, one.logits, one.tissue, one.grid)
    return at_level(brighter, one.tissue + USUAL.level * height)


RULES: dict[str, Callable[[Marked], np.ndarray]] = {
    "as marked": as_marked,
    "the rule: 0.35 of the way to the 80th percentile": usual,
    "two classes (Otsu)": lambda one: two_classes(one, sitk.OtsuThreshold),
    "two classes (Li)": lambda one: two_classes(one, sitk.LiThreshold),
    "watershed of the gradient": watershed,
    "geodesic active contour": geodesic_contour,
    "the rule, closed by 6 mm": lambda one: closed(one, 6),
    "the rule, closed by 12 mm": lambda one: closed(one, 12),
    "the rule's level, moved by the logits (0.1)": lambda one: with_logits(one, 0.1),
    "the rule's level, moved by the logits (0.3)": lambda one: with_logits(one, 0.3),
}


def read_marked(folder: Path, label: Path) -> tuple[Marked, np.ndarray] | None:
    """The scan of one case round its mark, and the expert's label there; None where nothing is marked."""
    scan, brain, expert = (
        read_volume(folder / f"{name}.nii.gz") for name in ("flair", "flair_brainmask", "whole_tumour")
    )
    inside = brain.array > 0
    mark = largest_component((read_volume(label).array > 0) & inside)
    if not mark.any():
        return None
    probability = tumour_probability(label.with_name(f"{label.name[:-7]}.npz"), expert).clip(1e-6, 1 - 1e-6)
    image = sitk.GetImageFromArray(np.where(inside, scan.array, 0).astype(np.float32).T)
    image.SetSpacing([float(s) for s in scan.grid.spacing_mm])
    smooth = array_of(sitk.SmoothingRecursiveGaussian(image, USUAL.smooth_mm))
    far = inside & (distance_mm(mark, scan.grid.spacing_mm) > USUAL.tissue_mm)
    box = grown(bounding_box(mark | (expert.array > 0)), 20, scan.grid)
    logits = np.log(probability / (1 - probability))
    one = Marked(
        *(array[box] for array in (scan.array, smooth, inside, mark, logits)),
        float(np.median(smooth[far])),
        scan.grid.cropped(box),
    )
    return one, expert.array[box] > 0


def attempts(args: argparse.Namespace) -> int:
    found: dict[str, list[float]] = {name: [] for name in RULES}
    labels = {path.name[:-7]: path for path in sorted(args.labels.glob("*.nii.gz"))}
    names = [name for name in labels if (args.tumour / name / "whole_tumour.nii.gz").is_file()]
    require(bool(names), f"{args.labels}: holds no label of a subject in {args.tumour}")
    for name in names:
        read = read_marked(args.tumour / name, labels[name])
        for rule, apply in RULES.items():
            found[rule].append(dice(apply(read[0]), read[1]) if read else 0.0)
    print_safely("| rule | odd | even | all |")
    print_safely("|---|---|---|---|")
    for rule, values in found.items():
        halves = " | ".join(f"{np.mean(part):.3f}" for part in (values[::2], values[1::2], values))
        print_safely(f"| {rule} | {halves} |")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="refinement_attempts.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="what a network marked, not refined")
    parser.add_argument("--tumour", type=Path, required=True, metavar="DIR", help="labelled scans of tumours")
    add_program_options(parser)
    return run(attempts, parser, argv)


if __name__ == "__main__":
    sys.exit(main())
