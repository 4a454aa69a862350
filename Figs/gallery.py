"""Figs/cases.png and Figs/mixed.png: cases as they come, none chosen, of Stage 1 and of Stage 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from Figs.panels import Page, axial, fullest, heads_of, middle_of, run_script, save
from synthtumour.presets import PRESETS
from synthtumour.stage1.synthesis import recipient_of, synthesise
from synthtumour.volume.reading import read_volume

SUBJECTS = ("sim-01", "sim-02", "sim-03")
TILE_MM, TILE_IN, ACROSS, TOLD_IN = (160, 200), (1.09, 1.36), 8, 0.19
CASES, DONORS, MIXED = 40, 4, 16
Tile = tuple[str, np.ndarray, np.ndarray]  # what is said, image and label [i, j, k], 1 mm, canonical


def draw_cases(demo: Path, path: Path) -> None:
    """The first forty seeds of preset diverse, training task with distractors, on all scans of `demo`."""
    heads = [(scan, brain, recipient_of(scan, brain)) for scan, brain in heads_of(demo).values()]
    tiles = []
    for seed in range(CASES):
        scan, brain, recipient = heads[seed % len(heads)]
        made = synthesise(scan, brain, PRESETS["diverse"], seed=seed, recipient=recipient)
        volume_ml = made.record["measured"]["volume_ml"]
        tiles.append((f"{seed}: {volume_ml:.0f} ml", made.image.array, made.label.array))
    _draw(tiles, path, outlined=False)


def draw_mixed(demo: Path, path: Path) -> None:
    """The first mixed cases of Stage 2; tumours of preset diverse stand in for real ones."""
    with TemporaryDirectory() as folder:
        work = Path(folder)
        real = work / "Real"
        for part in ("imagesTr", "labelsTr"):
            (real / part).mkdir(parents=True)
        for n in range(DONORS):
            donor, scan = f"donor{n}", demo / SUBJECTS[n % len(SUBJECTS)] / "flair.nii.gz"
            files = (real / f"imagesTr/{donor}_0000.nii.gz", real / f"labelsTr/{donor}.nii.gz")
            options = ("--seed", n, "--num-tumours", 1, "--distractors", 0, "--skull-strip", "--quiet")
            run_script("resect_multi_tumor.py", scan, *files, *options)
        run_script(
            "stage2_mixed_with_pseudo_label.py",
            *("--imagesTr_path", real / "imagesTr", "--labelsTr_path", real / "labelsTr"),
            *("--healthyimgTr", demo, "--mask_check_path", work / "check", "-num", MIXED, "--jitter", 5),
        )
        tiles = []
        for row in pd.read_csv(work / "check/CarveMixID.csv").itertuples():
            image = read_volume(real / f"imagesTrMix/{row.id}_0000.nii.gz").array
            label = read_volume(real / f"labelsTrMix/{row.id}.nii.gz").array
            tiles.append((f"{row.id1} in {row.id2}", image, label))
    _draw(tiles, path, outlined=True)


def _draw(tiles: Sequence[Tile], path: Path, outlined: bool) -> None:
    """Each in the slice that holds most of its tumour, eight in a row."""
    width, height = TILE_IN
    rows = -(-len(tiles) // ACROSS)
    page = Page(height_in=0.1 + rows * (height + TOLD_IN))
    for n, (said, image, label) in enumerate(tiles):
        left, top = 0.1 + (n % ACROSS) * (width + 0.015), 0.05 + (n // ACROSS) * (height + TOLD_IN)
        page.canvas.text(left, top + 0.02, said, size=7, va="top")
        k = fullest(label)
        inside = image[:, :, k][image[:, :, k] > 0]
        outline = middle_of(axial(label, k), TILE_MM) if outlined else None
        corner = (left, top + TOLD_IN - 0.03)
        page.plane(
            corner, TILE_IN, middle_of(axial(image, k), TILE_MM), float(np.percentile(inside, 99.7)), outline
        )
    save(page.figure, path, dpi=110)
