"""The same tumours in other channels of a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synthtumour.brain.measures import tell_black
from synthtumour.errors import InputError
from synthtumour.presets import CONTRASTS
from synthtumour.stage1.record import model_in, resynthesise
from synthtumour.stage1.synthesis import Synthesis, recipient_of
from synthtumour.tumour.placing import Recipient
from synthtumour.volume.volume import Volume, cure

FLAIR = "flair"


class SameTumours:
    """The tumours of a `record` of the preset diverse, ready for other channels of the head.

    `flair` and `brain_mask` are those of the record; `recipient`: see `synthesise`. Raises InputError for a
    record of another preset or scan.
    """

    def __init__(
        self,
        flair: Volume,
        brain_mask: Volume,
        record: dict[str, Any],
        *,
        recipient: Recipient | None = None,
    ) -> None:
        from synthtumour.tumour import glioma

        if model_in(record) != "glioma":
            raise InputError("other contrasts need tumours of --preset diverse")
        self._flair, self._brain_mask = flair, brain_mask
        self._recipient = recipient or recipient_of(flair, brain_mask)
        self._scene = glioma.scene_from(record)
        self._placed = glioma.place(self._scene, self._recipient)

    def put_into(self, channel: Volume, contrast: str) -> Volume:
        """`channel`, on the grid of the FLAIR scan, with the tumours.

        `contrast` is 't1', 't1ce', 't2' or, for a second FLAIR scan of the head, 'flair'. Raises InputError
        for anything else.
        """
        from synthtumour.tumour import glioma

        if contrast not in (FLAIR, *CONTRASTS):
            raise InputError(f"contrast {contrast!r}: needs one of {', '.join((FLAIR, *CONTRASTS))}")
        if differences := channel.grid.differences(self._flair.grid):
            remedy = cure((channel, "it"), (self._flair, "the FLAIR scan"), "resample it")
            raise InputError(
                f"the {contrast} scan is on another grid: {differences} (in RAS order); {remedy}"
            )
        into = recipient_of(channel, self._brain_mask)
        tell_black(into.black, f"the {contrast} scan")
        new = glioma.render_channel(self._scene, self._placed, contrast, into, self._recipient)
        return channel.with_array(new)


def in_other_contrast(
    flair: Volume, brain_mask: Volume, record: dict[str, Any], channel: Volume, contrast: str
) -> Volume:
    """`channel` with the tumours of `record`; see `SameTumours`."""
    return SameTumours(flair, brain_mask, record).put_into(channel, contrast)


def with_same_tumours(
    scans: Mapping[Any, Volume],
    brain_mask: Volume,
    contrasts: Mapping[Any, str],
    make: Callable[..., Synthesis],
) -> tuple[dict[Any, Volume], Volume, dict[str, Any]]:
    """All `scans` of one head with the same tumours: images, their label and the record.

    `make(scan, brain_mask, recipient=...)` makes the first that is not in `contrasts`, a FLAIR scan;
    `contrasts` says which of the others are 't1', 't1ce' or 't2' (preset diverse only). Raises InputError as
    `synthesise`.
    """
    first = next((name for name in scans if name not in contrasts), None)
    if first is None:
        raise InputError(f"none of {', '.join(map(str, scans))} is FLAIR; leave it out of contrasts")
    recipient = recipient_of(scans[first], brain_mask)
    tell_black(recipient.black, first)
    made = make(scans[first], brain_mask, recipient=recipient)
    images = {first: made.image}
    others = {name: scan for name, scan in scans.items() if name != first}
    if others and (model_in(made.record) == "glioma" or not others.keys().isdisjoint(contrasts)):
        same = SameTumours(scans[first], brain_mask, made.record, recipient=recipient)
        images |= {name: same.put_into(scan, contrasts.get(name, FLAIR)) for name, scan in others.items()}
    else:
        images |= {name: resynthesise(scan, brain_mask, made.record).image for name, scan in others.items()}
    return images, made.label, made.record
