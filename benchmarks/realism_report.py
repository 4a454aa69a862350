#!/usr/bin/env python3
"""Compare synthetic tumours with real ones, without training: six figures a case, and what to look at.

Takes nnU-Net folders as prompt_multi_tumor.py writes them (cases of the training task that have a tumour)
and a folder of subjects with flair.nii.gz, flair_brainmask.nii.gz, whole_tumour.nii.gz. At 2 mm it measures

  volume         ml
  sphericity     1 for a ball, up to 1.1 for one of a few ml
  contrast       mean inside over the mean of 10 mm of brain around
  heterogeneity  robust coefficient of variation inside
  sharpness      steepest 2 mm of the mean profile across the border, as a part of its height
  depth          mm from tumour to brain surface, 5th percentile

--page shows random cases of each, the axial slice through the tumour's largest section, without and with its
outline. Needs matplotlib for --figure and --page.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

_SPACING = 2.0
_PAIRS = 6  # of pictures in a row of the page
_NAMES = {
    "volume_ml": "volume (ml)",
    "sphericity": "sphericity",
    "contrast": "contrast to rim",
    "heterogeneity": "inner heterogeneity",
    "sharpness": "boundary sharpness",
    "depth_mm": "depth below surface (mm)",
}


def measure(flair: sitk.Image, tumour: sitk.Image, brain: sitk.Image) -> dict[str, float]:
    """The six figures of one case; NaN for what a tumour without a border or rim does not have."""
    image = _resampled(flair, sitk.sitkLinear)
    inside = _resampled(tumour, sitk.sitkNearestNeighbor) > 0
    head = (_resampled(brain, sitk.sitkNearestNeighbor) > 0) | inside
    padded = np.pad(inside, 1)
    inner = ndimage.distance_transform_edt(padded)[1:-1, 1:-1, 1:-1] * _SPACING
    outer = ndimage.distance_transform_edt(~inside) * _SPACING
    border = np.where(inside, 1 - inner, outer - 1)  # mm, the border runs between voxels
    surface = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1, 1:-1] * _SPACING
    volume = float(inside.sum()) * _SPACING**3
    # a smooth surface's area, not that of the voxels' faces
    soft = ndimage.gaussian_filter(padded.astype(float), 1.0)
    area = float(np.sqrt(sum(g**2 for g in np.gradient(soft))).sum()) * _SPACING**2
    rim = head & ~inside & (border < 10)
    values = image[inside]
    median = float(np.median(values))
    steps = np.arange(-8, 9, 2)
    layers = [image[head & (np.abs(border - s) < 2)] for s in steps]
    profile = np.array([layer.mean() for layer in layers if layer.size])
    height = profile.max() - profile.min()
    return {
        "volume_ml": volume / 1000,
        "sphericity": float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area),
        "contrast": float(values.mean() / image[rim].mean()) if rim.any() else float("nan"),
        "heterogeneity": float(1.4826 * np.median(np.abs(values - median)) / median),
        "sharpness": float(np.abs(np.diff(profile)).max() / height)
        if len(profile) > 1 and height > 0
        else float("nan"),
        "depth_mm": float(np.percentile(surface[inside], 5)),
    }


@dataclass(frozen=True)
class Case:
    """A scan, its tumour, and its brain; without a mask the brain is what is not zero."""

    flair: Path
    tumour: Path
    brain: Path | None = None

    def read(self) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
        flair, tumour = (sitk.ReadImage(str(path)) for path in (self.flair, self.tumour))
        return flair, tumour, sitk.ReadImage(str(self.brain)) if self.brain else flair > 0


def of_dataset(folder: Path) -> dict[str, Case]:
    """Every case of the training task with a tumour."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "made"]
    return {
        row["case"]: Case(
            folder / "imagesTr" / f"{row['case']}_0000.nii.gz", folder / "labelsTr" / f"{row['case']}.nii.gz"
        )
        for row in rows
        if row["split"] == "train" and row["kind"] == "synthetic"
    }


def of_subjects(folder: Path) -> dict[str, Case]:
    """Every real case."""
    names = ("flair.nii.gz", "whole_tumour.nii.gz", "flair_brainmask.nii.gz")
    return {
        path.name: Case(*(path / name for name in names))
        for path in sorted(folder.iterdir())
        if (path / names[1]).is_file()
    }


def _resampled(image: sitk.Image, how: int) -> np.ndarray:
    size = [
        max(int(np.ceil(n * s / _SPACING)), 1)
        for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    out = sitk.Resample(
        image, size, sitk.Transform(), how, image.GetOrigin(), (_SPACING,) * 3, image.GetDirection(), 0.0
    )
    return sitk.GetArrayFromImage(out).astype(np.float64)


def table(groups: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: median and 10th to 90th percentile of every figure in every group."""
    lines = [
        "| | " + " | ".join(f"{name} (n = {len(cases)})" for name, cases in groups.items()) + " |",
        "|---|" + "---|" * len(groups),
    ]
    for key, title in _NAMES.items():
        cells = []
        for cases in groups.values():
            low, middle, high = np.nanpercentile([case[key] for case in cases.values()], (10, 50, 90))
            cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(groups: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """One panel a figure, one strip of points a group."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(11, 6))
    jitter = np.random.default_rng(0)
    for panel, (key, title) in zip(panels.ravel(), _NAMES.items(), strict=True):
        for n, cases in enumerate(groups.values()):
            values = np.array([case[key] for case in cases.values()])
            panel.plot(n + jitter.uniform(-0.2, 0.2, len(values)), values, ".", alpha=0.6)
            panel.plot([n - 0.3, n + 0.3], [np.nanmedian(values)] * 2, "k-")
        panel.set_xticks(range(len(groups)), [re.sub(r"^Dataset\d+_", "", name) for name in groups])
        panel.set_title(title)
        if key == "volume_ml":
            panel.set_yscale("log")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_page(groups: dict[str, dict[str, Case]], number: int, seed: int, path: Path) -> None:
    """Up to `number` random cases of each group, each as a pair of pictures: the slice, and with outline."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    for name, cases in groups.items():
        order = np.random.default_rng(seed).permutation(len(cases))[:number]
        shown += [(name, case, cases[case]) for case in np.array(list(cases))[np.sort(order)].tolist()]
    rows = -(-len(shown) // _PAIRS)
    figure, panels = plt.subplots(rows, 2 * _PAIRS, figsize=(3 * _PAIRS, 1.75 * rows), squeeze=False)
    for panel in panels.ravel():
        panel.axis("off")
    for (name, case, files), left, right in zip(
        shown, panels.ravel()[::2], panels.ravel()[1::2], strict=False
    ):
        flair, tumour, brain = (sitk.DICOMOrient(image, "LPS") for image in files.read())
        image, inside, head = (sitk.GetArrayFromImage(i) for i in (flair, tumour, brain))
        level = int((inside > 0).sum(axis=(1, 2)).argmax())
        section = np.where(head[level] > 0, image[level], 0)
        for panel in (left, right):
            aspect = flair.GetSpacing()[1] / flair.GetSpacing()[0]
            brightest = np.percentile(image[head > 0], 99.5)
            panel.imshow(section, cmap="gray", vmin=0, vmax=brightest, aspect=aspect)
            rim = np.argwhere(head.any(axis=0))
            panel.set_xlim(rim[:, 1].min() - 1, rim[:, 1].max() + 1)
            panel.set_ylim(rim[:, 0].max() + 1, rim[:, 0].min() - 1)
        right.contour(inside[level] > 0, [0.5], colors="red", linewidths=0.6)
        left.set_title(f"{re.sub(r'^Dataset[0-9]+_', '', name)}: {case}", fontsize=5, loc="left")
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=100)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", type=Path, nargs="+", help="nnU-Net folders of prompt_multi_tumor.py")
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="subjects with real tumours")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw the distributions here")
    parser.add_argument("--page", type=Path, metavar="PNG", help="draw cases to look at here")
    parser.add_argument("--page-cases", type=int, default=40, metavar="N", help="of each (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="which cases are on the page (default: 0)")
    parser.add_argument("--json", type=Path, help="write every case's figures here")
    args = parser.parse_args(argv)
    cases = {folder.name: of_dataset(folder) for folder in args.datasets}
    cases["real"] = of_subjects(args.real)
    if empty := [name for name, of_it in cases.items() if not of_it]:
        parser.error(f"{empty[0]}: no case with a tumour in it")
    if args.page:
        draw_page(cases, args.page_cases, args.seed, args.page)
    groups = {
        name: {case: measure(*files.read()) for case, files in of_it.items()} for name, of_it in cases.items()
    }
    print(table(groups))
    if args.figure:
        draw(groups, args.figure)
    if args.json:
        args.json.write_text(json.dumps(groups, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
