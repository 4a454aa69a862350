"""Stage 1: one tumour-free scan and its brain mask become a synthetic image, its label and a record.

Drawing is the only random step. What was drawn is a record of plain numbers, and `resynthesise` makes
the identical case from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from synthtumour import __version__
from synthtumour.brain.masks import usable_brain
from synthtumour.brain.measures import black_level, measure
from synthtumour.errors import InputError
from synthtumour.presets import MIXED, PRESETS, TASKS, VAL_TASKS, Preset, preset_of
from synthtumour.streams import case_generator
from synthtumour.tumour.placing import Recipient, in_ras_mm, is_inside, usable_prior
from synthtumour.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class Synthesis:
    """A synthetic case: `image` and `label` (uint8) on the scan's grid, and the JSON-able `record`.

    Label values are 0 and 1, or with `labels='brats'` of the preset 0 to 3.
    """

    image: Volume
    label: Volume
    record: dict[str, Any]

    def resized(self, factor: float) -> Synthesis:
        """The case with its head, tumours in it, so many times as large: the same voxels of another size.

        What was measured in the record follows; what was drawn stays in the scan's own mm.
        """
        measured = dict(self.record["measured"])
        for name, value in measured.items():
            if name.endswith("_ml"):
                measured[name] = round(value * factor**3, 4)
            elif name.endswith("_mm") and value is not None:
                measured[name] = [round(x * factor, 3) for x in value]
        record = {**self.record, "measured": measured}
        return Synthesis(self.image.resized(factor), self.label.resized(factor), record)


def synthesise(
    scan: Volume,
    brain_mask: Volume,
    preset: str | Preset = PRESETS["paper"],
    *,
    seed: int,
    task: str = "train",
    case: str = "",
    centre_ras_mm: tuple[float, float, float] | None = None,
    shape_engine: str = "formula",
    location_prior: Volume | None = None,
    recipient: Recipient | None = None,
) -> Synthesis:
    """Put synthetic tumours into `scan`, inside `brain_mask`.

    `preset` may be a name.

    The same `seed` and `case` give the same tumours for either task. `centre_ras_mm` places the first
    tumour; the others, or all, start where `location_prior` (on the scan's grid) says. `recipient` is what
    `recipient_of` made of scan and mask, to be given to all calls for one scan. Raises InputError if the scan
    cannot be used or if nothing fits after many draws.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r}: must be one of {TASKS}")
    preset = preset_of(preset)
    recipient = recipient or recipient_of(scan, brain_mask)
    if centre_ras_mm is not None and not is_inside(recipient.brain, recipient.grid, centre_ras_mm):
        raise InputError(
            f"centre {in_ras_mm(centre_ras_mm)}: outside the brain; choose a point inside it (RAS, mm)"
        )
    prior = location_prior and usable_prior(location_prior, recipient.brain, scan)
    model = model_named(preset.model)
    rendering = model.rendering_of(preset, task, _val_task(preset, seed, case), shape_engine)
    scene, placed = model.draw(
        case_generator(seed, case), preset, rendering, recipient, centre_ras_mm=centre_ras_mm, prior=prior
    )
    return rendered(model, scene, placed, scan, recipient, _header(preset, seed, case))


def synthesise_patch(
    image: np.ndarray,
    brain: np.ndarray,
    spacing_mm: Sequence[float] | np.ndarray,
    preset: Preset = PRESETS["paper"],
    *,
    seed: int,
    task: str = "train",
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Put synthetic tumours into a patch of a scan, for use inside a data loader.

    `image` (numbers) and `brain` (bool) are [i, j, k] with voxels of `spacing_mm`; they are not changed.
    Returns the new image, in the dtype of `image` where its values fit, the label (uint8) and the record.
    Raises InputError if the patch cannot be used or if nothing fits.
    """
    spacing = np.asarray(spacing_mm, float)
    if image.ndim != 3 or spacing.shape != (3,) or not np.all((spacing > 0) & (spacing < np.inf)):
        raise InputError(f"a patch needs 3 axes and 3 spacings above 0 mm, not {image.ndim} and {spacing_mm}")
    affine = np.diag([*spacing, 1.0])
    scan = Volume.from_array(image, affine)
    made = synthesise(scan, Volume.from_array(brain, affine), preset, seed=seed, task=task)
    return made.image.array, made.label.array, made.record


def untouched(
    scan: Volume,
    brain_mask: Volume,
    preset: Preset = PRESETS["paper"],
    *,
    seed: int,
    case: str = "",
    recipient: Recipient | None = None,
) -> Synthesis:
    """`scan` with an empty label and a record without tumours: as it is, or with the preset's distractors.

    `recipient`: see `synthesise`.
    """
    recipient = recipient or recipient_of(scan, brain_mask)
    model = model_named(preset.model)
    rendering = model.rendering_of(preset, "train", None, "formula")
    scene, placed = model.draw(case_generator(seed, case), preset, rendering, recipient, tumour_free=True)
    return rendered(model, scene, placed, scan, recipient, _header(preset, seed, case))


def recipient_of(scan: Volume, brain_mask: Volume) -> Recipient:
    """What tumours are put into; InputError for a scan or mask that cannot be used."""
    array, brain = scan.array, usable_brain(scan, brain_mask)
    black = black_level(array, brain)
    sample = array[::3, ::3, ::3][brain[::3, ::3, ::3]]
    if not np.median(sample if sample.size else array[brain]) > black:
        raise InputError(
            f"at least half of the brain has no signal above black ({black:g}), so no tumour would show; use "
            "another scan or mask"
        )
    return Recipient(array, brain, scan.grid, black)


def model_named(name: str) -> ModuleType:
    """The module of a preset's model: `rendering_of`, `draw`, `place`, `render`, `scene_from`."""
    if name == "glioma":  # whose rooms take longer to enter than a case of `paper` to make
        from synthtumour.tumour import glioma

        return glioma
    from synthtumour.tumour import paper

    return paper


def rendered(
    model: ModuleType,
    scene: Any,
    placed: Any,
    scan: Volume,
    recipient: Recipient,
    header: dict[str, Any],
) -> Synthesis:
    """The case that a scene of `model`, its tumours `placed`, becomes in `scan`."""
    image, label = model.render(scene, placed, recipient)
    result = scan.with_array(image)
    grid, rendering = recipient.grid, scene.rendering
    measured = measure(image, label > 0, recipient.brain, grid, recipient.black)
    if rendering.labels == "brats":
        for value, name in ((1, "core_ml"), (2, "oedema_ml"), (3, "enhancing_ml")):
            measured[name] = grid.volume_ml(label == value)
    record = {**header, **scene.as_record(), "measured": measured}
    return Synthesis(result, result.with_array(label), record)


def _header(preset: Preset, seed: int, case: str) -> dict[str, Any]:
    return {
        "synthtumour": __version__,
        "preset": preset.name,
        "model": preset.model,
        "case": case,
        "seed": seed,
    }


def _val_task(preset: Preset, seed: int, case: str) -> str:
    """The rule of the validation task; a mixed one is drawn, from a stream of its own."""
    if preset.val_task != MIXED:
        return preset.val_task
    return VAL_TASKS[int(case_generator(seed, f"{case} validation task").integers(len(VAL_TASKS)))]
