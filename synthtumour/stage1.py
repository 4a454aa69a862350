"""Stage 1: one tumour-free scan and its brain mask become a synthetic image, its label and a record.

Drawing is the only random step. What was drawn is a record of plain numbers, and `resynthesise` makes
the identical case from it.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from synthtumour import __version__
from synthtumour.blending import buffer_reach_mm, dilated, gaussian_in_box, grown
from synthtumour.intensity import (
    TASKS,
    VAL_TASKS,
    Hyperintensity,
    draw_hyperintensity,
    training_task,
    validation_task,
)
from synthtumour.presets import PRESETS, Preset
from synthtumour.shape import SHAPES, Box, TumourShape, bounding_box, draw_shape, rasterise
from synthtumour.volume import Grid, InputError, Volume, read_volume

if TYPE_CHECKING:  # the rooms of the model 'glioma' are entered only by its presets
    from synthtumour.glioma import Scene
    from synthtumour.tissue import Tissue

_MAX_DRAWS = 100
_HEADER = ("synthtumour", "preset", "case", "seed")
_CONTRASTS = ("flair", "t1", "t1ce", "t2")
_RIM_MM = 5.0  # how far around a tumour its contrast is measured
# A whole head is never this small, a brain never this large.
LARGEST_BRAIN_ML = 2300.0
LEAST_BACKGROUND = 0.15
HEAD_SCALES = (0.2, 2.0)  # how far a head may be resized


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
    val_task: str = "scaled"  # one of intensity.VAL_TASKS


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


@dataclass(frozen=True, eq=False)
class _Masks:
    """One tumour's masks on the box `patch`; `soft` is the buffer layer, zero outside the brain."""

    patch: Box
    hard: np.ndarray
    soft: np.ndarray
    core: np.ndarray | None
    soft_core: np.ndarray | None


def synthesise(
    scan: Volume,
    brain_mask: Volume,
    preset: Preset = PRESETS["paper"],
    *,
    seed: int,
    task: str = "train",
    case: str = "",
    centre_ras_mm: tuple[float, float, float] | None = None,
    shape_engine: str = "formula",
    location_prior: Volume | None = None,
) -> Synthesis:
    """Put synthetic tumours into `scan`, inside `brain_mask`.

    The same `seed` and `case` give the same tumours for either task. `centre_ras_mm` places the first
    tumour; the others, or all, start where `location_prior` (on the scan's grid) says. Raises InputError if
    the scan cannot be used or if nothing fits after many draws.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r}: must be one of {TASKS}")
    brain = _usable_brain(scan, brain_mask)
    if centre_ras_mm is not None and not _is_inside(brain, scan.grid, centre_ras_mm):
        raise InputError(
            f"centre {_mm(centre_ras_mm)}: outside the brain; choose a point inside it (RAS, mm)"
        )
    prior = None if location_prior is None else _usable_prior(location_prior, brain, scan.grid)
    val_task = _val_task(preset, seed, case)
    if preset.model == "glioma":
        how = (task, val_task, shape_engine)
        return _synthesise_gliomas(scan, brain_mask, preset, seed, case, how, centre_ras_mm, prior)
    rendering = Rendering(
        task, preset.buffer_sigma_mm, preset.blur_sigma_mm, preset.label_threshold, shape_engine, val_task
    )
    drawn = _draw_tumours(
        case_generator(seed, case), preset, brain, scan.grid, rendering, centre_ras_mm, prior
    )
    tumours, masks = zip(*drawn, strict=True)
    return _render(scan, brain, tumours, masks, rendering, _header(preset, seed, case))


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
    scan: Volume, brain_mask: Volume, preset: Preset = PRESETS["paper"], *, seed: int, case: str = ""
) -> Synthesis:
    """`scan` with an empty label and a record without tumours: as it is, or with the preset's distractors."""
    brain = _usable_brain(scan, brain_mask)
    if preset.model == "glioma":
        how = ("train", preset.val_task, "formula")
        return _synthesise_gliomas(scan, brain_mask, preset, seed, case, how, tumour_free=True)
    rendering = Rendering("train", preset.buffer_sigma_mm, preset.blur_sigma_mm, preset.label_threshold)
    return _render(scan, brain, (), (), rendering, _header(preset, seed, case))


def resynthesise(scan: Volume, brain_mask: Volume, record: dict[str, Any]) -> Synthesis:
    """The case that `record` describes, made again from the same scan and brain mask.

    Raises InputError for a record that is incomplete or wrong, or of another scan or mask.
    """
    try:
        _check_record(record)
        remade = _resynthesise_gliomas if "distractors" in record else _resynthesise
        with np.errstate(all="ignore"):  # what comes of senseless numbers is looked at below
            made = remade(scan, brain_mask, record)
        volume_ml = record["measured"]["volume_ml"]
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise InputError(f"not a record of a synthetic case: {error!r}") from error
    if made.record["measured"]["volume_ml"] != volume_ml:
        raise InputError("the record was made from another scan or brain mask; use those")
    if not np.isfinite(made.image.array[brain_mask.array > 0]).all():
        raise InputError("not a record of a synthetic case: its numbers lead to none")
    return made


def head_scale_in(record: dict[str, Any]) -> float:
    """By how much the head of a case was resized when it was written; InputError if that makes no sense."""
    scale = record.get("head_scale", 1.0)
    least, most = HEAD_SCALES
    if not (isinstance(scale, (int, float)) and least <= scale <= most):
        raise InputError(f"not a record of a synthetic case: head_scale {scale!r}, not {least:g} to {most:g}")
    return float(scale)


def _check_record(record: dict[str, Any]) -> None:
    """Raise ValueError for a record that would take for ever, or memory without end."""
    drawn = [record["rendering"], record["tumours"], record.get("distractors")]
    if not all(map(math.isfinite, _numbers(drawn))):
        raise ValueError("a number in it is not finite")
    rendering, spots = record["rendering"], (record.get("distractors") or {}).get("spots", ())
    if rendering["buffer_sigma_mm"] > 20 or rendering.get("blur_sigma_mm", 0) > 20:
        raise ValueError("a Gaussian of more than 20 mm")
    if len(record["tumours"]) > 100 or len(spots) > 100:
        raise ValueError("more than 100 tumours or spots")
    for tumour in record["tumours"]:
        for shape in (tumour["shape"], tumour["core"] or {}):
            if shape.get("noise_octaves", 1) > 16 or len(shape.get("lobes_mm", ())) > 100:
                raise ValueError("more detail in a shape than is ever drawn")
        if tumour.get("push_mm", 0) > 30:
            raise ValueError("a mass effect of more than 30 mm")


def _numbers(nested: object) -> Iterator[float]:
    """All numbers in a record."""
    if isinstance(nested, (list, tuple, dict)):
        for item in nested.values() if isinstance(nested, dict) else nested:
            yield from _numbers(item)
    elif isinstance(nested, (int, float)):
        yield nested


def _resynthesise(scan: Volume, brain_mask: Volume, record: dict[str, Any]) -> Synthesis:
    rendering = Rendering(**record["rendering"])
    tumours = [
        Tumour(_shape(t["shape"]), t["core"] and _shape(t["core"]), Hyperintensity(**t["intensity"]))
        for t in record["tumours"]
    ]
    header = {key: record[key] for key in _HEADER}
    if rendering.task not in TASKS:
        raise ValueError(rendering.task)
    brain = _usable_brain(scan, brain_mask)
    masks = []
    for tumour in tumours:
        hit = rasterise(tumour.shape, brain, scan.grid, rendering.shape_engine)
        if hit is None:
            raise InputError("the record's tumour lies outside this brain; use the scan it was made from")
        hard = _hard_masks(hit, brain, scan.grid, rendering)
        with_core = hard if tumour.core is None else _with_core(hard, tumour.core, scan.grid, rendering)
        if with_core is None:
            raise InputError("the record's core lies outside its tumour; use the scan it was made from")
        masks.append(with_core)
    return _render(scan, brain, tumours, masks, rendering, header)


def in_other_contrast(
    flair: Volume, brain_mask: Volume, record: dict[str, Any], channel: Volume, contrast: str
) -> Volume:
    """`channel`, on the grid of `flair`, with the tumours of `record`.

    `contrast` is 't1', 't1ce', 't2' or, for a second FLAIR scan of the head, 'flair'. `record` and `flair`
    are those of a case of the preset diverse. Raises InputError for anything else.
    """
    from synthtumour.glioma import render_channel

    if "distractors" not in record:
        raise InputError("other contrasts need tumours of --preset diverse")
    if contrast not in _CONTRASTS:
        raise InputError(f"contrast {contrast!r}: needs one of {', '.join(_CONTRASTS)}")
    if differences := channel.grid.differences(flair.grid):
        raise InputError(f"the {contrast} scan is on another grid: {differences} (in RAS order); resample it")
    scene, _ = _scene_and_header(record)
    brain = _usable_brain(flair, brain_mask)
    _usable_brain(channel, brain_mask)
    new = render_channel(scene, contrast, channel.array, brain, _tissue_of(flair, brain_mask))
    return channel.with_array(_with_changes(channel.array, new, brain))


def with_same_tumours(
    scans: Mapping[Any, Volume],
    brain_mask: Volume,
    contrasts: Mapping[Any, str],
    make: Callable[[Volume, Volume], Synthesis],
) -> tuple[dict[Any, Volume], Volume, dict[str, Any]]:
    """All `scans` of one head with the same tumours: images, their label and the record.

    `make(scan, brain_mask)` makes the first that is not in `contrasts`, a FLAIR scan; `contrasts` says which
    of the others are 't1', 't1ce' or 't2' (preset diverse only). Raises InputError as `synthesise`.
    """
    first = next((name for name in scans if name not in contrasts), None)
    if first is None:
        raise InputError(f"none of {', '.join(map(str, scans))} is FLAIR; leave it out of contrasts")
    made = make(scans[first], brain_mask)
    images = {first: made.image}
    for name, scan in scans.items():
        if name in contrasts or (name != first and "distractors" in made.record):
            contrast = contrasts.get(name, "flair")
            images[name] = in_other_contrast(scans[first], brain_mask, made.record, scan, contrast)
        elif name != first:
            images[name] = resynthesise(scan, brain_mask, made.record).image
    return images, made.label, made.record


def case_generator(seed: int, case: str) -> np.random.Generator:
    """The random stream of one case: it depends on seed and name, not on order, workers or other cases."""
    digest = hashlib.sha256(case.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "little")])


def _header(preset: Preset, seed: int, case: str) -> dict[str, Any]:
    return dict(zip(_HEADER, (__version__, preset.name, case, seed), strict=True))


def _val_task(preset: Preset, seed: int, case: str) -> str:
    """The rule of the validation task; 'mixed' draws one, from a stream of its own."""
    if preset.val_task != "mixed":
        return preset.val_task
    return VAL_TASKS[int(case_generator(seed, f"{case} validation task").integers(len(VAL_TASKS)))]


# ---------------------------------------------------------------- brain masks


def brain_mask_beside(scan_path: Path) -> Path | None:
    """`<stem>_brainmask` beside the scan, as .nii.gz or with the scan's own extension; None if absent."""
    name = scan_path.name
    extension = ".nii.gz" if name.lower().endswith(".nii.gz") else scan_path.suffix
    stem = name[: len(name) - len(extension)]
    for candidate in dict.fromkeys((f"{stem}_brainmask.nii.gz", f"{stem}_brainmask{extension}")):
        if os.path.lexists(scan_path.parent / candidate):  # what is no file, reading it will say
            return scan_path.parent / candidate
    return None


def prepare_brain(scan: Volume, scan_path: Path, mask_path: Path | None) -> Volume:
    """The brain mask (uint8 {0, 1}) read from `mask_path` or, without one, of a skull-stripped scan.

    Raises InputError for a mask that is empty or on another grid, and for a scan with its skull.
    """
    if mask_path is None:
        brain = region_of_stripped_scan(scan)
        if brain is None:
            raise InputError(
                f"{scan_path}: no brain mask beside it (<name>_brainmask.nii.gz) and not skull-stripped; "
                "make a mask (HD-BET, SynthStrip) and put it there, give it with the option for masks, or "
                "let --brain-mask hdbet make it"
            )
        return scan.with_array(brain)
    mask = read_volume(mask_path)
    if differences := mask.grid.differences(scan.grid):
        raise InputError(
            f"{mask_path}: on another grid than {scan_path}: {differences} (in RAS order); resample the mask "
            "to the scan's grid"
        )
    brain = mask.array > 0
    if not brain.any():
        raise InputError(f"{mask_path}: the brain mask is empty; make another one (HD-BET, SynthStrip)")
    if not np.array_equal(brain, mask.array):
        warnings.warn(f"{mask_path}: values other than 0 and 1; all above 0 count as brain", stacklevel=2)
    return scan.with_array(brain)


def skull_stripped(scan: Volume, brain_mask: Volume) -> Volume:
    """`scan` with zero outside the brain; InputError if the mask is on another grid."""
    if differences := scan.grid.differences(brain_mask.grid):
        raise InputError(f"on another grid than the brain mask: {differences} (in RAS order); resample it")
    return scan.with_array(np.where(brain_mask.array > 0, scan.array, scan.array.dtype.type(0)))


def region_of_stripped_scan(scan: Volume) -> np.ndarray | None:
    """The brain (bool) of a skull-stripped scan: the solid region that is not exactly background.

    None if that is no brain.
    """
    array = scan.array
    corners = array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1].ravel()
    background = corners[0]
    foreground = array != background
    if np.any(corners != background) or foreground.mean() > 1 - LEAST_BACKGROUND:
        return None
    # sitk's fill is many times faster than scipy's here
    image = sitk.GetImageFromArray(foreground.astype(np.uint8))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
    region = sitk.GetArrayFromImage(sitk.BinaryFillhole(largest)).astype(bool)
    volume_ml = region.sum() * scan.grid.voxel_ml
    return region if 0 < volume_ml <= LARGEST_BRAIN_ML else None


def _usable_brain(scan: Volume, brain_mask: Volume) -> np.ndarray:
    brain = brain_mask.array > 0
    if differences := brain_mask.grid.differences(scan.grid):
        raise InputError(f"the brain mask is on another grid than the scan: {differences}")
    if not brain.any():
        raise InputError("the brain mask is empty")
    # all voxels first: quick, and mostly enough
    suspect = scan.array.dtype.kind == "f" and not np.isfinite(scan.array).all()
    if suspect and not np.isfinite(scan.array[brain]).all():
        raise InputError("the scan has NaN or infinite voxels inside the brain; clean or convert it first")
    return brain


# ---------------------------------------------------------------- drawing


def _draw_tumours(
    rng: np.random.Generator,
    preset: Preset,
    brain: np.ndarray,
    grid: Grid,
    rendering: Rendering,
    centre_ras_mm: tuple[float, float, float] | None,
    prior: np.ndarray | None,
) -> list[tuple[Tumour, _Masks]]:
    least, most = preset.num_tumours
    wanted = int(rng.integers(least, most + 1))
    drawn: list[tuple[Tumour, _Masks]] = []
    taken = np.zeros(brain.shape, bool)
    for number in range(wanted):
        fitting = _draw_one(
            rng, preset, brain, grid, rendering, centre_ras_mm if number == 0 else None, taken, prior
        )
        if fitting is None:
            break
        drawn.append(fitting)
        taken[fitting[1].patch] |= fitting[1].soft > 0
    if len(drawn) < least:
        brain_mm3 = brain.sum() * grid.voxel_ml * 1000
        raise InputError(
            f"only {len(drawn)} of {wanted} tumours fitted into a brain of {brain_mm3:.0f} mm^3 after "
            f"{_MAX_DRAWS} draws; ask for fewer or other volumes"
        )
    return drawn


def _draw_one(
    rng: np.random.Generator,
    preset: Preset,
    brain: np.ndarray,
    grid: Grid,
    rendering: Rendering,
    centre_ras_mm: tuple[float, float, float] | None,
    taken: np.ndarray,
    prior: np.ndarray | None,
) -> tuple[Tumour, _Masks] | None:
    """A tumour apart from those `taken`; None if none of many draws fits."""
    intensity = draw_hyperintensity(rng, preset)
    brain_mm3 = np.count_nonzero(brain) * grid.voxel_ml * 1000
    for _ in range(_MAX_DRAWS):
        centre = centre_ras_mm
        if centre is None and prior is not None:
            centre = _centre_from(rng, prior, grid)
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
    rng: np.random.Generator, preset: Preset, masks: _Masks, grid: Grid, rendering: Rendering
) -> tuple[TumourShape, _Masks] | None:
    """A core that meets the tumour, drawn by the same model with the tumour as the allowed region."""
    inner = grid.cropped(masks.patch)
    for _ in range(_MAX_DRAWS):
        core = draw_shape(rng, preset, masks.hard, inner)
        with_core = _with_core(masks, core, grid, rendering)
        if with_core is not None:
            return core, with_core
    return None


def _is_inside(brain: np.ndarray, grid: Grid, ras_mm: tuple[float, float, float]) -> bool:
    index = np.rint(grid.to_index(np.array(ras_mm)))
    return bool(np.all((index >= 0) & (index < brain.shape)) and brain[tuple(index.astype(int))])


def _usable_prior(prior: Volume, brain: np.ndarray, grid: Grid) -> np.ndarray:
    """The location prior (float) inside the brain; InputError if it cannot be drawn from."""
    if differences := prior.grid.differences(grid):
        raise InputError(
            f"the location prior is on another grid than the scan: {differences} (in RAS order); resample it"
        )
    with np.errstate(over="ignore"):  # an infinite one is refused below
        inside = np.where(brain, prior.array, 0).astype(np.float32)
    if not np.isfinite(inside).all() or inside.min() < 0 or not inside.any():
        raise InputError(
            "the location prior needs numbers from 0 up that are not all zero inside the brain; check the map"
        )
    return inside


def _centre_from(rng: np.random.Generator, prior: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """RAS mm of a voxel drawn with the probability that `prior` gives it."""
    total = np.cumsum(prior.ravel(), dtype=np.float64)
    flat = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), total.size - 1)
    r, a, s = (float(x) for x in grid.to_ras(np.array(np.unravel_index(flat, prior.shape))))
    return r, a, s


def _mm(ras_mm: Any) -> str:
    return "RAS (" + ", ".join(f"{x:.1f}" for x in ras_mm) + ") mm"


def _shape(drawn: dict[str, Any]) -> TumourShape:
    """A shape from its JSON form, in which tuples have become lists."""
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in drawn.items()}
    shape = TumourShape(**fields)
    if shape.kind not in SHAPES or not min(shape.semi_axes_mm) > 0:
        raise ValueError(f"{shape.kind} {shape.semi_axes_mm}")
    return shape


# ---------------------------------------------------------------- rendering


def _hard_masks(hit: tuple[Box, np.ndarray], brain: np.ndarray, grid: Grid, rendering: Rendering) -> _Masks:
    box, inside = hit
    within = bounding_box(inside)
    i, j, k = (slice(w.start + b.start, w.stop + b.start) for w, b in zip(within, box, strict=True))
    tight = (i, j, k)
    patch = grown(tight, buffer_reach_mm(rendering.buffer_sigma_mm), grid)
    hard = np.zeros([s.stop - s.start for s in patch], bool)
    hard[_relative(tight, patch)] = inside[within]
    soft = _softened(hard, grid, rendering) * brain[patch]
    return _Masks(patch, hard, soft, None, None)


def _with_core(masks: _Masks, core: TumourShape, grid: Grid, rendering: Rendering) -> _Masks | None:
    """The masks with those of a core; None if it does not meet the tumour."""
    hit = rasterise(core, masks.hard, grid.cropped(masks.patch), rendering.shape_engine)
    if hit is None:
        return None
    hard_core = np.zeros(masks.hard.shape, bool)
    hard_core[hit[0]] = hit[1]
    soft_core = np.minimum(_softened(hard_core, grid, rendering), masks.soft)
    return _Masks(masks.patch, masks.hard, masks.soft, hard_core, soft_core)


def _softened(hard: np.ndarray, grid: Grid, rendering: Rendering) -> np.ndarray:
    i, j, k = hard.shape
    whole = (slice(0, i), slice(0, j), slice(0, k))
    return gaussian_in_box(hard.astype(np.float32), whole, rendering.buffer_sigma_mm, grid)


def _render(
    scan: Volume,
    brain: np.ndarray,
    tumours: Any,
    masks: Any,
    rendering: Rendering,
    header: dict[str, Any],
) -> Synthesis:
    image = scan.array.copy(order="K")
    label = np.zeros_like(brain, order="K")
    for tumour, one in zip(tumours, masks, strict=True):
        before = scan.array[one.patch].astype(np.result_type(scan.array.dtype, np.float32))
        if rendering.task == "train":
            blurred = gaussian_in_box(scan.array, one.patch, rendering.blur_sigma_mm, scan.grid)
            after = training_task(before, blurred, one.soft, one.soft_core, tumour.intensity)
            changed, inside = one.soft > 0, one.soft > rendering.label_threshold
        else:
            after = validation_task(before, one.hard, one.core, tumour.intensity, rendering.val_task)
            changed, inside = one.hard, one.hard
        image = stored_where_it_fits(image, one.patch, changed, after)
        label[one.patch] |= inside
    result = scan.with_array(image)
    record = {
        **header,
        "rendering": asdict(rendering),
        "tumours": [asdict(tumour) for tumour in tumours],
        "measured": measure(image, label, brain, scan.grid, rendering.buffer_sigma_mm),
    }
    return Synthesis(result, result.with_array(label), record)


def _synthesise_gliomas(
    scan: Volume,
    brain_mask: Volume,
    preset: Preset,
    seed: int,
    case: str,
    how: tuple[str, str, str],  # task, rule of the validation task, shape engine
    centre_ras_mm: tuple[float, float, float] | None = None,
    prior: np.ndarray | None = None,
    tumour_free: bool = False,
) -> Synthesis:
    from synthtumour.glioma import GliomaRendering, draw_scene

    tissue = _tissue_of(scan, brain_mask)
    task, val_task, engine = how
    rendering = GliomaRendering(
        task, val_task, preset.labels, preset.buffer_sigma_mm, preset.label_threshold, engine
    )
    scene = draw_scene(
        case_generator(seed, case),
        preset,
        rendering,
        tissue,
        centre_ras_mm=centre_ras_mm,
        prior=prior,
        tumour_free=tumour_free,
    )
    return _render_gliomas(scan, brain_mask.array > 0, scene, tissue, _header(preset, seed, case))


def _resynthesise_gliomas(scan: Volume, brain_mask: Volume, record: dict[str, Any]) -> Synthesis:
    scene, header = _scene_and_header(record)
    brain = _usable_brain(scan, brain_mask)
    return _render_gliomas(scan, brain, scene, _tissue_of(scan, brain_mask), header)


def _scene_and_header(record: dict[str, Any]) -> tuple[Scene, dict[str, Any]]:
    from synthtumour.glioma import scene_from

    return scene_from(record), {key: record[key] for key in _HEADER}


@lru_cache(maxsize=1)  # the variants of a scan follow one another
def _tissue_of(scan: Volume, brain_mask: Volume) -> Tissue:
    from synthtumour.tissue import tissue_of

    return tissue_of(scan.array, brain_mask.array > 0, scan.grid)


def _render_gliomas(
    scan: Volume, brain: np.ndarray, scene: Scene, tissue: Tissue, header: dict[str, Any]
) -> Synthesis:
    from synthtumour.glioma import render_scene

    new, label = render_scene(scene, scan.array, brain, tissue)
    if scene.tumours and not label.any():
        raise InputError("the drawn tumour is smaller than a voxel; ask for larger volumes")
    image = _with_changes(scan.array, new, brain)
    result = scan.with_array(image)
    measured = measure(image, label > 0, brain, scan.grid, scene.rendering.buffer_sigma_mm)
    if scene.rendering.labels == "brats":
        for value, name in ((1, "core_ml"), (2, "oedema_ml"), (3, "enhancing_ml")):
            measured[name] = round(int((label == value).sum()) * scan.grid.voxel_ml, 4)
    record = {**header, **scene.as_record(), "measured": measured}
    return Synthesis(result, result.with_array(label), record)


def _with_changes(scan: np.ndarray, new: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """`scan` with what differs from it in `new` inside `brain`, in its own dtype where that fits."""
    box = bounding_box(brain)
    changed = brain[box] & (new[box] != scan[box])
    image = scan.copy(order="K")
    return stored_where_it_fits(image, box, changed, new[box]) if changed.any() else image


def stored_where_it_fits(
    image: np.ndarray, patch: Box, changed: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """`image` with `values` where `changed`, rounded for integers; floating point if they do not fit.

    Raises InputError if no type holds both the values and the integers that nothing has touched.
    """
    new = values
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        new = np.where(changed, np.rint(values), 0)
        if int(new.min()) < limits.min or int(new.max()) > limits.max:
            largest = max(-int(image.min()), int(image.max()))
            if largest > 2**53:
                raise InputError(
                    f"its integers of up to {largest} stay exact in no type that a tumour fits; rescale it"
                )
            single = image.astype(np.float32, order="K")
            # beyond 2^24 float32 would change voxels that nothing has touched
            image = single if np.array_equal(single, image) else image.astype(np.float64, order="K")
    np.copyto(image[patch], new, where=changed, casting="unsafe")
    return image


def measure(
    image: np.ndarray, label: np.ndarray, brain: np.ndarray, grid: Grid, buffer_sigma_mm: float
) -> dict[str, Any]:
    """Volume, centre and contrast of what `label` (bool) marks.

    Contrast is the mean inside the label over the mean of the brain around it: from the end of the
    buffer layer to 5 mm further. All but the volume is None where nothing is marked.
    """
    if not label.any():
        nothing = dict.fromkeys(("centre_ras_mm", "mean_inside", "mean_rim", "contrast"))
        return {"volume_ml": 0.0, **nothing}
    reach = buffer_reach_mm(buffer_sigma_mm)
    box = grown(bounding_box(label), reach + _RIM_MM, grid)
    part, inside = image[box], label[box]
    near = dilated(inside, reach, grid)
    rim = dilated(near, _RIM_MM, grid) & ~near & brain[box]
    mean_inside = float(part[inside].mean(dtype=np.float64))
    mean_rim = float(part[rim].mean(dtype=np.float64)) if rim.any() else None
    centre = grid.to_ras(np.argwhere(inside).mean(axis=0) + [s.start for s in box])
    return {
        "volume_ml": round(int(inside.sum()) * grid.voxel_ml, 4),
        "centre_ras_mm": [round(float(x), 3) for x in centre],
        "mean_inside": mean_inside,
        "mean_rim": mean_rim,
        "contrast": mean_inside / mean_rim if mean_rim else None,
    }


def _relative(box: Box, outer: Box) -> Box:
    i, j, k = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return i, j, k
