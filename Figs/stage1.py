"""Figs/stage1.png: three simulated brains, before and after, as `--preview` shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from synthtumour.brain.masks import prepare_brain
from synthtumour.files.names import brain_mask_beside
from synthtumour.pictures.case import columns_of, preview_picture
from synthtumour.stage1.synthesis import synthesise
from synthtumour.volume.reading import read_volume

# subject, seed, task
SHOWN = (("sim-01", 33, "train"), ("sim-02", 4, "train"), ("sim-03", 20, "val"))


def draw(demo: Path, path: Path) -> None:
    """Draw cases made from the scans in `demo`."""
    pictures = []
    for subject, seed, task in SHOWN:
        source = demo / subject / "flair.nii.gz"
        scan = read_volume(source)
        brain = prepare_brain(scan, source, brain_mask_beside(source))
        made = synthesise(scan, brain, seed=seed, task=task)
        columns = columns_of("before", scan, "after", made.image, made.label.array, brain.array)
        picture = preview_picture(columns, (subject, f"{task}, seed {seed}")).convert("RGB")
        pictures.append(np.array(picture)[:266])  # the axial planes
    Image.fromarray(np.concatenate(pictures)).save(path)
