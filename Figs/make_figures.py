#!/usr/bin/env python3
"""Make the pictures of the README from DemoData with our own output: python Figs/make_figures.py"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402

from synthtumour.preview import preview_picture  # noqa: E402
from synthtumour.stage1 import brain_mask_beside, prepare_brain, synthesise  # noqa: E402
from synthtumour.volume import read_volume  # noqa: E402

# subject, seed, task
SHOWN = (("sim-01", 33, "train"), ("sim-02", 4, "train"), ("sim-03", 20, "val"))


def main() -> int:
    pictures = []
    for subject, seed, task in SHOWN:
        path = ROOT / "DemoData" / subject / "flair.nii.gz"
        scan = read_volume(path)
        brain = prepare_brain(scan, path, brain_mask_beside(path))
        made = synthesise(scan, brain, seed=seed, task=task)
        picture = preview_picture(scan.array, made.image.array, made.label.array, brain.array, scan.grid)
        pictures.append(
            np.concatenate(np.split(picture, 2), axis=1)
        )  # before on the left, after on the right
    width = max(p.shape[1] for p in pictures)
    rows = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0))) for p in pictures]
    image = sitk.GetImageFromArray(np.concatenate(rows), isVector=True)
    sitk.WriteImage(image, str(ROOT / "Figs" / "stage1.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
