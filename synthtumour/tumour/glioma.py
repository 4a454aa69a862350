"""Tumours meant to look like gliomas: grown through the scan's own tissue and painted, beside distractors.

As in `paper`, `draw` yields a `Scene`, which is what the record holds, and where its tumours lie; `place`
finds that again for a scene of a record; `render` makes voxels of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from synthtumour.errors import InputError
from synthtumour.presets import GLIOMA, Preset
from synthtumour.tumour.appearance import (
    Appearance,
    Core,
    draw_appearance,
    draw_core,
    in_contrast,
    over_scan,
    paint,
    ramp,
    subregions,
    with_core,
)
from synthtumour.tumour.displacement import displacement, pushed
from synthtumour.tumour.distractors import (
    BrightCortex,
    Caps,
    Distractors,
    Spot,
    UnevenSlice,
    disturb,
    draw_distractors,
)
from synthtumour.tumour.growth import Border, Growth, draw_growth, draw_volume_mm3, grow, grow_shape
from synthtumour.tumour.intensity import Hyperintensity, validation_task
from synthtumour.tumour.placing import Recipient
from synthtumour.tumour.shape import TumourShape, draw_shape
from synthtumour.tumour.tissue import Tissue, location_prior, tissue_of_channel
from synthtumour.volume.writing import with_changes

_MAX_DRAWS = 100
_APART_MM = 4.0  # between the borders of two tumours
_LARGEST_SHARE = 0.25  # of the brain, in one tumour
_LARGEST_ASKED = 0.5  # the same, where all volumes that are asked for are larger than that


@dataclass(frozen=True)
class Glioma:
    """Everything drawn for one tumour."""

    shape: Growth | TumourShape
    core: Core | None
    intensity: Appearance
    push_mm: float


@dataclass(frozen=True)
class Rendering:
    """What turns drawn tumours into voxels, beside the tumours themselves."""

    task: str  # 'train' or 'val'
    val_task: str
    labels: str  # 'whole' or 'brats'
    buffer_sigma_mm: float
    label_threshold: float
    shape_engine: str

    @property
    def shows_cores(self) -> bool:
        """Whether a core can be seen: shells about a dark inside leave no room for one."""
        return not (self.task == "val" and self.val_task == "rings")


@dataclass(frozen=True)
class Scene:
    """Everything drawn for one case."""

    rendering: Rendering
    distractors: Distractors
    tumours: tuple[Glioma, ...]

    def as_record(self) -> dict[str, Any]:
        """JSON-able, with the keys of Stage 1's record."""
        return {
            "rendering": asdict(self.rendering),
            "distractors": asdict(self.distractors),
            "tumours": [asdict(tumour) for tumour in self.tumours],
        }


def rendering_of(preset: Preset, task: str, val_task: str | None, shape_engine: str) -> Rendering:
    """How cases of `preset` are rendered; `val_task` None where no validation task is asked for."""
    return Rendering(
        task,
        val_task or preset.val_task,
        preset.labels,
        preset.buffer_sigma_mm,
        preset.label_threshold,
        shape_engine,
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
) -> tuple[Scene, list[Border]]:
    """Draw distractors and tumours; `prior` (on the recipient's grid) says where tumours start.

    Raises InputError if fewer than the preset's least number of tumours fit.
    """
    tissue = recipient.tissue
    disturbed = rng.random() < preset.distractor_probability
    stream = np.random.default_rng(rng.integers(2**63))  # of their own: the tumours are the same without them
    distractors = draw_distractors(stream, tissue) if disturbed else Distractors()
    if tumour_free:
        return Scene(rendering, distractors, ()), []
    chances = location_prior(tissue, prior)
    least, most = preset.num_tumours
    wanted = least
    if rng.random() < preset.several_probability:
        wanted = int(rng.integers(least, most + 1))
    taken = np.zeros(tissue.grid.shape, bool)
    tumours: list[Glioma] = []
    placed: list[Border] = []
    for number in range(wanted):
        centre = centre_ras_mm if number == 0 else None
        fitting = _draw_one(rng, preset, rendering, tissue, chances, centre, taken, number > 0)
        if fitting is None:
            break
        tumour, border = fitting
        tumours.append(tumour if rendering.shows_cores else replace(tumour, core=None))
        placed.append(border)
    if len(tumours) < least:
        raise InputError(
            f"only {len(tumours)} of {wanted} tumours fitted into a brain of {_brain_mm3(tissue):.0f} mm^3 "
            f"after {_MAX_DRAWS} draws; ask for fewer or other volumes, or another centre or location prior"
        )
    return Scene(rendering, distractors, tuple(tumours)), placed


def place(scene: Scene, recipient: Recipient) -> list[Border]:
    """Where the tumours of `scene` lie; InputError if that is not in this brain."""
    placed = []
    for tumour in scene.tumours:
        border = _border(tumour.shape, recipient.tissue, scene.rendering, tumour.intensity)
        if border is None:
            raise InputError("the record's tumour lies outside this brain; use the scan it was made from")
        placed.append(border)
    return placed


def render(scene: Scene, placed: Sequence[Border], recipient: Recipient) -> tuple[np.ndarray, np.ndarray]:
    """The synthetic scan, in the recipient's dtype where its values fit, and its label (uint8)."""
    image, shown = recipient.array, recipient.tissue
    if scene.rendering.task == "train" and scene.distractors != Distractors():
        image, shown = disturb(scene.distractors, image, recipient.brain, shown)
    new, label = _render_tumours(scene, placed, image, shown, recipient)
    if scene.tumours and not label.any():
        raise InputError("the drawn tumour is smaller than a voxel; ask for larger volumes")
    image = with_changes(recipient.stored, recipient.array, new, recipient.brain, recipient.black)
    return image, label


def render_channel(
    scene: Scene, placed: Sequence[Border], contrast: str, channel: Recipient, recipient: Recipient
) -> np.ndarray:
    """Another channel of the same head with the tumours of the `scene` of its FLAIR scan, the `recipient`.

    `contrast` is flair, t1, t1ce or t2. The tumours are in the same place and push as far. Distractors stay
    in the FLAIR scan.
    """
    tissue = recipient.tissue
    shown = tissue_of_channel(channel.array, recipient.brain, tissue)
    if contrast != "flair":
        tumours = []
        for tumour in scene.tumours:
            appearance, core = in_contrast(tumour.intensity, tumour.core, contrast, tissue, shown)
            tumours.append(replace(tumour, intensity=appearance, core=core))
        scene = replace(scene, tumours=tuple(tumours))
    new, _ = _render_tumours(scene, placed, channel.array, shown, recipient)
    return with_changes(channel.stored, channel.array, new, recipient.brain, channel.black)


def _render_tumours(
    scene: Scene, placed: Sequence[Border], scan: np.ndarray, shown: Tissue, recipient: Recipient
) -> tuple[np.ndarray, np.ndarray]:
    """`scan` (float32) with tumours painted with the intensities of `shown`, and their label."""
    rendering, brain, tissue = scene.rendering, recipient.brain, recipient.tissue
    image = scan.astype(np.float32)
    label = np.zeros_like(brain, np.uint8)
    for tumour, border in zip(scene.tumours, placed, strict=True):
        if tumour.push_mm > 0 and rendering.task == "train":
            field = displacement(border.border_mm, border.box, tissue, tumour.push_mm)
            image = pushed(image, brain, field, border.box, tissue)
        seen = _cropped(border, _edge_mm(tumour.intensity, rendering))
        _render_one(
            tumour, rendering, image, label, tissue.room(recipient.array, brain, seen.box), shown, seen
        )
    return image, label


def scene_from(record: dict[str, Any]) -> Scene:
    """The scene in a record; KeyError or TypeError if it is none."""
    distractors = {**record["distractors"]}
    distractors["spots"] = tuple(Spot(**_tuples(spot)) for spot in distractors["spots"])
    caps, cortex, uneven = (distractors[name] for name in ("caps", "cortex", "uneven_slice"))
    distractors["caps"] = Caps(**caps) if caps else None
    distractors["cortex"] = BrightCortex(**_tuples(cortex)) if cortex else None
    distractors["uneven_slice"] = UnevenSlice(**uneven) if uneven else None
    tumours = []
    for drawn in record["tumours"]:
        shape, core = _tuples(drawn["shape"]), drawn["core"]
        tumours.append(
            Glioma(
                Growth(**shape) if shape["kind"] == "infiltrative" else TumourShape(**shape),
                Core(**_tuples(core)) if core else None,
                Appearance(**drawn["intensity"]),
                drawn["push_mm"],
            )
        )
    return Scene(Rendering(**record["rendering"]), Distractors(**distractors), tuple(tumours))


def _draw_one(
    rng: np.random.Generator,
    preset: Preset,
    rendering: Rendering,
    tissue: Tissue,
    chances: np.ndarray,
    centre_ras_mm: tuple[float, float, float] | None,
    taken: np.ndarray,
    further: bool,
) -> tuple[Glioma, Border] | None:
    """A tumour apart from those `taken` (bool, coarse, updated); None if none of many draws fits."""
    if rng.random() < preset.nodule_probability:
        preset = _for_nodules(preset)
    appearance = draw_appearance(rng, preset, tissue)
    push_mm = float(rng.uniform(*preset.mass_effect_mm))
    room_mm3 = _room_mm3(preset, tissue)
    for _ in range(_MAX_DRAWS):
        shape: Growth | TumourShape
        if preset.shape == "infiltrative":
            largest = math.inf
            if further:
                largest = draw_volume_mm3(rng, preset) * float(rng.uniform(*GLIOMA.extra_volume))
            shape = draw_growth(rng, preset, tissue, chances, centre_ras_mm, largest)
        else:
            shape = draw_shape(rng, preset, chances > 0, tissue.grid, centre_ras_mm)
        if shape.volume_mm3 > room_mm3:
            continue
        hit = _border(shape, tissue, rendering, appearance)
        if hit is None or not (hit.border_mm < 0).any():
            continue
        about = hit.border_mm < _APART_MM
        if (taken[hit.box] & about).any():
            continue
        taken[hit.box] |= about
        mass = shape.mass_fraction if isinstance(shape, Growth) else 0.0
        core = draw_core(rng, preset, appearance, shape.centre_ras_mm, shape.volume_mm3, mass)
        return Glioma(shape, core, appearance, push_mm), hit
    return None


def _room_mm3(preset: Preset, tissue: Tissue) -> float:
    """How large a tumour may be in this brain: a larger one is drawn anew."""
    brain_mm3 = _brain_mm3(tissue)
    least = min(preset.volumes_mm3) if preset.volumes_mm3 else preset.min_volume_mm3
    return brain_mm3 * (_LARGEST_SHARE if least < _LARGEST_SHARE * brain_mm3 else _LARGEST_ASKED)


def _brain_mm3(tissue: Tissue) -> float:
    return float(np.count_nonzero(tissue.brain) * tissue.grid.voxel_ml * 1000)


def _for_nodules(preset: Preset) -> Preset:
    """Small and bright, within the preset's volumes.

    Networks learn from these what is no tumour: overlap losses hardly punish false positives where a label is
    empty or large, and most where it is as small as they are.
    """
    largest = min(GLIOMA.nodule_volumes * preset.min_volume_mm3, preset.max_volume_mm3)
    low, high = (share * preset.intensity_range[1] for share in GLIOMA.nodule_lift)
    return replace(preset, max_volume_mm3=largest, intensity_range=(low, high), mass_probability=0.0)


def _border(
    shape: Growth | TumourShape, tissue: Tissue, rendering: Rendering, appearance: Appearance
) -> Border | None:
    if isinstance(shape, Growth):
        # a little further: what can be seen is interpolated from it
        return grow(shape, tissue, max(_edge_mm(appearance, rendering), _APART_MM) + 1.5)
    return grow_shape(shape, tissue, rendering.shape_engine)


def _edge_mm(appearance: Appearance, rendering: Rendering) -> float:
    """How far on either side of its border a tumour fades."""
    return math.hypot(appearance.edge_mm, rendering.buffer_sigma_mm)


def _render_one(
    tumour: Glioma,
    rendering: Rendering,
    image: np.ndarray,
    label: np.ndarray,
    room: np.ndarray,
    tissue: Tissue,
    border: Border,
) -> None:
    """Paint one tumour into `image` and mark it in `label`, both changed in place.

    `room`, on the scan's voxels under the box of `border`, is 1 where a tumour can be and 0 where it cannot.
    """
    appearance, shape, core = tumour.intensity, tumour.shape, tumour.core
    box = border.box
    fine = tissue.fine_box(box, image.shape)
    edge_mm = _edge_mm(appearance, rendering)
    weight = ramp(tissue.refined(border.border_mm, box, fine), edge_mm) * room
    inside = weight > rendering.label_threshold
    painted = paint(appearance, core, shape.centre_ras_mm, shape.volume_mm3, border, tissue)
    core_mm = None if painted.core_mm is None else tissue.refined(painted.core_mm, box, fine)
    part = image[fine]
    if rendering.task == "train":
        level, base = (tissue.refined(a, box, fine) for a in (painted.level, tissue.level[box]))
        if core is not None and core_mm is not None and painted.core_level is not None:
            level = with_core(level, base, core, core_mm, tissue.refined(painted.core_level, box, fine))
        after = over_scan(part, level, base, weight, appearance.grain, tissue.median)
        image[fine] = np.where(weight > 0, after, part)
    else:
        image[fine] = _by_shifted_rule(part.copy(), inside, tumour, core_mm, rendering.val_task)
    if rendering.labels == "whole":
        label[fine][inside] = 1
    else:
        label[fine][inside] = subregions(inside, inside if core_mm is None else core_mm, core)[inside]


def _by_shifted_rule(
    scan: np.ndarray, inside: np.ndarray, tumour: Glioma, core_mm: np.ndarray | None, rule: str
) -> np.ndarray:
    """`scan` with the tumour by a rule of the validation task; a core's levels are multiples of the scan."""
    parts = [(inside, tumour.intensity.factor)]
    if tumour.core is not None and core_mm is not None:
        if tumour.core.rim_mm:
            parts.append((inside & (core_mm < tumour.core.rim_mm), tumour.core.rim_level))
        parts.append((inside & (core_mm < 0), tumour.core.level))
    image = scan
    for mask, level in parts:
        image = np.where(mask, validation_task(scan, mask, None, Hyperintensity(level, None), rule), image)
    return image


def _cropped(border: Border, margin_mm: float) -> Border:
    """The part of the coarse box where a tumour can be seen, with one voxel round it."""
    near = border.border_mm < margin_mm
    cut = []
    for axis, n in enumerate(near.shape):
        along = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
        cut.append(slice(max(int(along[0]) - 1, 0), min(int(along[-1]) + 2, n)))
    i, j, k = (slice(b.start + c.start, b.start + c.stop) for b, c in zip(border.box, cut, strict=True))
    mass_mm = None if border.mass_mm is None else border.mass_mm[tuple(cut)]
    return Border((i, j, k), border.border_mm[tuple(cut)], mass_mm)


def _tuples(drawn: dict[str, Any]) -> dict[str, Any]:
    """A record in which JSON's lists are tuples again."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in drawn.items()}
