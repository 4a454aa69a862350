"""Tumours on the fly: `RandomTumour`, a TorchIO transform (needs torchio of requirements.txt).

As with TorchIO's own transforms, the random one draws and the deterministic one, `Tumour`, is what the
subject's history holds; its argument is the record, every number drawn, so that a replay is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torchio import LabelMap, Subject
from torchio.transforms.augmentation import RandomTransform
from torchio.transforms.intensity_transform import IntensityTransform

from synthtumour.brain.masks import region_of_stripped_scan
from synthtumour.errors import InputError
from synthtumour.presets import TASKS, Preset, preset_of
from synthtumour.stage1.contrasts import with_same_tumours
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import Synthesis, synthesise
from synthtumour.volume.volume import Volume


class Tumour(IntensityTransform):
    """Put the tumours of a record into a subject.

    Args:
        record: Every number drawn, as `synthesise` and `RandomTumour` make it.
        brain_mask_name: See `RandomTumour`.
        label_name: See `RandomTumour`.
        contrasts: See `RandomTumour`.
        **kwargs: See `torchio.Transform`.
    """

    def __init__(
        self,
        record: dict[str, Any],
        brain_mask_name: str = "brain_mask",
        label_name: str = "tumour",
        contrasts: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.record = record
        self.brain_mask_name = brain_mask_name
        self.label_name = label_name
        self.contrasts = dict(contrasts or {})
        self.args_names = ["record", "brain_mask_name", "label_name", "contrasts"]

    def apply_transform(self, subject: Subject) -> Subject:
        """Raises InputError for another head than that of the record."""
        if self.get_images_dict(subject):
            _put_tumours(self, subject, partial(resynthesise, record=self.record))
        return subject


class RandomTumour(RandomTransform, IntensityTransform):
    """Put synthetic tumours into the brain of a subject and mark them in a label map.

    All intensity images of the subject that are not excluded get the same tumours in the same place. They
    must be single-channel and on the grid of the brain mask.

    Args:
        preset: Name of a parameter set, or a `Preset`, say `replace(PRESETS["paper"], num_tumours=(1, 3))`.
        task: `'train'`, or `'val'` for the validation task's intensities.
        brain_mask_name: Name of the subject's brain mask. A subject without it needs a skull-stripped image.
        label_name: Name of the label map that is added (uint8). If the subject has it already, the tumours
            are added to it. With `p < 1` or in `OneOf`, let all subjects have one (empty), so that they can
            be collated.
        contrasts: With preset `'diverse'`, which images are no FLAIR: from their names to `'t1'`, `'t1ce'`
            or `'t2'`. The first of the others is the one that tumours are grown through.
        **kwargs: See `torchio.Transform`: `p`, `include`, `exclude`, `keep`, `copy`, ...

    Raises InputError for a subject that cannot be used, and where nothing fits.
    """

    def __init__(
        self,
        preset: str | Preset = "paper",
        task: str = "train",
        brain_mask_name: str = "brain_mask",
        label_name: str = "tumour",
        contrasts: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        preset_of(preset)  # a wrong name is told here, not at the first subject
        if task not in TASKS:
            raise ValueError(f"task {task!r}: must be one of {TASKS}")
        self.preset = preset
        self.task = task
        self.brain_mask_name = brain_mask_name
        self.label_name = label_name
        self.contrasts = dict(contrasts or {})
        self.args_names = ["preset", "task", "brain_mask_name", "label_name", "contrasts"]

    def apply_transform(self, subject: Subject) -> Subject:
        """Raises InputError if the subject cannot be used or nothing fits."""
        if not self.get_images_dict(subject):
            return subject
        preset = preset_of(self.preset)
        make = partial(synthesise, preset=preset, seed=self._get_random_seed(), task=self.task)
        record = _put_tumours(self, subject, make)
        # Calling it would make the same voxels once more; the history is all that is wanted of it.
        drawn = Tumour(record, self.brain_mask_name, self.label_name, self.contrasts, **self._get_base_args())
        drawn._add_transform_to_subject_history(subject)
        return subject


def _put_tumours(
    transform: Tumour | RandomTumour, subject: Subject, make: Callable[[Volume, Volume], Synthesis]
) -> dict[str, Any]:
    """Change `subject` in place: the record of what was made."""
    images = transform.get_images_dict(subject)
    scans = {name: _volume(name, image) for name, image in images.items()}
    first = label_like = next(iter(scans))
    brain = _brain(subject, transform.brain_mask_name, scans[first])
    placed = {**scans, transform.brain_mask_name: brain}
    earlier = subject.get(transform.label_name)
    if earlier is not None:
        if not isinstance(earlier, LabelMap):
            raise InputError(f"{transform.label_name!r} is no label map; choose another label_name")
        label_like = transform.label_name
        placed[label_like] = _volume(label_like, earlier)
    for name, volume in placed.items():
        if differences := volume.grid.differences(scans[first].grid):
            raise InputError(f"{name!r} is on another grid than {first!r}: {differences}; resample it")
    made, made_label, record = with_same_tumours(scans, brain, transform.contrasts, make)

    for name, image in images.items():
        image.set_data(_tensor(made[name]))
    # One grid may be stored in several orders of axes.
    label = _tensor(placed[label_like].with_array(made_label.array))
    if earlier is None:
        subject.add_image(LabelMap(tensor=label, affine=images[first].affine), transform.label_name)
    else:
        earlier.set_data(torch.where(label > 0, label.to(earlier.data.dtype), earlier.data))
    return record


def _brain(subject: Subject, name: str, scan: Volume) -> Volume:
    if name in subject:
        if not isinstance(subject[name], LabelMap):
            raise InputError(f"{name!r} of the subject is no label map; load the brain mask as tio.LabelMap")
        return _volume(name, subject[name])
    brain = region_of_stripped_scan(scan)
    if brain is None:
        raise InputError(
            f"the subject has no brain mask {name!r} (it has {', '.join(subject)}) and is not "
            "skull-stripped; add the mask as a tio.LabelMap, or say its name with brain_mask_name"
        )
    return scan.with_array(brain)


def _volume(name: str, image: Any) -> Volume:
    if image.data.shape[0] != 1 or 1 in image.spatial_shape:
        raise InputError(
            f"image {name!r} has shape {tuple(image.data.shape)}; a single channel in three dimensions is "
            "needed, so split it, or leave it out with include or exclude"
        )
    return Volume.from_array(image.data[0].numpy(), image.affine)


def _tensor(volume: Volume) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(volume.in_stored_order()))[None]
