"""The published model: blurred brightness in noisy ellipsoids (Zhang et al., Medical Image Analysis 2025).

As in `glioma`, `draw` yields a `Scene`, which is what the record holds, and where its tumours lie; `place`
finds that again for a scene of a record; `render` makes voxels of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from synthtumour.errors import InputError
from synthtumour.presets import SHAPES, TASKS, Preset
from synthtumour.tumour.blending import buffer_reach_mm, dilated, gaussian_in_box
from synthtumour.tumour.intensity import Hyperintensity, draw_hyperintensity, training_task, validation_task
from synthtumour.tumour.placing import Recipient, drawn_centre
from synthtumour.tumour.shape import TumourShape, draw_shape, rasterise
from synthtumour.volume.grid import Box, Grid, bounding_box, grown, relative
from synthtumour.volume.writing import stored_where_it_fits

_MAX_DRAWS = 100


@dataclass(frozen=True)
class Tumour:
    """Everything drawn for one tumour."""

    shape: TumourShape
    core: TumourShape | None
    intensity: Hyperintensity


@dataclass(frozen=True)
class Rendering:
    """What turns drawn tumours into voxels, beside the tumours themselves."""

    task: str  # 'train' or 'val'
    buffer_sigma_mm: float
    blur_sigma_mm: float
    label_threshold: float
    shape_engine: str = "formula"  # or 'resector'
    val_task: str = "scaled"  # one of VAL_TASKS
    labels: ClassVar[str] = "whole"

    @property
    def shows_cores(self) -> bool:
        """Whether a core can be seen: shells about a dark inside leave no room for one."""
        return not (self.task == "val" and self.val_task == "rings")


@dataclass(frozen=True)
class Scene:
    """Everything drawn for one case."""

    rendering: Rendering
    tumours: tuple[Tumour, ...]

    def as_record(self) -> dict[str, Any]:
        """JSON-able, as keys of a case's record."""
        return {"rendering": asdict(self.rendering), "tumours": [asdict(tumour) for tumour in self.tumours]}


@dataclass(frozen=True, eq=False)
class Masks:
    """One tumour's masks on the box `patch`; `soft` is the buffer layer, zero outside the brain."""

    patch: Box
    hard: np.ndarray
    soft: np.ndarray
    core: np.ndarray | None
    soft_core: np.ndarray | None


def rendering_of(preset: Preset, task: str, val_task: str | None, shape_engine: str) -> Rendering:
    """How cases of `preset` are rendered; `val_task` None where no validation task is asked for."""
    return Rendering(
        task,
        preset.buffer_sigma_mm,
        preset.blur_sigma_mm,
        preset.label_threshold,
        shape_engine,
        val_task or "scaled",
    )


def draw(
    rng: np.random.Generator,
    preset: Preset,
    rendering: Rendering,
    recipient: Recipient,
    *,
    centre_ras_mm: tuple[float, float, float] | None = None,
    prior: np.ndarray | None = None,
    tumour_free: bool = False,
) -> tuple[Scene, list[Masks]]:
    """Draw the tumours of a case; `prior` (on the recipient's grid) says where they start.

    Raises InputError if fewer than the preset's least number of tumours fit.
    """
    if tumour_free:
        return Scene(rendering, ()), []
    least, most = preset.num_tumours
    wanted = int(rng.integers(least, most + 1))
    tumours: list[Tumour] = []
    placed: list[Masks] = []
    taken = np.zeros(recipient.brain.shape, bool)
    for number in range(wanted):
        centre = centre_ras_mm if number == 0 else None
        fitting = _draw_one(rng, preset, rendering, recipient, centre, prior, taken)
        if fitting is None:
            break
        tumour, masks = fitting
        if not rendering.shows_cores:
            tumour = Tumour(tumour.shape, None, replace(tumour.intensity, core_factor=None))
            masks = replace(masks, core=None, soft_core=None)
        tumours.append(tumour)
        placed.append(masks)
        taken[masks.patch] |= masks.soft > 0
    if len(tumours) < least:
        brain_mm3 = recipient.brain.sum() * recipient.grid.voxel_ml * 1000
        raise InputError(
            f"only {len(tumours)} of {wanted} tumours fitted into a brain of {brain_mm3:.0f} mm^3 after "
            f"{_MAX_DRAWS} draws; ask for fewer or other volumes"
        )
    return Scene(rendering, tuple(tumours)), placed


def place(scene: Scene, recipient: Recipient) -> list[Masks]:
    """Where the tumours of `scene` lie; InputError if that is not in this brain."""
    brain, grid, rendering = recipient.brain, recipient.grid, scene.rendering
    placed = []
    for tumour in scene.tumours:
        hit = rasterise(tumour.shape, brain, grid, rendering.shape_engine)
        if hit is None:
            raise InputError("the record's tumour lies outside this brain; use the scan it was made from")
        hard = _hard_masks(hit, brain, grid, rendering)
        masks = hard if tumour.core is None else _with_core(hard, tumour.core, grid, rendering)
        if masks is None:
            raise InputError("the record's core lies outside its tumour; use the scan it was made from")
        placed.append(masks)
    return placed


def render(scene: Scene, placed: Sequence[Masks], recipient: Recipient) -> tuple[np.ndarray, np.ndarray]:
    """The synthetic scan, in the recipient's dtype where its values fit, and its label (uint8)."""
    scan, rendering = recipient.array, scene.rendering
    image = recipient.stored.copy(order="K")
    label = np.zeros_like(recipient.brain, np.uint8)
    for tumour, masks in zip(scene.tumours, placed, strict=True):
        before = scan[masks.patch].astype(np.result_type(scan.dtype, np.float32))
        if rendering.task == "train":
            blurred = gaussian_in_box(scan, masks.patch, rendering.blur_sigma_mm, recipient.grid)
            after = training_task(before, blurred, masks.soft, masks.soft_core, tumour.intensity)
            changed, inside = masks.soft > 0, masks.soft > rendering.label_threshold
        else:
            after = validation_task(before, masks.hard, masks.core, tumour.intensity, rendering.val_task)
            changed, inside = masks.hard, masks.hard
        image = stored_where_it_fits(image, masks.patch, changed, after + recipient.black)
        label[masks.patch][inside] = 1
    return image, label


def scene_from(record: dict[str, Any]) -> Scene:
    """The scene in a record; KeyError, TypeError or ValueError if it is none."""
    rendering = Rendering(**record["rendering"])
    if rendering.task not in TASKS:
        raise ValueError(rendering.task)
    tumours = [
        Tumour(_shape(t["shape"]), t["core"] and _shape(t["core"]), Hyperintensity(**t["intensity"]))
        for t in record["tumours"]
    ]
    return Scene(rendering, tuple(tumours))


def _shape(drawn: dict[str, Any]) -> TumourShape:
    """A shape from its JSON form, in which tuples have become lists."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in drawn.items()}
    shape = TumourShape(**fields)
    if shape.kind not in SHAPES or not min(shape.semi_axes_mm) > 0:
        raise ValueError(f"{shape.kind} {shape.semi_axes_mm}")
    return shape


def _draw_one(
    rng: np.random.Generator,
    preset: Preset,
    rendering: Rendering,
    recipient: Recipient,
    centre_ras_mm: tuple[float, float, float] | None,
    prior: np.ndarray | None,
    taken: np.ndarray,
) -> tuple[Tumour, Masks] | None:
    """A tumour apart from those `taken`; None if none of many draws fits."""
    brain, grid = recipient.brain, recipient.grid
    intensity = draw_hyperintensity(rng, preset)
    brain_mm3 = np.count_nonzero(brain) * grid.voxel_ml * 1000
    for _ in range(_MAX_DRAWS):
        centre = centre_ras_mm
        if centre is None and prior is not None:
            centre = drawn_centre(rng, prior, grid)
        shape = draw_shape(rng, preset, brain, grid, centre)
        if shape.volume_mm3 > brain_mm3:
            continue
        hit = rasterise(shape, brain, grid, rendering.shape_engine)
        if hit is None or taken[hit[0]][hit[1]].any():  # the next test would find that too, at more cost
            continue
        masks = _hard_masks(hit, brain, grid, rendering)
        if not (masks.soft > rendering.label_threshold).any():
            continue
        # At least one voxel more than the buffer layer, so that neighbours never merge into one component.
        others = taken[masks.patch]
        if others.any() and (dilated(masks.soft > 0, grid.spacing_mm.max(), grid) & others).any():
            continue
        if intensity.core_factor is None:
            return Tumour(shape, None, intensity), masks
        drawn = _draw_core(rng, preset, masks, grid, rendering)
        if drawn is not None:
            core, masks = drawn
            return Tumour(shape, core, intensity), masks
    return None


def _draw_core(
    rng: np.random.Generator, preset: Preset, masks: Masks, grid: Grid, rendering: Rendering
) -> tuple[TumourShape, Masks] | None:
    """A core that meets the tumour, drawn by the same model with the tumour as the allowed region."""
    inner = grid.cropped(masks.patch)
    for _ in range(_MAX_DRAWS):
        core = draw_shape(rng, preset, masks.hard, inner)
        with_core = _with_core(masks, core, grid, rendering)
        if with_core is not None:
            return core, with_core
    return None


def _hard_masks(hit: tuple[Box, np.ndarray], brain: np.ndarray, grid: Grid, rendering: Rendering) -> Masks:
    box, inside = hit
    within = bounding_box(inside)
    i, j, k = (slice(w.start + b.start, w.stop + b.start) for w, b in zip(within, box, strict=True))
    tight = (i, j, k)
    patch = grown(tight, buffer_reach_mm(rendering.buffer_sigma_mm), grid)
    hard = np.zeros([s.stop - s.start for s in patch], bool)
    hard[relative(tight, patch)] = inside[within]
    soft = _softened(hard, grid, rendering) * brain[patch]
    return Masks(patch, hard, soft, None, None)


def _with_core(masks: Masks, core: TumourShape, grid: Grid, rendering: Rendering) -> Masks | None:
    """The masks with those of a core; None if it does not meet the tumour."""
    hit = rasterise(core, masks.hard, grid.cropped(masks.patch), rendering.shape_engine)
    if hit is None:
        return None
    hard_core = np.zeros(masks.hard.shape, bool)
    hard_core[hit[0]] = hit[1]
    soft_core = np.minimum(_softened(hard_core, grid, rendering), masks.soft)
    return Masks(masks.patch, masks.hard, masks.soft, hard_core, soft_core)


def _softened(hard: np.ndarray, grid: Grid, rendering: Rendering) -> np.ndarray:
    i, j, k = hard.shape
    whole = (slice(0, i), slice(0, j), slice(0, k))
    return gaussian_in_box(hard.astype(np.float32), whole, rendering.buffer_sigma_mm, grid)
