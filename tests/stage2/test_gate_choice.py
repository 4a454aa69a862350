"""The gate that parts false marks from real ones, and its choice by nnU-Net's validation cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.stage2.confidence import Mark
from synthtumour.stage2.gate_choice import about_gate, chosen_gate, gate_by_size, gate_of_validation
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import write_volumes
from tests.conftest import write_probabilities, write_validation


def drawn(count: int, logit: float, ml: float, seed: int) -> list[Mark]:
    rng = np.random.default_rng(seed)
    sizes = ml * np.exp(rng.normal(0, 0.1, count).clip(-0.2, 0.2))
    return [Mark(logit + rng.normal(0, 0.2), 5.0, float(size)) for size in sizes]


def test_what_can_be_told_apart_is() -> None:
    false = drawn(40, 0.5, 1.0, seed=1)
    small, large = drawn(15, 2.6, 8.0, seed=2), drawn(25, 3.0, 60.0, seed=3)
    gate, said = chosen_gate(false, small + large)
    assert gate is not None
    assert not any(map(gate.lets_through, false)) and all(map(gate.lets_through, small + large))
    assert said == {
        "false_marks": 40,
        "synthetic_marks": 40,
        "false_kept": 0.0,
        "synthetic_small_kept": 1.0,
        "synthetic_large_kept": 1.0,
    }
    assert all(weight > 0 for weight in gate.weights)  # surer, larger


def test_what_overlaps_loses_tumours_rather_than_keeping_false_marks() -> None:
    false, real = drawn(60, 1.0, 25.0, seed=4), drawn(60, 1.2, 25.0, seed=5)
    gate, said = chosen_gate(false, real)
    assert gate is not None
    assert said["false_kept"] <= 0.02 and 0 < said["synthetic_large_kept"] < 0.9
    kept = [gate.lets_through(mark) for mark in real]
    assert said["synthetic_large_kept"] == np.mean(kept) and "synthetic_small_kept" not in said


def test_the_gate_does_not_hang_on_the_order_of_marks_nor_on_units() -> None:
    false, real = drawn(30, 0.5, 1.0, seed=6), drawn(30, 2.5, 30.0, seed=7)
    gate, said = chosen_gate(false, real)
    again, said_again = chosen_gate(false[::-1], real[::-1])
    assert gate is not None and again is not None and said == said_again
    assert [*gate.weights, gate.intercept, gate.limit] == pytest.approx(
        [*again.weights, again.intercept, again.limit], rel=1e-3
    )
    between = Mark(1.5, 7.0, 10.0)
    assert gate.lets_through(between) == (gate.score(between) >= gate.limit)


@pytest.mark.parametrize(("false", "real"), [(4, 30), (30, 4), (0, 0)])
def test_too_few_marks_make_no_gate(false: int, real: int) -> None:
    gate, said = chosen_gate(drawn(false, 0, 1, seed=1), drawn(real, 3, 30, seed=2))
    assert gate is None and said == {"false_marks": false, "synthetic_marks": real}


def test_marks_that_are_all_alike_still_make_a_gate() -> None:
    same = Mark(1.0, 5.0, 30.0)
    gate, said = chosen_gate([same] * 6, [same] * 6)
    assert gate is not None and np.isfinite([*gate.weights, gate.intercept, gate.limit]).all()
    assert said["false_kept"] == said["synthetic_large_kept"] == 0.0


def surer_if_small(count: int, seed: int, spread: float = 0.3) -> list[Mark]:
    """Marks whose mean logit falls with their size, as nnU-Net's do."""
    rng = np.random.default_rng(seed)
    volumes = np.exp(rng.uniform(np.log(8), np.log(250), count))
    return [Mark(12 - 2 * np.log(ml) + rng.normal(0, spread), 5.0, float(ml)) for ml in volumes]


def test_a_mark_has_to_be_as_sure_as_tumours_of_its_size() -> None:
    real, others = surer_if_small(30, seed=1), surer_if_small(200, seed=2)
    gate, said = gate_by_size(real)
    assert gate is not None and said["false_marks"] == 0 and "false_kept" not in said
    assert np.mean([gate.lets_through(mark) for mark in others]) > 0.97
    for ml in (2.0, 20.0, 200.0):
        usual = 12 - 2 * np.log(ml)
        assert gate.lets_through(Mark(usual - 0.5, 5.0, ml))
        assert not gate.lets_through(Mark(usual - 2.5, 5.0, ml))


def test_splinters_among_the_marks_do_not_widen_the_gate() -> None:
    real = surer_if_small(24, seed=3)
    alone, _ = gate_by_size(real)
    gate, said = gate_by_size([*real, Mark(0.8, 1.0, 0.5), Mark(1.8, 1.0, 0.3), Mark(1.7, 2.0, 9.0)])
    assert alone is not None and gate is not None and said["synthetic_small_kept"] < 1
    assert gate.weights[1] == pytest.approx(alone.weights[1], abs=0.3)
    assert not gate.lets_through(Mark(3.5, 4.0, 9.0))


def test_of_marks_of_one_size_sureness_alone_counts() -> None:
    rng = np.random.default_rng(4)
    gate, _ = gate_by_size([Mark(float(logit), 5.0, 30.0) for logit in rng.normal(4, 0.2, 12)])
    assert gate is not None and gate.weights == (1.0, 0.0)
    assert gate.lets_through(Mark(3.7, 5.0, 1.0)) and not gate.lets_through(Mark(2.5, 5.0, 100.0))


def test_a_network_that_is_surer_of_large_tumours_is_not_asked_less_of_small_marks() -> None:
    rising = [Mark(1 + np.log(ml), 5.0, ml) for ml in np.linspace(8, 200, 15)]
    gate, _ = gate_by_size(rising)
    assert gate is not None and gate.weights == (1.0, 0.0)


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    write_validation(tmp_path)
    return tmp_path


def test_the_gate_of_validation_cases_drops_what_is_false_there(validation: Path) -> None:
    gate, said = gate_of_validation(validation / "validation", validation / "labelsTr")
    assert gate is not None and said["cases"] == said["false_marks"] == said["synthetic_marks"] == 10
    assert said["false_kept"] == 0 and said["synthetic_small_kept"] == 1
    assert gate.lets_through(Mark(3.4, 5.0, 2.6)) and not gate.lets_through(Mark(0.5, 5.0, 2.6))
    (line,) = about_gate(said, True, by_size=True)
    assert "chosen by 10 tumours: it keeps 0% of the 10 false marks, 100% of the tumours below 20 ml" in line


def test_splinters_of_tumours_do_not_count(validation: Path) -> None:
    """Of two tumours only a corner is marked, and not surely: the gate is as without those cases."""
    gate, said = gate_of_validation(validation / "validation", validation / "labelsTr")
    write_validation(validation, cases=12)
    for case in ("c10_v00val", "c11_v00val"):
        path = validation / f"validation/{case}.nii.gz"
        image = sitk.ReadImage(str(path))
        marked = np.zeros_like(sitk.GetArrayFromImage(image))
        marked[2:6, 2:5, 2:5] = 1
        splinter = sitk.GetImageFromArray(marked)
        splinter.CopyInformation(image)
        sitk.WriteImage(splinter, str(path))
        write_probabilities(path.with_name(f"{case}.npz"), np.where(marked, 0.55, 0.01))
    again, said_again = gate_of_validation(validation / "validation", validation / "labelsTr")
    assert again == gate and said_again == {**said, "cases": 12}


def test_cases_without_softmax_or_label_are_left_out(validation: Path) -> None:
    (validation / "validation/c0_v00val.npz").unlink()
    (validation / "validation/c2_v00val.npz").unlink()
    (validation / "labelsTr/c1_v00val.nii.gz").unlink()
    gate, said = gate_of_validation(validation / "validation", validation / "labelsTr")
    assert gate is None and said["cases"] == said["false_marks"] == 7
    assert about_gate(said, False, by_size=True) == [
        "no confidence gate: only 7 tumours were marked in the scans kept out"
    ]


def test_what_is_no_validation_is_refused(validation: Path) -> None:
    for folder, labels, said in (
        (validation / "nowhere", validation / "labelsTr", "no such folder"),
        (validation / "labelsTr", validation / "labelsTr", "train nnU-Net with --npz"),
    ):
        with pytest.raises(InputError, match=said):
            gate_of_validation(folder, labels)
    other = Volume.from_array(np.zeros((5, 5, 5), np.uint8), np.eye(4))
    write_volumes({validation / "labelsTr/c3_v00val.nii.gz": other})
    with pytest.raises(InputError, match="on another grid than .*c3_v00val"):
        gate_of_validation(validation / "validation", validation / "labelsTr")
