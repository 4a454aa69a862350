"""What Stage 1 makes: labels in the brain, the rest untouched, one seed one case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import Synthesis, recipient_of, synthesise, synthesise_patch, untouched
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from tests.conftest import DIVERSE, PLAIN, ROOT, synthesised


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


TASKS = ("train", "val")


@pytest.fixture(scope="module")
def stripped() -> tuple[Volume, Volume]:
    """A demo brain in float32, zero outside. Its darkest thousandth is zero, so z-scores lose nothing."""
    scan, brain = (
        read_volume(ROOT / f"DemoData/sim-01/{name}.nii.gz") for name in ("flair", "flair_brainmask")
    )
    inside = brain.array > 0
    darkest = np.percentile(scan.array[inside], 0.1)
    lifted = np.where(inside, np.maximum(scan.array - darkest, 0), 0)
    return scan.with_array(lifted.astype(np.float32)), brain


def in_other_units(scan: Volume, brain: Volume) -> dict[str, Volume]:
    inside, array = brain.array > 0, scan.array
    values = array[inside]
    changed = {
        "z-scored in the brain": np.where(inside, (array - values.mean()) / values.std(), 0),
        "z-scored as a whole": (array - array.mean()) / array.std(),
        "0 to 1": array / values.max(),
        "0 to 100 000": array * (1e5 / values.max()),
        "a background of -1000": np.where(inside, array, -1000),
    }
    return {name: scan.with_array(new.astype(np.float32)) for name, new in changed.items()}


def made(scan: Volume, brain: Volume, preset: str, task: str) -> Synthesis:
    return synthesise(scan, brain, replace(PRESETS[preset], distractor_probability=0.0), seed=3, task=task)


@pytest.mark.parametrize("preset", ["paper", "diverse"])
@pytest.mark.parametrize("task", TASKS)
def test_the_same_tumour_has_the_same_contrast_in_any_units(
    stripped: tuple[Volume, Volume], preset: str, task: str
) -> None:
    scan, brain = stripped
    before = made(scan, brain, preset, task)
    outside = brain.array == 0
    for name, other in in_other_units(scan, brain).items():
        case = made(other, brain, preset, task)
        assert np.mean(case.label.array != before.label.array) < 1e-4, name
        expected = before.record["measured"]["contrast"]
        assert case.record["measured"]["contrast"] == pytest.approx(expected, rel=0.01), name
        assert np.array_equal(case.image.array[outside], other.array[outside]), name
        changed = int((case.image.array != other.array).sum())
        assert changed <= 1.05 * (before.image.array != scan.array).sum(), name  # about the tumour alone


@pytest.mark.parametrize("preset", ["paper", "diverse"])
def test_where_black_was_is_not_needed(preset: str) -> None:
    """What z-scores lose is what was zero in the scan, here far below its darkest thousandth."""
    scan, brain = (
        read_volume(ROOT / f"DemoData/sim-01/{name}.nii.gz") for name in ("flair", "flair_brainmask")
    )
    inside = brain.array > 0
    scan = scan.with_array(np.where(inside, scan.array, 0).astype(np.float32))
    values = scan.array[inside]
    assert np.percentile(values, 0.1) > 0
    z = scan.with_array(np.where(inside, (scan.array - values.mean()) / values.std(), 0).astype(np.float32))
    before, after = made(scan, brain, preset, "train"), made(z, brain, preset, "train")
    assert np.mean(before.label.array != after.label.array) < 1e-5
    expected = before.record["measured"]["contrast"]
    assert after.record["measured"]["contrast"] == pytest.approx(expected, rel=0.05)


def test_a_scan_without_signal_is_refused(stripped: tuple[Volume, Volume]) -> None:
    scan, brain = stripped
    for level in (0.0, -5.0):
        flat = scan.with_array(np.where(brain.array > 0, level, 0).astype(np.float32))
        with pytest.raises(InputError, match="no signal above black"):
            synthesise(flat, brain, seed=1)


def test_scripts_say_once_what_counts_as_black(tmp_path: Path, stripped: tuple[Volume, Volume]) -> None:
    import prompt_multi_tumor

    z = in_other_units(*stripped)["z-scored in the brain"]
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        sitk.WriteImage(z.to_image(), str(tmp_path / "in" / name / "flair.nii.gz"))
        sitk.WriteImage(stripped[1].to_image(), str(tmp_path / "in" / name / "flair_brainmask.nii.gz"))
    output = tmp_path / "Dataset001_Z"
    given = ["--input", str(tmp_path / "in"), "--output", str(output), "--variants", "2", "--workers", "1"]
    assert prompt_multi_tumor.main(given) == 0
    manifest = (output / "manifest.csv").read_text()
    assert manifest.count("counts as black") == 2  # once a scan, not once a case


def test_a_scan_that_was_changed_in_place_is_looked_at_again(stripped: tuple[Volume, Volume]) -> None:
    scan = stripped[0].with_array(stripped[0].array.copy())
    before = made(scan, stripped[1], "diverse", "train").record["measured"]["contrast"]
    scan.array[...] /= 2
    after = made(scan, stripped[1], "diverse", "train").record["measured"]["contrast"]
    assert after == pytest.approx(before, rel=1e-3)


def test_what_was_computed_for_a_scan_can_be_passed_on(stripped: tuple[Volume, Volume]) -> None:
    recipient = recipient_of(*stripped)
    first = synthesise(*stripped, PRESETS["diverse"], seed=5, recipient=recipient)
    again = synthesise(*stripped, PRESETS["diverse"], seed=5)
    assert np.array_equal(first.image.array, again.image.array) and first.record == again.record


def test_a_patch_of_z_scores_gets_a_tumour_that_is_brighter(stripped: tuple[Volume, Volume]) -> None:
    z = in_other_units(*stripped)["z-scored in the brain"].array[40:140, 50:150, 40:120]
    inside = stripped[1].array[40:140, 50:150, 40:120] > 0
    image, label, record = synthesise_patch(z, inside, (1.0, 1.0, 1.0), seed=2)
    assert record["measured"]["contrast"] > 1
    assert image[label > 0].mean() > z[label > 0].mean()
