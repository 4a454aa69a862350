"""Tumours on the fly in MONAI: the dictionary transform `RandTumourd` (needs monai of requirements.txt)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy

from synthtumour.errors import InputError
from synthtumour.presets import Preset, preset_of
from synthtumour.stage1.contrasts import with_same_tumours
from synthtumour.stage1.synthesis import synthesise
from synthtumour.volume.volume import Volume


class RandTumourd(RandomizableTransform, MapTransform):
    """Put the same synthetic tumours into all images of `keys`, and their label (uint8) under `label_key`.

    Args:
        keys: Images (1, i, j, k) of one head, on one grid.
        brain_mask_key: The brain mask of the head, above 0 inside.
        label_key: Where the label goes, replacing what is there; all zeros when nothing is applied.
        preset: Name of a parameter set, or a `Preset`.
        task: `'train'`, or `'val'` for the validation task's intensities.
        contrasts: With preset `'diverse'`, which keys are no FLAIR: to `'t1'`, `'t1ce'` or `'t2'`.
        prob: How often it is applied.
        allow_missing_keys: Do not raise if a key is missing.

    Voxels are 1 mm unless an image is a `MetaTensor` with its affine. Raises InputError for what cannot be
    used, and where nothing fits.
    """

    def __init__(
        self,
        keys: Any,
        brain_mask_key: Hashable = "brain_mask",
        label_key: Hashable = "label",
        preset: str | Preset = "paper",
        task: str = "train",
        contrasts: Mapping[Hashable, str] | None = None,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.brain_mask_key, self.label_key = brain_mask_key, label_key
        self.preset = preset_of(preset)
        self.task, self.contrasts = task, dict(contrasts or {})

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        self._seed = int(self.R.randint(2**31))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        self.randomize()
        mask = d[self.brain_mask_key]
        brain = _volume(self.brain_mask_key, mask)
        label = np.zeros(mask.shape[1:], np.uint8)
        scans = {key: _volume(key, d[key]) for key in self.key_iterator(d)} if self._do_transform else {}
        if scans:
            make = partial(synthesise, preset=self.preset, seed=self._seed, task=self.task)
            images, marked, _ = with_same_tumours(scans, brain, self.contrasts, make)
            label = brain.with_array(marked.array).in_stored_order()  # the scan's may be another order
            for key, image in images.items():
                new = np.ascontiguousarray(image.in_stored_order())[None]
                d[key] = convert_to_dst_type(new, d[key], dtype=new.dtype)[0]
        d[self.label_key] = convert_to_dst_type(np.ascontiguousarray(label)[None], mask, dtype=np.uint8)[0]
        return d


def _volume(key: Hashable, image: Any) -> Volume:
    if image.ndim != 4 or image.shape[0] != 1:
        raise InputError(f"{key!r} has shape {tuple(image.shape)}; (1, i, j, k) is needed")
    affine = convert_to_numpy(image.affine, np.float64) if isinstance(image, MetaTensor) else np.eye(4)
    return Volume.from_array(convert_to_numpy(image)[0], affine)
