"""What Stage 1 makes: labels in the brain, the rest untouched, one seed one case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import synthesise_patch, untouched
from synthtumour.volume.volume import Volume
from tests.conftest import DIVERSE, PLAIN, synthesised


def test_label_lies_in_the_brain_and_the_rest_of_the_head_is_untouched(head: tuple[Volume, Volume]) -> None:
    brain = head[1].array > 0
    for seed in range(6):
        case = synthesised(head, replace(DIVERSE, distractor_probability=1.0), seed=seed)
        assert case.label.array.dtype == np.uint8 and case.label.array.any()
        assert not case.label.array[~brain].any()
        assert np.array_equal(case.image.array[~brain], head[0].array[~brain])
        assert case.image.array.dtype == head[0].array.dtype


def test_away_from_the_tumour_the_scan_is_bit_identical_without_distractors(
    head: tuple[Volume, Volume],
) -> None:
    case = synthesised(head)
    label = sitk.GetImageFromArray((case.label.array == 0).astype(np.uint8))
    label.SetSpacing(case.image.grid.spacing_mm[::-1].tolist())
    far = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(label, False, False, True)) < -30
    changed = case.image.array != head[0].array
    assert changed.any() and far.any() and not changed[far].any()


def test_seeds_and_cases_differ_and_tasks_share_their_tumours(head: tuple[Volume, Volume]) -> None:
    one, other = synthesised(head, seed=1), synthesised(head, seed=2)
    assert not np.array_equal(one.label.array, other.label.array)
    assert not np.array_equal(one.label.array, synthesised(head, seed=1, case="b").label.array)
    validation = synthesised(head, seed=1, task="val")
    assert np.array_equal(one.label.array, validation.label.array)
    assert not np.array_equal(one.image.array, validation.image.array)


def test_tumour_free_cases_have_an_empty_label_and_maybe_distractors(head: tuple[Volume, Volume]) -> None:
    as_it_is = untouched(*head, PLAIN, seed=1)
    disturbed = untouched(*head, replace(PLAIN, distractor_probability=1.0), seed=1)
    for case in (as_it_is, disturbed):
        assert not case.label.array.any() and case.record["measured"]["volume_ml"] == 0
        assert np.array_equal(resynthesise(*head, case.record).image.array, case.image.array)
    assert np.array_equal(as_it_is.image.array, head[0].array)
    assert not np.array_equal(disturbed.image.array, head[0].array)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (-1, 1, 1), (1, np.nan, 1), (1, 1), (1, 1, 1, 1)])
def test_a_patch_needs_three_spacings(spacing: tuple[float, ...]) -> None:
    patch = np.ones((40, 40, 40), np.float32)
    with pytest.raises(InputError, match="3 spacings above 0 mm"):
        synthesise_patch(patch, patch > 0, spacing, seed=1)
