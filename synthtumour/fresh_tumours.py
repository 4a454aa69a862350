"""A training set of nnU-Net v2 whose tumour-free cases get fresh tumours each time they are loaded.

The whole case gets its tumours, before nnU-Net cuts a patch from it: they lie anywhere in the brain, nnU-Net
samples patches and foreground as ever, and the brain is z-scored again with the tumour in it, as it would
have been had the tumour been in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthtumour.brain.masks import LARGEST_BRAIN_ML, LEAST_BACKGROUND
from synthtumour.errors import InputError
from synthtumour.presets import Preset
from synthtumour.stage1.synthesis import synthesise_patch, untouched
from synthtumour.volume.grid import LPS_TO_RAS
from synthtumour.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class FreshTumours:
    """What nnU-Net's data loader needs of a dataset, over one of nnU-Net's own, of single-channel cases.

    `spacing_mm` (two numbers in 2d) and `transpose_forward` are the plans'. `within_brain`: images were
    z-scored by the brain's mean and standard deviation (nnU-Net's use_mask_for_norm), not the whole box's.
    """

    dataset: Any
    preset: Preset
    spacing_mm: Sequence[float]
    transpose_forward: Sequence[int]
    within_brain: bool

    @property
    def identifiers(self) -> list[str]:
        return self.dataset.identifiers

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image (1, ...), segmentation (1, ...) with -1 outside the brain, None, nnU-Net's properties.

        A case with a tumour, or without room for one, is as it was. All else hangs on the state of
        `numpy.random`, which nnU-Net seeds anew in each of its workers.
        """
        data, seg, previous, properties = self.dataset.load_case(identifier)
        if _has_tumour(properties):
            return data, seg, previous, properties
        data, seg = data[:], seg[:]
        try:
            image, label = self._with_tumours(data[0], seg[0], properties, int(np.random.randint(2**31)))
        except InputError:  # nothing fits
            return data, seg, previous, properties
        seg = np.where(label > 0, label, seg[0])[np.newaxis]
        places = {labels: np.argwhere(np.isin(seg, labels)) for labels in properties["class_locations"]}
        return image[np.newaxis], seg, previous, {**properties, "class_locations": places}

    def check(self) -> None:
        """Raise InputError unless there are tumour-free cases and all of them are skull-stripped."""
        tumour_free = 0
        for identifier in self.identifiers:
            _, seg, _, properties = self.dataset.load_case(identifier)
            if _has_tumour(properties):
                continue
            tumour_free += 1
            brain = seg[:] >= 0
            brain_ml = brain.sum() * abs(np.linalg.det(self._affine(properties))) / 1000
            if brain_ml > LARGEST_BRAIN_ML or brain.mean() > 1 - LEAST_BACKGROUND:
                raise InputError(
                    f"{identifier}: not skull-stripped, and tumours would get into the skull; make it "
                    "with prompt_multi_tumor.py --skull-strip --without-tumour 1"
                )
        if not tumour_free:
            raise InputError(
                "every training case has a tumour already, so none would be drawn; make the dataset with "
                "prompt_multi_tumor.py --skull-strip --without-tumour 1, or use nnUNetTrainer"
            )

    def _with_tumours(
        self, data: np.ndarray, seg: np.ndarray, properties: dict[str, Any], seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image and label of one case, arrays in nnU-Net's order of axes."""
        inside = seg >= 0
        affine = self._affine(properties)
        scan, brain = Volume.from_array(data, affine), Volume.from_array(inside, affine)
        if np.random.default_rng(seed).random() < self.preset.tumour_free_probability:
            made = untouched(scan, brain, self.preset, seed=seed)
            image, label = made.image.array, made.label.array
        else:
            spacing = scan.grid.spacing_mm
            image, label, _ = synthesise_patch(scan.array, brain.array, spacing, self.preset, seed=seed)
        new = scan.with_array(image).in_stored_order()
        scored = inside if self.within_brain else np.ones_like(inside)
        values = new[scored]
        new[scored] = (values - values.mean()) / values.std()
        return new, brain.with_array(label).in_stored_order()

    def _affine(self, properties: dict[str, Any]) -> np.ndarray:
        """From index to RAS mm, up to a shift; nnU-Net's arrays are a file's (z, y, x), transposed."""
        spacing = list(self.spacing_mm)
        if len(spacing) == 2:  # 2d keeps the slices apart as they are
            spacing.insert(0, properties["spacing"][self.transpose_forward[0]])
        direction = LPS_TO_RAS @ np.reshape(properties["sitk_stuff"]["direction"], (3, 3))
        affine = np.eye(4)
        affine[:3, :3] = direction[:, [2 - axis for axis in self.transpose_forward]] * spacing
        return affine


def _has_tumour(properties: dict[str, Any]) -> bool:
    return any(len(places) for places in properties["class_locations"].values())
