#!/usr/bin/env python3
"""Make the pictures of the README from DemoData with our own output: python Figs/make_figures.py"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from synthtumour.preview import columns_of, preview_picture  # noqa: E402
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
        columns = columns_of("before", scan, "after", made.image, made.label.array, brain.array)
        picture = preview_picture(columns, (subject, f"{task}, seed {seed}")).convert("RGB")
        pictures.append(np.array(picture)[:266])  # the axial planes
    Image.fromarray(np.concatenate(pictures)).save(ROOT / "Figs" / "stage1.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
