"""The training set of fresh tumours, over a stand-in for nnU-Net's: arrays as nnU-Net preprocesses them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.fresh_tumours import FreshTumours
from synthtumour.presets import PRESETS, Preset
from synthtumour.stage1.synthesis import synthesise_patch
from synthtumour.volume.volume import Volume
from tests.conftest import head_image

SMALL = replace(PRESETS["paper"], min_volume_mm3=5_000.0, max_volume_mm3=15_000.0)


HEAD = {"size_mm": (96.0, 112.0, 84.0), "spacing": (2.0, 2.0, 3.0)}


def z_scored(scan: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.where(inside, (scan - scan[inside].mean()) / scan[inside].std(), 0).astype(np.float32)


def nnunet_case(
    transpose: tuple[int, int, int] = (0, 1, 2), orientation: str = "LPS", locations: tuple = (1,)
) -> tuple[FreshTumours, np.ndarray]:
    """The set of one case, and its scan before the z-scores, in the case's order of axes."""
    image, _ = head_image(**HEAD)
    image = sitk.DICOMOrient(image, orientation)
    scan = sitk.GetArrayFromImage(image).transpose(transpose).astype(np.float32)
    scan = np.where(scan > 0, np.maximum(scan - 80, 1), 0)  # the ventricle of a FLAIR is nearly black
    spacing = [image.GetSpacing()[::-1][axis] for axis in transpose]
    seg = np.where(scan > 0, 0, -1).astype(np.int16)
    properties = {
        "class_locations": {labels: [] for labels in locations},
        "spacing": image.GetSpacing()[::-1],
        "sitk_stuff": {"direction": image.GetDirection()},
    }
    loaded = (z_scored(scan, seg == 0)[np.newaxis], seg[np.newaxis], None, properties)
    dataset = SimpleNamespace(identifiers=["case"], load_case=lambda identifier: loaded)
    return FreshTumours(dataset, SMALL, spacing, transpose, within_brain=True), scan


def with_preset(cases: FreshTumours, preset: Preset) -> FreshTumours:
    return replace(cases, preset=preset)


def test_as_if_the_tumour_had_been_in_the_file() -> None:
    """The same tumour put into the scan first, z-scored afterwards, gives the same voxels."""
    cases, scan = nnunet_case()
    for state in range(3):
        np.random.seed(state)
        image, seg, _, _ = cases.load_case("case")
        np.random.seed(state)
        seed = int(np.random.randint(2**31))
        inside = scan > 0
        axes = np.eye(4)
        axes[:3, :3] = [[0, 0, -2], [0, -2, 0], [3, 0, 0]]  # of an LPS file, as (z, y, x)
        head, brain = Volume.from_array(scan, axes), Volume.from_array(inside, axes)
        made, label, _ = synthesise_patch(head.array, brain.array, (2, 2, 3), SMALL, seed=seed)
        assert np.array_equal(seg[0] == 1, head.with_array(label).in_stored_order() == 1)
        expected = z_scored(head.with_array(made).in_stored_order(), inside)
        tumour = seg[0] == 1
        assert 5_000 / 12 * 0.5 < tumour.sum() < 15_000 / 12 * 2
        # All that differs is what counts as black: 0, or the darkest thousandth of the brain.
        assert np.abs(image[0] - expected)[tumour].max() < 0.02 * expected[tumour].max()
        assert np.array_equal(image[0] == 0, ~inside) and np.array_equal(seg[0] >= 0, inside)
        assert abs(image[0][inside].mean()) < 1e-4 and abs(image[0][inside].std() - 1) < 1e-4


def test_draws_differ_and_follow_the_state_of_numpy() -> None:
    cases, _ = nnunet_case()
    np.random.seed(5)
    first, second = cases.load_case("case")[1], cases.load_case("case")[1]
    np.random.seed(5)
    assert np.array_equal(first, cases.load_case("case")[1]) and not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("transpose", "orientation"), [((2, 0, 1), "LPS"), ((0, 1, 2), "RAS"), ((1, 2, 0), "PIR")]
)
def test_a_case_has_its_tumour_wherever_its_axes_lie(transpose: tuple, orientation: str) -> None:
    def in_ras(transpose: tuple, orientation: str) -> np.ndarray:
        np.random.seed(3)
        cases, _ = nnunet_case(transpose, orientation)
        label = cases.load_case("case")[1][0].transpose(np.argsort(transpose))
        image = sitk.DICOMOrient(head_image(**HEAD)[0], orientation)
        made = sitk.GetImageFromArray(label)
        made.CopyInformation(image)
        return sitk.GetArrayFromImage(sitk.DICOMOrient(made, "RAS"))

    reference = in_ras((0, 1, 2), "LPS")
    assert (reference == 1).any() and np.array_equal(reference, in_ras(transpose, orientation))


def test_2d_plans_leave_the_slices_where_they_are() -> None:
    cases, _ = nnunet_case()
    np.random.seed(1)
    expected = cases.load_case("case")[1]
    np.random.seed(1)
    assert np.array_equal(expected, replace(cases, spacing_mm=(2.0, 2.0)).load_case("case")[1])


def test_places_of_foreground_are_those_of_the_new_label() -> None:
    brats = replace(PRESETS["diverse"], labels="brats", core_probability=1.0, tumour_free_probability=0.0)
    cases, _ = nnunet_case(locations=((1, 2, 3), (1, 3), (3,)))
    np.random.seed(2)
    _, seg, _, properties = with_preset(cases, brats).load_case("case")
    places = properties["class_locations"]
    assert len(places[1, 2, 3]) == (seg > 0).sum() > len(places[1, 3]) > 0
    assert set(seg[tuple(places[1, 3].T)]) <= {1, 3}


def test_normalised_over_the_whole_box() -> None:
    cases, _ = nnunet_case()
    image = replace(cases, within_brain=False).load_case("case")[0]
    assert abs(image.mean()) < 1e-4 and abs(image.std() - 1) < 1e-4


def test_a_share_stays_tumour_free() -> None:
    cases, _ = nnunet_case()
    np.random.seed(0)
    half = with_preset(cases, replace(SMALL, tumour_free_probability=0.5))
    with_tumour = [(half.load_case("case")[1] > 0).any() for _ in range(24)]
    assert 6 <= sum(with_tumour) <= 18


def test_cases_with_a_tumour_or_without_room_stay_as_they_are() -> None:
    cases, _ = nnunet_case()
    before = cases.dataset.load_case("case")
    huge = replace(SMALL, min_volume_mm3=3e6, max_volume_mm3=3e6)
    assert np.array_equal(with_preset(cases, huge).load_case("case")[0], before[0])
    before[3]["class_locations"] = {1: np.array([[0, 20, 20, 20]])}
    assert cases.load_case("case") is not before and cases.load_case("case")[0] is before[0]


def test_unusable_sets_are_refused() -> None:
    cases, _ = nnunet_case()
    cases.check()
    _, seg, _, properties = cases.dataset.load_case("case")
    with pytest.raises(InputError, match="case: not skull-stripped"):
        replace(cases, spacing_mm=(6.0, 6.0, 4.0)).check()  # a brain of a giant
    seg[seg < 0] = 0
    with pytest.raises(InputError, match="--skull-strip"):
        cases.check()
    properties["class_locations"] = {1: np.array([[0, 20, 20, 20]])}
    with pytest.raises(InputError, match="every training case has a tumour"):
        cases.check()
