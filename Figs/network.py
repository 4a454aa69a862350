"""What the package's weights mark in simulated scans of DemoData: segmented.png, failures.png, results.png.

Those segmented are the first seeds, none chosen. Two of the failures are the worst of eight cases, two
are one case each, without the confidence gate: they say what kind of case fails, not how often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from Figs.panels import Case, dice, draw_strip, heads_of
from synthtumour.pilot.network import BOX, digest_of
from synthtumour.pilot.segment import networks_in, segmented
from synthtumour.presets import PRESETS, Preset, Refinement
from synthtumour.stage1.synthesis import Synthesis, recipient_of, synthesise
from synthtumour.stage2.refinement import refined_mask
from synthtumour.tumour.distractors import Caps, Distractors, disturb
from synthtumour.volume.volume import Volume

SEGMENTED, CASES, RANKED = 4, 8, 16
ALONE = replace(PRESETS["diverse"], distractor_probability=0.0, num_tumours=(1, 1))
MASS = replace(ALONE, mass_probability=1.0, min_volume_mm3=50_000.0, max_volume_mm3=120_000.0)
SMALL = replace(ALONE, core_probability=0.0, min_volume_mm3=2_000.0, max_volume_mm3=4_000.0)


def marked(scan: np.ndarray, brain: Volume, min_logit: float | None = None) -> np.ndarray:
    networks = networks_in((BOX,), (digest_of(BOX),))
    return segmented(scan, brain.array > 0, brain.grid, networks, min_logit).tumour


def with_tumours(scan: Volume, brain: Volume, preset: Preset) -> Iterator[Case]:
    recipient = recipient_of(scan, brain)
    made = (synthesise(scan, brain, preset, seed=n, recipient=recipient) for n in count())
    for case in islice((case for case in made if preset is not MASS or _is_large_and_dark(case)), CASES):
        tumour = case.label.array > 0
        yield Case(case.image.array, brain.array > 0, tumour, marked(case.image.array, brain))


def _is_large_and_dark(case: Synthesis) -> bool:
    core = case.record["tumours"][0]["core"]
    return bool(core["fraction"] > 0.6 and core["kind"] in ("dark", "iso-intense"))


def with_hyperintensities(scan: Volume, brain: Volume) -> Case:
    """Broad ones along the ventricles, as in old brains, without the confidence gate."""
    recipient = recipient_of(scan, brain)
    caps = Distractors(caps=Caps(width_mm=12.0, factor=1.7, noise_mm=15.0, noise_offset=1))
    image, _ = disturb(caps, scan.array, recipient.brain, recipient.tissue)
    return Case(image, recipient.brain, np.zeros_like(recipient.brain), marked(image, brain, 0.0))


def with_orbits(scan: Volume, brain: Volume) -> Case:
    """A brain mask that holds both eyes: two bright balls at its front, without the confidence gate."""
    mask = brain.array > 0
    image = scan.array.astype(np.float32)
    points = np.argwhere(mask)
    front = brain.grid.to_ras(points)
    for side in (-1, 1):
        centre = (32.0 * side, front[:, 1].max() - 22.0, np.median(front[:, 2]) - 32.0)
        axes = np.meshgrid(*map(np.arange, mask.shape), indexing="ij")
        away = np.linalg.norm(brain.grid.to_ras(np.stack(axes, axis=-1)) - centre, axis=-1)
        image[away < 12], mask[away < 12] = 2.2 * np.median(scan.array[mask]), True
    return Case(image, mask, np.zeros_like(mask), marked(image, brain.with_array(mask.astype(np.uint8)), 0.0))


def draw_segmented(demo: Path, path: Path) -> None:
    """Tumours of `diverse`, and what is marked, refined as `predict` does it."""
    heads = list(heads_of(demo).values())
    panels = {}
    for seed in range(SEGMENTED):
        case = refined_case(*heads[seed % len(heads)], seed)
        panels[f"seed {seed}: Dice {dice(case):.2f}"] = case
    draw_strip(panels, path)


def worst_median_best(demo: Path) -> dict[str, Case]:
    """Of RANKED synthetic tumours, marked and refined as `predict` does it."""
    heads = list(heads_of(demo).values())
    cases = sorted((refined_case(*heads[seed % len(heads)], seed) for seed in range(RANKED)), key=dice)
    chosen = {"worst": cases[0], "median": cases[RANKED // 2], "best": cases[-1]}
    return {f"{what}: Dice {dice(case):.2f}": case for what, case in chosen.items()}


def refined_case(scan: Volume, brain: Volume, seed: int) -> Case:
    made = synthesise(scan, brain, ALONE, seed=seed)
    image, inside = made.image.array, brain.array > 0
    label, _ = refined_mask(image, inside, marked(image, brain), brain.grid, Refinement())
    return Case(image, inside, made.label.array > 0, label)


def draw_failures(demo: Path, path: Path) -> None:
    heads = heads_of(demo)
    panels = {
        "a large dark mass": min(with_tumours(*heads["sim-01"], MASS), key=dice),
        "a small tumour": min(with_tumours(*heads["sim-01"], SMALL), key=dice),
        "hyperintensities, no gate": with_hyperintensities(*heads["sim-02"]),
        "eyes in the mask, no gate": with_orbits(*heads["sim-01"]),
    }
    draw_strip(panels, path)
