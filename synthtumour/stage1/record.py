"""Records of cases: checked, and made into the same case once more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from synthtumour.errors import InputError
from synthtumour.presets import TASKS, VAL_TASKS
from synthtumour.stage1.synthesis import Synthesis, model_named, recipient_of, rendered
from synthtumour.tumour.placing import Recipient
from synthtumour.volume.volume import Volume

HEAD_SCALES = (0.2, 2.0)  # how far a head may be resized
_ROUNDED_MM = 0.01  # centres in a record are


def resynthesise(
    scan: Volume, brain_mask: Volume, record: dict[str, Any], *, recipient: Recipient | None = None
) -> Synthesis:
    """The case that `record` describes, made again from the same scan and brain mask.

    `recipient`: see `synthesise`. Raises InputError for a record that is incomplete or wrong, or of another
    scan or mask.
    """
    try:
        _check_record(record)
        with np.errstate(all="ignore"):  # what comes of senseless numbers is looked at below
            made = _remade(scan, recipient or recipient_of(scan, brain_mask), record)
        is_same = _is_same(made.record["measured"], record["measured"])
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise InputError(f"not a record of a synthetic case: {error!r}") from error
    if not is_same:
        raise InputError("the record was made from another scan or brain mask; use those")
    if not np.isfinite(made.image.array[brain_mask.array > 0]).all():
        raise InputError("not a record of a synthetic case: its numbers lead to none")
    return made


def _is_same(made: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Whether the tumour is the recorded one; its intensities may differ in the last bits."""
    centre, other = made["centre_ras_mm"] or (), recorded["centre_ras_mm"] or ()
    same_place = len(centre) == len(other) and np.allclose(centre, other, rtol=0, atol=_ROUNDED_MM)
    return made["volume_ml"] == recorded["volume_ml"] and same_place


def model_in(record: dict[str, Any]) -> str:
    """The model of a recorded case; records of version 0.1 did not name it."""
    return record.get("model", "glioma" if "distractors" in record else "paper")


def head_scale_in(record: dict[str, Any]) -> float:
    """By how much the head of a case was resized when it was written; InputError if that makes no sense."""
    scale = record.get("head_scale", 1.0)
    least, most = HEAD_SCALES
    if not (isinstance(scale, (int, float)) and least <= scale <= most):
        raise InputError(f"not a record of a synthetic case: head_scale {scale!r}, not {least:g} to {most:g}")
    return float(scale)


def _remade(scan: Volume, recipient: Recipient, record: dict[str, Any]) -> Synthesis:
    model = model_named(model_in(record))
    scene = model.scene_from(record)
    header = {key: record[key] for key in ("synthtumour", "preset")}
    header |= {"model": model_in(record), "case": record["case"], "seed": record["seed"]}
    return rendered(model, scene, model.place(scene, recipient), scan, recipient, header)


def _check_record(record: dict[str, Any]) -> None:
    """Raise ValueError for a record that would take for ever, or memory without end."""
    drawn = [record["rendering"], record["tumours"], record.get("distractors")]
    if not all(map(math.isfinite, _numbers(drawn))):
        raise ValueError("a number in it is not finite")
    rendering, spots = record["rendering"], (record.get("distractors") or {}).get("spots", ())
    tasks = rendering["task"], rendering.get("val_task", VAL_TASKS[0])
    if tasks[0] not in TASKS or tasks[1] not in VAL_TASKS:
        raise ValueError(f"task {tasks[0]!r}, val_task {tasks[1]!r}")
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
