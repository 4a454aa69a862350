"""The transform of TorchIO, held to what that library's own transforms promise."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from tests.conftest import torchio_subject

try:
    import torch
    import torchio as tio

    from synthtumour.transforms import RandomTumour
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
SMALL = replace(PRESETS["paper"], min_volume_mm3=8_000, max_volume_mm3=20_000)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def seeded(transform: Any, subject: Any, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    return transform(subject)


def same(one: Any, other: Any) -> bool:
    """Whether two subjects hold the same images, voxel for voxel."""
    assert list(one) == list(other)
    return all(torch.equal(one[name].data, other[name].data) for name in one)


@pytest.mark.parametrize("preset", ["paper", "diverse"])
@pytest.mark.parametrize("task", ["train", "val"])
def test_the_history_replayed_on_the_original_gives_the_same_voxels(preset: str, task: str) -> None:
    subject = torchio_subject()
    made = RandomTumour(preset, task)(subject)
    assert [t.name for t in made.history] == ["Tumour"]
    assert same(made.get_composed_history()(subject), made)
    assert same(pickle.loads(pickle.dumps(made)).history[0](subject), made)


def test_torchs_seed_decides_what_is_drawn() -> None:
    subject, transform = torchio_subject(), RandomTumour()
    assert same(seeded(transform, subject), seeded(pickle.loads(pickle.dumps(transform)), subject))
    assert not same(transform(subject), transform(subject))


def test_the_tumour_is_inside_the_brain_and_the_original_is_left_alone() -> None:
    subject = torchio_subject(spacing=(2.0, 2.5, 3.0), oblique_deg=9)
    kept = torchio_subject(spacing=(2.0, 2.5, 3.0), oblique_deg=9)
    made = RandomTumour()(subject)
    assert same(subject, kept) and not subject.history
    assert made.flair.data.dtype == subject.flair.data.dtype == torch.int16
    for image in (made.flair, made.tumour):
        assert np.array_equal(image.affine, subject.flair.affine)
        assert image.shape == subject.flair.shape
    assert isinstance(made.tumour, tio.LabelMap) and made.tumour.data.dtype == torch.uint8
    assert made.tumour.data.unique().tolist() == [0, 1]
    changed = made.flair.data != subject.flair.data
    marked, brain = made.tumour.data > 0, subject.brain_mask.data > 0
    assert not (changed & ~brain).any()
    near = ndimage.binary_dilation(marked[0].numpy(), iterations=3)
    assert not (changed[0].numpy() & ~near).any()
    assert made.flair.data[marked].float().mean() > 1.3 * subject.flair.data[marked].float().mean()


@pytest.mark.parametrize("preset", ["paper", "diverse"])
def test_a_head_stored_otherwise_gets_the_same_tumour(preset: str) -> None:
    subject, transform = torchio_subject(), RandomTumour(preset)
    turned = tio.ToOrientation("SAR")(subject)
    there = tio.ToOrientation("LPS")(seeded(transform, turned))
    assert same(there, tio.ToOrientation("LPS")(seeded(transform, subject)))


@pytest.mark.parametrize("orientation", ["RAS", "SPL"])
def test_images_of_one_grid_may_be_stored_in_different_orders(orientation: str) -> None:
    """The label lies where the tumour is, however it and the images are stored."""
    subject = torchio_subject()
    turned = tio.ToOrientation(orientation)(subject)
    nothing = tio.LabelMap(tensor=turned.brain_mask.data * 0, affine=turned.flair.affine)
    other = {"t1": turned.flair, "flair": subject.flair, "brain_mask": turned.brain_mask}
    diverse = RandomTumour("diverse", contrasts={"t1": "t1"})
    for transform, images in (
        (RandomTumour(), {**subject, "tumour": nothing}),
        (RandomTumour(), {**subject, "brain_mask": turned.brain_mask}),
        (diverse, other),
    ):
        made = tio.ToOrientation("LPS")(seeded(transform, tio.Subject(images)))
        alone = tio.ToOrientation("LPS")(seeded(transform, subject))
        assert torch.equal(made.tumour.data, alone.tumour.data)
        assert torch.equal(made.flair.data, alone.flair.data)


def test_values_that_do_not_fit_make_the_image_floating_point() -> None:
    subject = torchio_subject()
    subject.flair.set_data((subject.flair.data / 4).to(torch.uint8))
    made = RandomTumour(replace(SMALL, intensity_range=(5.0, 5.0)))(subject)
    assert made.flair.data.dtype == torch.float32 and made.flair.data.max() > 255


def test_probability_copy_and_keep_are_torchios() -> None:
    subject = torchio_subject()
    assert RandomTumour(p=0)(subject) is subject and "tumour" not in subject
    made = RandomTumour(keep={"flair": "before"})(subject)
    assert torch.equal(made.before.data, subject.flair.data)
    assert RandomTumour(copy=False)(subject) is subject and "tumour" in subject


def test_all_images_of_a_subject_get_the_same_tumours_but_excluded_ones() -> None:
    subject = torchio_subject()
    again = tio.ScalarImage(tensor=subject.flair.data * 2.0, affine=subject.flair.affine)
    subject.add_image(again, "second_flair")
    both = seeded(RandomTumour(), subject)
    alone = seeded(RandomTumour(include=["flair"]), subject)
    other = seeded(RandomTumour(exclude=["flair"]), subject)
    for made in (alone, other):
        assert torch.equal(made.tumour.data, both.tumour.data)
    assert torch.equal(alone.flair.data, both.flair.data)
    assert torch.equal(alone.second_flair.data, subject.second_flair.data)
    assert torch.equal(other.flair.data, subject.flair.data)
    assert torch.equal(other.second_flair.data, both.second_flair.data)
    assert both.second_flair.data / 2 == pytest.approx(both.flair.data.float(), abs=0.51)
    assert same(both.get_composed_history()(subject), both)
    assert "tumour" not in RandomTumour(include=["t1"])(subject)


def test_other_contrasts_of_the_preset_diverse() -> None:
    subject = torchio_subject()
    for name in ("t1", "second_flair"):
        subject.add_image(
            tio.ScalarImage(tensor=subject.flair.data.clone(), affine=subject.flair.affine), name
        )
    preset = replace(PRESETS["diverse"], distractor_probability=0.0, core_probability=0.0)
    made = RandomTumour(preset, contrasts={"t1": "t1"})(subject)
    marked = made.tumour.data > 0
    before = subject.flair.data[marked].float().mean()
    assert made.t1.data[marked].float().mean() < before < made.flair.data[marked].float().mean()
    assert made.second_flair.data[marked].float().mean() > before
    assert same(made.get_composed_history()(subject), made)


def test_a_label_map_that_is_there_already_is_added_to() -> None:
    subject = torchio_subject()
    lesion = torch.zeros_like(subject.brain_mask.data, dtype=torch.int16)
    lesion[:, 25:27, 30:32, 20:22] = 3
    subject.add_image(tio.LabelMap(tensor=lesion, affine=subject.flair.affine), "tumour")
    twice = RandomTumour(SMALL)(seeded(RandomTumour(SMALL), subject))
    once = seeded(RandomTumour(SMALL), torchio_subject()).tumour.data
    assert twice.tumour.data.dtype == torch.int16 and len(twice.history) == 2
    assert twice.tumour.data.unique().tolist() == [0, 1, 3]
    assert (twice.tumour.data[once > 0] == 1).all() and (twice.tumour.data == 1).sum() > once.sum()
    assert same(twice.get_composed_history()(subject), twice)


def test_a_skull_stripped_scan_needs_no_mask() -> None:
    subject = torchio_subject()
    stripped = tio.Subject(flair=subject.flair)
    assert torch.equal(
        seeded(RandomTumour(), stripped).tumour.data, seeded(RandomTumour(), subject).tumour.data
    )


def test_composed_with_other_transforms() -> None:
    subject = torchio_subject()
    transform = tio.Compose(
        [
            tio.OneOf({RandomTumour(): 0.5, RandomTumour("paper", "val"): 0.5}),
            tio.RandomFlip(axes=("LR",)),
            tio.RandomNoise(),
            tio.ZNormalization(),
        ]
    )
    made = transform(subject)
    assert same(made.get_composed_history()(subject), made)
    assert same(seeded(transform, subject), seeded(pickle.loads(pickle.dumps(transform)), subject))


def test_dictionaries_are_transformed_too() -> None:
    subject = torchio_subject()
    transform = RandomTumour(include=["flair", "brain_mask"], label_keys=["brain_mask"])
    made = transform({"flair": subject.flair.data, "brain_mask": subject.brain_mask.data, "name": "a"})
    assert made["tumour"].shape == made["flair"].shape and made["tumour"].sum() > 0 and made["name"] == "a"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_four_workers_draw_new_tumours_in_every_epoch_and_the_same_for_a_seed() -> None:
    subjects = tio.SubjectsDataset([torchio_subject() for _ in range(6)], transform=RandomTumour(SMALL))

    def epochs(seed: int) -> list[bytes]:
        torch.manual_seed(seed)
        loader = tio.SubjectsLoader(subjects, batch_size=2, num_workers=4)
        batches = [batch for _ in range(2) for batch in loader]
        assert all(batch["flair"]["data"].shape[:2] == (2, 1) for batch in batches)
        return [one.numpy().tobytes() for batch in batches for one in batch["tumour"]["data"]]

    drawn = epochs(1)
    assert len(set(drawn)) == 12
    assert epochs(1) == drawn
    assert not set(epochs(2)) & set(drawn)


def test_patches_of_a_queue_carry_image_and_label() -> None:
    subjects = tio.SubjectsDataset(
        [torchio_subject(), torchio_subject(seed=1)], transform=RandomTumour(SMALL)
    )
    sampler = tio.LabelSampler(16, "tumour", {1: 1})
    queue = tio.Queue(subjects, max_length=4, samples_per_volume=2, sampler=sampler)
    patches = [
        patch for batch in tio.SubjectsLoader(queue, batch_size=2) for patch in batch["tumour"]["data"]
    ]
    assert len(patches) == 4
    assert all(patch.shape == (1, 16, 16, 16) and patch[0, 8, 8, 8] == 1 for patch in patches)


def test_what_cannot_be_used_is_told() -> None:
    subject = torchio_subject()
    data, affine = subject.flair.data, subject.flair.affine

    def told(message: str, transform: Any, **images: Any) -> None:
        with pytest.raises(InputError, match=message):
            transform(tio.Subject(**{**subject, **images}))

    shifted = affine.copy()
    shifted[:3, 3] += 10
    double = tio.ScalarImage(tensor=torch.cat([data, data]), affine=affine)
    told(r"'flair' has shape \(2, .*a single channel", RandomTumour(), flair=double)
    told("'flair' has shape", RandomTumour(), flair=tio.ScalarImage(tensor=data[..., :1], affine=affine))
    mask = tio.ScalarImage(tensor=subject.brain_mask.data, affine=affine)
    told("load the brain mask as tio.LabelMap", RandomTumour(exclude=["brain_mask"]), brain_mask=mask)
    moved = tio.LabelMap(tensor=subject.brain_mask.data, affine=shifted)
    told("another grid", RandomTumour(), brain_mask=moved)
    told("another grid", RandomTumour(), tumour=moved)
    second = tio.ScalarImage(tensor=data, affine=shifted)
    told("'second' is on another grid than 'flair'", RandomTumour(), second=second)
    told("'second' is on another grid than 'flair'", RandomTumour("diverse"), second=second)
    told("no label map", RandomTumour(exclude=["tumour"]), tumour=mask)
    told("need tumours of --preset diverse", RandomTumour(contrasts={"t1": "t1"}), t1=subject.flair)
    told("contrast 'T1': needs one of", RandomTumour("diverse", contrasts={"t1": "T1"}), t1=subject.flair)
    told("none of flair is FLAIR", RandomTumour(contrasts={"flair": "t1"}))
    told("fitted", RandomTumour(replace(SMALL, max_volume_mm3=1e8, min_volume_mm3=1e8)))
    with pytest.raises(InputError, match="no brain mask 'mask'.*brain_mask_name"):
        RandomTumour(brain_mask_name="mask")(torchio_subject(skull=True))
    with pytest.raises(InputError, match="another scan or brain mask"):
        made = RandomTumour()(subject)
        made.get_composed_history()(torchio_subject(size_mm=(140.0, 144.0, 108.0)))
    for wrong in ({"preset": "papre"}, {"task": "training"}):
        with pytest.raises(ValueError, match="must be one of"):
            RandomTumour(**wrong)
