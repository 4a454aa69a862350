"""Preset diverse: tumours grown through tissue, painted, beside distractors; and paper, left as it was."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ROOT, MakeHead, head_image, in_order
from scipy import ndimage

import prompt_multi_tumor
import resect_multi_tumor
from synthtumour.errors import InputError
from synthtumour.presets import PRESETS, Preset
from synthtumour.stage1.contrasts import in_other_contrast
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import Synthesis, synthesise, untouched
from synthtumour.volume.volume import Volume

DIVERSE = replace(PRESETS["diverse"], max_volume_mm3=40_000.0)
PLAIN = replace(DIVERSE, distractor_probability=0.0, num_tumours=(1, 1))


@pytest.fixture(scope="module")
def head() -> tuple[Volume, Volume]:
    image, brain = head_image((140.0, 170.0, 130.0), (1.0, 1.2, 2.0))
    return Volume.from_image(image), Volume.from_image(brain)


def made(head: tuple[Volume, Volume], preset: Preset = PLAIN, seed: int = 1, **how: object) -> Synthesis:
    return synthesise(*head, preset, seed=seed, **how)  # type: ignore[arg-type]


def integer_head() -> tuple[Volume, Volume]:
    """A head made of whole numbers only, so that no library's rounding is in it."""
    i, j, k = np.meshgrid(np.arange(70), np.arange(80), np.arange(60), indexing="ij")
    brain = ((i - 35) * 8) ** 2 + ((j - 40) * 7) ** 2 + ((k - 30) * 9) ** 2 < 240**2
    values = np.where(brain, 300 + (i * 7 + j * 13 + k * 29) % 41, 0).astype(np.int16)
    volumes = []
    for array in (values, brain.astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing((2.0, 2.0, 2.0))
        volumes.append(Volume.from_image(image))
    return volumes[0], volumes[1]


def test_wide_ventricles_make_no_tumour_brighter() -> None:
    """Brightness counts standard deviations of tissue, of which an old brain's CSF is no part."""
    scan, brain = integer_head()
    older = scan.array.copy()
    older[24:46, 20:60, 15:45] = 60  # a fourth of the brain
    factors = []
    for array in (scan.array, older):
        case = made((scan.with_array(array), brain), replace(PLAIN, max_volume_mm3=4_000.0))
        factors.append(case.record["tumours"][0]["intensity"]["factor"])
    assert factors[1] == pytest.approx(factors[0], rel=0.03)


@pytest.mark.parametrize(
    ("task", "seed", "digest"),
    [("train", 3, "136481a74ce65769"), ("val", 3, "98cc8bc679d7d055"), ("train", 11, "9370763bc1d371e8")],
)
def test_paper_makes_the_bytes_it_always_made(task: str, seed: int, digest: str) -> None:
    """Digests of image and label as the first version of the toolkit made them."""
    preset = replace(PRESETS["paper"], core_probability=1.0) if seed == 11 else PRESETS["paper"]
    case = synthesise(*integer_head(), preset, seed=seed, task=task)
    content = case.image.array.astype("<i2").tobytes("C") + case.label.array.tobytes("C")
    assert hashlib.sha256(content).hexdigest()[:16] == digest


# ---------------------------------------------------------------- what is made


def test_the_record_makes_the_identical_case_again(head: tuple[Volume, Volume]) -> None:
    preset = replace(
        DIVERSE, distractor_probability=1.0, several_probability=1.0, core_probability=1.0, labels="brats"
    )
    preset = replace(preset, mass_effect_mm=(3.0, 6.0), num_tumours=(2, 2))
    case = made(head, preset, seed=5)
    again = resynthesise(*head, json.loads(json.dumps(case.record)))
    assert np.array_equal(case.image.array, again.image.array)
    assert np.array_equal(case.label.array, again.label.array)
    assert again.record == case.record


def test_label_lies_in_the_brain_and_the_rest_of_the_head_is_untouched(head: tuple[Volume, Volume]) -> None:
    brain = head[1].array > 0
    for seed in range(6):
        case = made(head, replace(DIVERSE, distractor_probability=1.0), seed=seed)
        assert case.label.array.dtype == np.uint8 and case.label.array.any()
        assert not case.label.array[~brain].any()
        assert np.array_equal(case.image.array[~brain], head[0].array[~brain])
        assert case.image.array.dtype == head[0].array.dtype


def test_away_from_the_tumour_the_scan_is_bit_identical_without_distractors(
    head: tuple[Volume, Volume],
) -> None:
    case = made(head)
    label = sitk.GetImageFromArray((case.label.array == 0).astype(np.uint8))
    label.SetSpacing(case.image.grid.spacing_mm[::-1].tolist())
    far = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(label, False, False, True)) < -30
    changed = case.image.array != head[0].array
    assert changed.any() and far.any() and not changed[far].any()


def test_volumes_are_log_uniform_and_met(head: tuple[Volume, Volume]) -> None:
    preset = replace(
        PLAIN, min_volume_mm3=1_000.0, max_volume_mm3=64_000.0, buffer_sigma_mm=0.0, nodule_probability=0.0
    )
    drawn, measured = [], []
    for seed in range(30):
        record = made(head, preset, seed=seed).record
        drawn.append(record["tumours"][0]["shape"]["volume_mm3"])
        measured.append(1000 * record["measured"]["volume_ml"])
    assert 1_000 <= min(drawn) < 3_000 and 20_000 < max(drawn) <= 64_000
    assert 4_000 < np.median(drawn) < 16_000  # log-uniform: the middle is 8000
    assert np.median(np.abs(np.log(np.array(measured) / drawn))) < 0.1


def test_a_tumour_below_a_voxel_is_never_an_empty_label(head: tuple[Volume, Volume]) -> None:
    preset = replace(PLAIN, min_volume_mm3=0.01, max_volume_mm3=0.02)
    for seed in range(12):
        try:
            assert made(head, preset, seed=seed).label.array.any()
        except InputError as error:
            assert "smaller than a voxel" in str(error)


def test_tumours_grow_round_ventricles_and_start_in_tissue(head: tuple[Volume, Volume]) -> None:
    """The head's ventricle (below 150) is an ellipsoid in its middle, where tumours would be likeliest."""
    ventricle = (head[0].array < 150) & (head[1].array > 0)
    inside = [made(head, seed=seed).label.array[ventricle].mean() for seed in range(8)]
    assert ventricle.mean() > 0.001 and np.mean(inside) < 0.1


def test_a_sulcus_holds_up_an_infiltrative_tumour(head: tuple[Volume, Volume]) -> None:
    """A dark sheet beside the seed: nearly all of the tumour stays on the seed's side."""
    i = head[0].grid.shape[0] // 2
    array = head[0].array.copy()
    array[i : i + 4] = np.minimum(array[i : i + 4], 30)
    grid = head[0].grid
    seed_ras = grid.to_ras(np.array([i - 8, grid.shape[1] // 3, grid.shape[2] // 2]))
    sides = []
    for scan in (head[0], head[0].with_array(array)):
        preset = replace(PLAIN, min_volume_mm3=12_000.0, max_volume_mm3=12_000.0)
        far = [
            synthesise(scan, head[1], preset, seed=n, centre_ras_mm=tuple(seed_ras))
            .label.array[i + 4 :]
            .sum()
            for n in range(6)
        ]
        sides.append(np.mean(far))
    assert sides[1] < 0.6 * sides[0]


@pytest.mark.parametrize("orientation", ["RAS", "PIR"])
def test_orientation_changes_nothing(make_head: MakeHead, tmp_path: Path, orientation: str) -> None:
    arrays = []
    for stored in ("LPS", orientation):
        scan = make_head(f"in-{stored}", stored, spacing=(1.5, 2.0, 3.0))
        outputs = [tmp_path / f"{stored}-{n}.nii.gz" for n in ("image", "label")]
        arguments = [str(scan), *map(str, outputs), "--preset", "diverse", "--seed", "4"]
        arguments += ["--distractors", "1", "--mass-effect", "4", "--max-volume", "30000"]
        assert resect_multi_tumor.main(arguments) == 0
        arrays.append([in_order(path) for path in outputs])
    for first, second in zip(*arrays, strict=True):
        assert np.array_equal(first, second)


def test_seeds_and_cases_differ_and_tasks_share_their_tumours(head: tuple[Volume, Volume]) -> None:
    one, other = made(head, seed=1), made(head, seed=2)
    assert not np.array_equal(one.label.array, other.label.array)
    assert not np.array_equal(one.label.array, made(head, seed=1, case="b").label.array)
    validation = made(head, seed=1, task="val")
    assert np.array_equal(one.label.array, validation.label.array)
    assert not np.array_equal(one.image.array, validation.image.array)


# ---------------------------------------------------------------- every option changes something


@pytest.mark.parametrize("preset", [PLAIN, replace(PRESETS["paper"], max_volume_mm3=40_000.0)])
def test_validation_tasks_are_three_rules(head: tuple[Volume, Volume], preset: Preset) -> None:
    preset = replace(preset, core_probability=0.0)
    values = {}
    for rule in ("scaled", "flat", "rings"):
        case = made(head, replace(preset, val_task=rule), task="val")
        mask = case.label.array > 0
        values[rule] = case.image.array[mask] / np.maximum(head[0].array[mask], 1)
        assert np.array_equal(case.image.array[~mask], head[0].array[~mask])
        assert case.record["rendering"]["val_task"] == rule
        if rule == "flat":
            assert len(np.unique(case.image.array[mask])) == 1
    assert np.ptp(values["scaled"]) < 0.1  # one factor everywhere, but for rounding
    assert 0.3 < (values["rings"] < 1).mean() < 0.7 and (values["rings"] > 1).any()


def test_mixed_validation_tasks_are_drawn_for_each_case(head: tuple[Volume, Volume]) -> None:
    preset = replace(PLAIN, val_task="mixed")
    rules = {made(head, preset, task="val", case=f"c{n}").record["rendering"]["val_task"] for n in range(12)}
    assert rules == {"scaled", "flat", "rings"}


def test_brats_labels_divide_the_whole_tumour(head: tuple[Volume, Volume]) -> None:
    seen = set()
    for seed in range(12):
        whole = made(head, replace(PLAIN, core_probability=1.0), seed=seed)
        parts = made(head, replace(PLAIN, core_probability=1.0, labels="brats"), seed=seed)
        assert np.array_equal(whole.label.array > 0, parts.label.array > 0)
        assert np.array_equal(whole.image.array, parts.image.array)
        seen |= set(np.unique(parts.label.array).tolist())
        measured = parts.record["measured"]
        total = measured["core_ml"] + measured["oedema_ml"] + measured["enhancing_ml"]
        assert total == pytest.approx(measured["volume_ml"], abs=1e-3)
    assert seen == {0, 1, 2, 3}


def test_mass_effect_pushes_tissue_outwards_and_never_folds_it() -> None:
    """A dark shell 5 mm beyond the tumour's border moves away from it."""
    from synthtumour.tumour.displacement import displacement, least_jacobian, pushed
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = integer_head()
    tissue = tissue_of(scan.array, brain.array > 0, scan.grid)
    points = scan.grid.to_ras(np.moveaxis(np.indices(scan.grid.shape), 0, -1))
    distance = np.linalg.norm(points - scan.grid.to_ras(np.array([35, 40, 30])), axis=-1)
    marker = np.where(np.abs(distance - 20) < 2, 1000.0, scan.array).astype(np.float32)
    border = (distance[tissue.box] - 15).astype(np.float32)
    field = displacement(border, tissue.whole(), tissue, 6.0)
    assert least_jacobian(field, tissue.spacing_mm) >= 0.2
    moved = pushed(marker, brain.array > 0, field, tissue.whole(), tissue)
    before, after = (distance[a > 700].mean() for a in (marker, moved))
    assert 1.5 < after - before < 6
    assert np.array_equal(moved[brain.array == 0], marker[brain.array == 0])
    giant = displacement(border, tissue.whole(), tissue, 60.0)  # far more than 15 mm of tissue can give way
    assert least_jacobian(giant, tissue.spacing_mm) >= 0.2


def test_a_large_tumours_ragged_border_leaves_most_of_the_push() -> None:
    from synthtumour.tumour.displacement import displacement, least_jacobian
    from synthtumour.tumour.growth import Growth, grow
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = integer_head()
    tissue = tissue_of(scan.array, brain.array > 0, scan.grid)
    x, y, z = scan.grid.to_ras(np.array([35, 40, 30]))
    lobes = (12.0, 0.0, 0.0, -12.0, 8.0, 0.0)
    hit = grow(Growth("infiltrative", 100_000.0, (x, y, z), lobes, 0.5, 0.1, 1.2, 14.0, 7), tissue, 8.0)
    assert hit is not None
    box, border_mm = hit
    field = displacement(border_mm, box, tissue, 8.0)
    assert 4.5 < np.sqrt((field**2).sum(axis=0)).max() <= 8.0  # 5.1; 3.3 if its direction is as ragged
    assert least_jacobian(field, tissue.spacing_mm) >= 0.2


def test_mass_effect_option_moves_the_scan_and_not_the_label(head: tuple[Volume, Volume]) -> None:
    plain, with_push = made(head), made(head, replace(PLAIN, mass_effect_mm=(6.0, 6.0)))
    assert np.array_equal(plain.label.array, with_push.label.array)
    moved = (plain.image.array != with_push.image.array) & (plain.label.array == 0)
    assert moved.sum() > 100


def test_distractors_change_the_scan_but_neither_label_nor_background(head: tuple[Volume, Volume]) -> None:
    plain, disturbed = made(head), made(head, replace(PLAIN, distractor_probability=1.0))
    assert np.array_equal(plain.label.array, disturbed.label.array)
    away = (plain.label.array == 0) & (head[1].array > 0)
    assert (plain.image.array[away] != disturbed.image.array[away]).mean() > 0.3


def test_every_kind_of_distractor_shows(head: tuple[Volume, Volume]) -> None:
    from synthtumour.tumour.distractors import BrightCortex, Caps, Distractors, Spot, UnevenSlice, disturb
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = head[0].array, head[1].array > 0
    tissue = tissue_of(scan, brain, head[0].grid)
    centre = tuple(head[0].grid.to_ras(np.argwhere(brain).mean(axis=0) + [25, 0, 0]))
    for one in (
        Distractors(dark_contrast=0.5),
        Distractors(bright_contrast=0.5),
        Distractors(bias=0.4),
        Distractors(surface=0.3),
        Distractors(spots=(Spot(centre, 5.0, 1.5, 7),)),
        Distractors(caps=Caps(5.0, 1.5, 20.0, 7)),
        Distractors(cortex=BrightCortex(tuple(tissue.grid.to_ras(np.argwhere(tissue.brain)[0])), 20.0, 1.4)),
        Distractors(uneven_slice=UnevenSlice(centre[2], 2.0, 1.3)),
    ):
        out, _ = disturb(one, scan, brain, tissue)
        assert np.abs(out - scan)[brain].max() > 20, one
        assert np.array_equal(out[~brain], scan[~brain].astype(np.float32))
    same, _ = disturb(Distractors(), scan, brain, tissue)
    assert np.abs(same - scan).max() < 0.01


def test_tumour_free_cases_have_an_empty_label_and_maybe_distractors(head: tuple[Volume, Volume]) -> None:
    as_it_is = untouched(*head, PLAIN, seed=1)
    disturbed = untouched(*head, replace(PLAIN, distractor_probability=1.0), seed=1)
    for case in (as_it_is, disturbed):
        assert not case.label.array.any() and case.record["measured"]["volume_ml"] == 0
        assert np.array_equal(resynthesise(*head, case.record).image.array, case.image.array)
    assert np.array_equal(as_it_is.image.array, head[0].array)
    assert not np.array_equal(disturbed.image.array, head[0].array)


@pytest.mark.parametrize("preset", [PLAIN, replace(PRESETS["paper"], max_volume_mm3=40_000.0)])
def test_location_prior_says_where_tumours_start(head: tuple[Volume, Volume], preset: Preset) -> None:
    prior = np.zeros(head[0].grid.shape, np.float32)
    half = head[0].grid.shape[0] // 2
    prior[half + 15 : half + 30] = 1  # the right side
    given = head[0].with_array(prior)
    cases = [made(head, preset, seed=seed, location_prior=given) for seed in range(5)]
    index = head[0].grid.to_index([c.record["tumours"][0]["shape"]["centre_ras_mm"] for c in cases])
    assert ((index[:, 0] > half + 13) & (index[:, 0] < half + 31)).all()
    assert np.array_equal(resynthesise(*head, cases[0].record).image.array, cases[0].image.array)


@pytest.mark.parametrize(
    ("values", "said"),
    [(np.zeros(1), "all zero"), (-np.ones(1), "from 0 up"), (np.array([np.nan]), "from 0 up")],
)
def test_useless_location_priors_are_refused(
    head: tuple[Volume, Volume], values: np.ndarray, said: str
) -> None:
    prior = head[0].with_array(np.broadcast_to(values.astype(np.float32), head[0].grid.shape).copy())
    with pytest.raises(InputError, match=said):
        made(head, location_prior=prior)


@pytest.mark.parametrize("shape", ["noisy", "ellipsoid", "cuboid"])
def test_other_shapes_work_with_the_same_appearance(head: tuple[Volume, Volume], shape: str) -> None:
    preset = replace(PLAIN, shape=shape, min_volume_mm3=20_000.0, max_volume_mm3=20_000.0)
    case = made(head, preset)
    assert case.record["tumours"][0]["shape"]["kind"] == shape
    assert not np.array_equal(case.label.array, made(head).label.array)
    assert np.array_equal(resynthesise(*head, case.record).image.array, case.image.array)


def test_core_probability_and_intensity_range_are_heeded(head: tuple[Volume, Volume]) -> None:
    with_core = made(head, replace(PLAIN, core_probability=1.0)).record["tumours"][0]
    without = made(head, replace(PLAIN, core_probability=0.0), seed=2)
    assert with_core["core"] is not None and without.record["tumours"][0]["core"] is None
    brighter = made(head, replace(PLAIN, core_probability=0.0, intensity_range=(9.0, 9.0)), seed=2)
    mask = without.label.array > 0
    assert brighter.image.array[mask].mean() > 1.2 * without.image.array[mask].mean()


def test_nodules_have_one_to_three_times_the_least_volume(head: tuple[Volume, Volume]) -> None:
    def volumes(share: float) -> list[float]:
        preset = replace(PLAIN, min_volume_mm3=2_000.0, nodule_probability=share)
        return [made(head, preset, seed=n).record["tumours"][0]["shape"]["volume_mm3"] for n in range(12)]

    nodules = volumes(1.0)
    assert 2_000 <= min(nodules) and max(nodules) <= 6_000 < max(volumes(0.0))


def test_without_texture_a_tumour_is_more_even(head: tuple[Volume, Volume]) -> None:
    for core in (0.0, 1.0):
        preset = replace(PLAIN, min_volume_mm3=20_000.0, core_probability=core)
        plain, textured = made(head, replace(preset, texture=0.0)), made(head, preset)
        drawn, more = plain.record["tumours"][0], textured.record["tumours"][0]
        parts = ("intensity", "core") if core else ("intensity",)
        assert all(drawn[part]["texture"] == 0 < more[part]["texture"] for part in parts)
        assert np.array_equal(plain.label.array, textured.label.array)
        inside = plain.label.array > 0
        assert plain.image.array[inside].std() < textured.image.array[inside].std()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mass-effect", "3"], "--mass-effect needs --preset diverse"),
        (["--labels", "brats"], "--labels needs --preset diverse"),
        (["--distractors", "1"], "--distractors needs --preset diverse"),
        (["--nodules", "1"], "--nodules needs --preset diverse"),
        (["--texture", "0"], "--texture needs --preset diverse"),
        (["--preset", "diverse", "--nodules", "1.5"], "--nodules 1.5: needs 0 to 1"),
        (["--preset", "diverse", "--texture", "nan"], "--texture nan: needs 0 to 5"),
        (["--shape", "infiltrative"], "--shape infiltrative needs --preset diverse"),
        (["--preset", "diverse", "--shape-engine", "resector"], "no infiltrative shapes"),
        (["--preset", "diverse", "--distractors", "2"], "--distractors 2"),
        (["--preset", "diverse", "--mass-effect", "5", "2"], "--mass-effect 5 2"),
        (["--location-prior", "missing.nii.gz"], "missing.nii.gz: no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    scan = make_head()
    outputs = [str(tmp_path / "i.nii.gz"), str(tmp_path / "l.nii.gz")]
    assert resect_multi_tumor.main([str(scan), *outputs, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "i.nii.gz").exists()


def test_location_prior_on_another_grid_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, other = make_head(), make_head("other", spacing=(3.0, 3.0, 3.0))
    outputs = [str(tmp_path / "i.nii.gz"), str(tmp_path / "l.nii.gz")]
    assert resect_multi_tumor.main([str(scan), *outputs, "--location-prior", str(other)]) == 2
    assert "another grid" in capsys.readouterr().err


# ---------------------------------------------------------------- other channels


def test_other_contrasts_show_the_same_tumour_by_their_own_signs(head: tuple[Volume, Volume]) -> None:
    """Oedema bright on T2 and dark on T1; a rim bright on T1ce and on T1 not."""
    flair, brain = head
    channel = flair.with_array(flair.array + np.int16(200) * (brain.array > 0))  # another level, same head
    preset = replace(PLAIN, core_probability=1.0, labels="brats", mass_effect_mm=(3.0, 3.0))
    cases = (made(head, preset, seed=n) for n in range(60))
    for case in cases:
        rim = case.label.array == 3
        oedema = (case.label.array == 2) & ~ndimage.binary_dilation(rim, iterations=3)
        if min(rim.sum(), oedema.sum()) > 500:
            break
    shown = {
        c: in_other_contrast(flair, brain, case.record, channel, c).array.astype(float)
        for c in ("t1", "t1ce", "t2")
    }
    before = channel.array.astype(float)
    tissue = np.median(before[brain.array > 0])  # what was there before may have been a sulcus
    assert shown["t2"][oedema].mean() > 1.05 * tissue
    assert shown["t1"][oedema].mean() < 0.98 * tissue
    assert shown["t1ce"][rim].mean() > 1.15 * shown["t1"][rim].mean()
    assert np.allclose(shown["t1ce"][oedema].mean(), shown["t1"][oedema].mean(), rtol=0.1)
    moved = case.image.array != flair.array
    for array in shown.values():
        assert np.array_equal(array[brain.array == 0], before[brain.array == 0])
        assert ((array != before) & ~moved).sum() < 0.02 * moved.sum()  # the same place


def test_channel_option(make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, t2 = make_head(), make_head("t2", "RAS", seed=0)
    outputs = [str(tmp_path / f"{n}.nii.gz") for n in ("i", "l", "t2")]
    common = [str(scan), *outputs[:2], "--seed", "1", "--max-volume", "30000"]
    channel = ["--channel", "t2", str(t2), outputs[2]]
    record = ["--record", str(tmp_path / "r.json")]
    assert resect_multi_tumor.main([*common, "--preset", "diverse", *record, *channel]) == 0
    first = Path(outputs[2]).read_bytes()
    assert (in_order(tmp_path / "t2.nii.gz") != in_order(t2)).any()
    again = ["--from-record", str(tmp_path / "r.json")]
    assert resect_multi_tumor.main([str(scan), *outputs[:2], *again, *channel]) == 0
    assert Path(outputs[2]).read_bytes() == first
    capsys.readouterr()
    coarse = make_head("coarse", spacing=(3.0, 3.0, 3.0))
    for arguments, said in (
        (channel, "need tumours of --preset diverse"),
        (["--preset", "diverse", "--channel", "t2", str(coarse), outputs[2]], "another grid"),
        (
            ["--preset", "diverse", "--skull-strip", "--channel", "t2", str(coarse), outputs[2]],
            "another grid",
        ),
        (["--preset", "diverse", "--channel", "pd", str(t2), outputs[2]], "--channel pd: choose one of"),
    ):
        assert resect_multi_tumor.main([*common, *arguments]) == 2
        assert said in capsys.readouterr().err


# ---------------------------------------------------------------- over a folder


def test_a_folder_of_diverse_cases(make_head: MakeHead, tmp_path: Path) -> None:
    """BraTS regions in dataset.json, cases without a tumour for training only, priors beside the scans."""
    for n in range(4):
        scan = make_head(f"in/s{n}", spacing=(2.0, 2.0, 3.0), seed=n)
        image = sitk.ReadImage(str(scan))
        half = np.zeros(image.GetSize()[::-1], np.float32)
        half[..., : half.shape[2] // 2] = 1  # LPS: the right side
        prior = sitk.GetImageFromArray(half)
        prior.CopyInformation(image)
        sitk.WriteImage(prior, str(scan.parent / "prior.nii.gz"))
    output = tmp_path / "Dataset009_Diverse"
    arguments = ["--input", str(tmp_path / "in"), "--output", str(output), "--preset", "diverse"]
    arguments += [
        "--labels",
        "brats",
        "--variants",
        "6",
        "--without-tumour",
        "0.5",
        "--workers",
        "1",
    ]
    arguments += ["--location-prior", "prior.nii.gz", "--max-volume", "20000", "--core-probability", "1"]
    assert prompt_multi_tumor.main(arguments) == 0
    about = json.loads((output / "dataset.json").read_text())
    assert about["labels"]["tumour core"] == [1, 3] and about["regions_class_order"] == [2, 1, 3]
    with (output / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values: set[int] = set()
    for row in rows:
        label = in_order(output / f"labelsTr/{row['case']}.nii.gz")
        values |= set(np.unique(label).tolist())
        assert label.any() == (row["kind"] == "synthetic")
        record = json.loads(row["record"])
        brain = in_order(tmp_path / "in" / row["mask"])
        middle = np.argwhere(brain).mean(axis=0)[2]
        for tumour in record["tumours"]:
            assert tumour["shape"]["centre_ras_mm"][0] > _right_of(tmp_path / "in" / row["mask"], middle) - 4
    assert values == {0, 1, 2, 3}
    kinds = {(row["split"], row["kind"]) for row in rows}
    assert kinds == {("train", "synthetic"), ("train", "tumour-free"), ("val", "synthetic")}
    sizes = {task: {float(r["head_scale"]) for r in rows if r["split"] == task} for task in ("train", "val")}
    low, high = PRESETS["diverse"].head_scale
    assert sizes["val"] == {1.0} and low <= min(sizes["train"]) < max(sizes["train"]) <= high < 1
    again = [tmp_path / name for name in ("i.nii.gz", "l.nii.gz")]
    one = next(row for row in rows if row["kind"] == "synthetic")
    source = str(tmp_path / "in" / one["source"])
    manifest = ["--from-record", str(output / "manifest.csv"), "--case", one["case"]]
    assert resect_multi_tumor.main([source, *map(str, again), *manifest]) == 0
    assert again[0].read_bytes() == (output / f"imagesTr/{one['case']}_0000.nii.gz").read_bytes()


def test_channels_of_a_folder(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        scan = make_head(f"in/s{n}", seed=n)
        for contrast in ("t1ce", "t2"):
            (scan.parent / f"{contrast}.nii.gz").write_bytes(scan.read_bytes())
    output = tmp_path / "Dataset010_Channels"
    arguments = ["--input", str(tmp_path / "in"), "--output", str(output), "--channels", "t1ce", "t2"]
    assert prompt_multi_tumor.main([*arguments, "--workers", "1"]) == 2
    assert "--channels needs --preset diverse" in capsys.readouterr().err
    arguments += ["--preset", "diverse", "--without-tumour", "0", "--workers", "1"]
    arguments += ["--head-scale", "0.5", "0.5"]
    t2 = tmp_path / "in/s0/t2.nii.gz"
    content = t2.read_bytes()
    t2.write_bytes(make_head("coarse", spacing=(3.0, 3.0, 3.0)).read_bytes())
    for strip in ([], ["--skull-strip"]):
        assert prompt_multi_tumor.main([*arguments, "--overwrite", *strip]) == 1
        failed = capsys.readouterr().out
        assert "t2" in failed and "on another grid" in failed and "1 failed" in failed
    t2.write_bytes(content)
    arguments.append("--overwrite")
    assert prompt_multi_tumor.main(arguments) == 0
    assert "did not make" not in capsys.readouterr().out
    about = json.loads((output / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "FLAIR", "1": "T1CE", "2": "T2"}
    for label in (output / "labelsTr").glob("*.nii.gz"):
        name = label.name.removesuffix(".nii.gz")
        paths = [output / f"imagesTr/{name}_000{n}.nii.gz" for n in range(3)]
        spacing = (2.0, 2.0, 2.0) if name.endswith("val") else (1.0, 1.0, 1.0)
        assert all(sitk.ReadImage(str(path)).GetSpacing() == spacing for path in (label, *paths))
        images = [in_order(path) for path in paths]
        assert in_order(label).any() and not any(np.array_equal(images[0], other) for other in images[1:])


def _right_of(path: Path, column: float) -> float:
    """RAS x in mm of a column of an image read in RAS order."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    return -image.TransformContinuousIndexToPhysicalPoint((float(column), 0.0, 0.0))[0]


def realism_report() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import realism_report
    finally:
        sys.path.pop(0)
    return realism_report


def test_the_page_shows_each_case_without_and_with_its_outline(make_head: MakeHead, tmp_path: Path) -> None:
    """Red is on the right of each pair only, and there are as many pairs as were asked for."""
    report, cases = realism_report(), {}
    for n in range(3):
        scan = make_head(f"s{n}", spacing=(3.0, 3.0, 3.0), seed=n)
        outputs = [scan.with_name(f"{name}.nii.gz") for name in ("made", "label")]
        assert resect_multi_tumor.main([str(scan), *map(str, outputs), "--preset", "diverse"]) == 0
        cases[f"s{n}"] = report.Case(*outputs, scan.with_name("flair_brainmask.nii.gz"))
    page = tmp_path / "page.png"
    report.draw_page({"Dataset001_Made": cases}, 2, 0, page)
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(page)))[..., :2] / 255
    red = (pixels[..., 0] > 0.7) & (pixels[..., 1] < 0.4)
    columns = np.array_split(red, 2 * report._PAIRS, axis=1)
    assert [column.sum() > 20 for column in columns] == [False, True] * 2 + [False] * (2 * report._PAIRS - 4)


def test_the_report_tells_tumours_apart(make_head: MakeHead, tmp_path: Path) -> None:
    """A ball of known volume, contrast and depth, measured by the report."""
    brain = np.zeros((60, 64, 68), np.uint8)
    brain[5:55, 5:59, 5:63] = 1
    i, j, k = np.indices(brain.shape)
    ball = ((i - 30) ** 2 + (j - 32) ** 2 + (k - 34) ** 2 < 10**2).astype(np.uint8)
    images = []
    for array in (brain * 100.0 * (1 + ball), ball, brain):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2.0, 2.0, 2.0))
        images.append(image)
    measured = realism_report().measure(*images)
    assert measured["volume_ml"] == pytest.approx(4 / 3 * np.pi * 2**3, rel=0.03)
    assert measured["contrast"] == pytest.approx(2.0) and measured["heterogeneity"] == 0
    assert measured["sphericity"] == pytest.approx(1.0, abs=0.08)
    assert 30 < measured["depth_mm"] < 36  # 25 voxels of brain less 10 of ball, at its upper end
    assert measured["sharpness"] > 0.45
