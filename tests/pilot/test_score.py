"""Scores of hand-made labels whose Dice, distances and lesions are known, and the table of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.pilot.score import (
    FIGURE,
    TABLE,
    Scoring,
    compared,
    flair_threshold,
    labels_in,
    score,
    summary,
)
from synthtumour.volume.volume import Volume
from tests.conftest import head_image, rows_of, with_tumour, write


def label(
    *cubes: tuple[slice, slice, slice], shape: tuple[int, int, int] = (40, 30, 20), mm: float = 2.0
) -> Any:
    """A label image (x, y, z) with voxels of `mm` that holds these cubes."""
    array = np.zeros(shape, np.uint8)
    for cube in cubes:
        array[cube] = 1
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing((mm,) * 3)
    return image


def cube(x: int, y: int = 10, z: int = 5, size: int = 6) -> tuple[slice, slice, slice]:
    return slice(x, x + size), slice(y, y + size), slice(z, z + size)


def both(one: Any, other: Any) -> dict[str, Any]:
    return compared(Volume.from_image(one), Volume.from_image(other))


def test_a_label_against_itself() -> None:
    same = label(cube(4), cube(20))
    assert both(same, same) == {
        "dice": 1.0,
        "hd95_mm": 0.0,
        "volume_ml": 3.456,  # 2 x 216 voxels of 8 mm^3
        "expert_ml": 3.456,
        "lesions": 2,
        "lesions_found": 2,
        "false_lesions": 0,
    }


@pytest.mark.parametrize("mm", [1.0, 2.0])
def test_a_cube_that_was_moved(mm: float) -> None:
    """Of cubes of 6 voxels moved by 3 half is shared, and the far side is 3 voxels away."""
    found = both(label(cube(4), mm=mm), label(cube(7), mm=mm))
    assert found["dice"] == pytest.approx(0.5) and found["hd95_mm"] == pytest.approx(3 * mm)
    assert found["lesions_found"] == 1 and found["false_lesions"] == 0


def test_distances_are_millimetres_along_every_axis() -> None:
    one, other = label(cube(10)), label(cube(10, y=12))
    for image in (one, other):
        image.SetSpacing((1.0, 4.0, 1.0))
    assert both(one, other)["hd95_mm"] == pytest.approx(8.0)


def test_hd95_is_the_larger_of_both_ways() -> None:
    """A far part in one label alone is far from the other, though none of that one is far from it."""
    near, far = label(cube(4)), label(cube(4), cube(24))
    assert both(near, far)["hd95_mm"] == both(far, near)["hd95_mm"] > 28.0
    speck = label(cube(4), cube(30, size=1))
    assert both(label(cube(4)), speck)["hd95_mm"] == 0.0  # one of 153 voxels, and one in twenty is cut off


def test_lesions_are_counted_by_whether_any_of_them_is_marked() -> None:
    expert = label(cube(2), cube(12), cube(30, size=2))  # the last has 0.064 ml: a speck
    predicted = label(cube(6, size=3), cube(22, size=5))
    found = both(predicted, expert)
    assert (found["lesions"], found["lesions_found"], found["false_lesions"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("predicted", "expert", "dice"),
    [(label(), label(cube(4)), 0.0), (label(cube(4)), label(), 0.0), (label(), label(), 1.0)],
)
def test_empty_labels_have_no_distance(predicted: Any, expert: Any, dice: float) -> None:
    found = both(predicted, expert)
    assert found["dice"] == dice and found["hd95_mm"] is None


def test_all_above_zero_is_tumour_and_the_order_on_disk_does_not_count() -> None:
    expert = label(cube(4)) * 3
    assert both(sitk.DICOMOrient(label(cube(6)), "RIP"), expert)["dice"] == pytest.approx(2 / 3)


def test_other_grids_are_refused() -> None:
    moved = label(cube(4))
    moved.SetOrigin((5.0, 0.0, 0.0))
    for other in (moved, label(cube(4), mm=2.1), label(cube(4), shape=(41, 30, 20))):
        with pytest.raises(InputError, match="different grids"):
            both(label(cube(4)), other)


def test_a_threshold_finds_what_is_bright_in_the_brain() -> None:
    image, brain = head_image((96.0, 114.0, 90.0), (3.0, 3.0, 3.0))
    scan, truth = with_tumour(image, factor=3.0)
    found = flair_threshold(Volume.from_image(scan).array, Volume.from_image(brain).array > 0)
    assert compared(Volume.from_image(truth).with_array(found), Volume.from_image(truth))["dice"] > 0.9


def scored(folder: Path, **how: Any) -> int:
    given = {"labels": folder / "experts", "output": folder / "scores", "tell": "usual", **how}
    return score(Scoring(predictions=folder / "predicted", **given))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases with experts' labels, and two predictions in tumour-free scans."""
    for name, x in (("a", 4), ("b", 7)):
        write(label(cube(x)), tmp_path / f"predicted/{name}.nii.gz")
        write(label(cube(4)), tmp_path / f"experts/{name}.nii.gz")
    write(label(), tmp_path / "free/c.nii.gz")
    write(label(cube(4)), tmp_path / "free/d.nii.gz")
    return tmp_path


def test_a_table_a_figure_and_means(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "predicted/manifest.csv").write_text("not,an,image\n")
    assert scored(folder, tumour_free=folder / "free") == 0
    out = capsys.readouterr().out
    assert "2 scans with expert's labels" in out
    assert " 0.750    0.750    0.500    1.000" in out and "lesions found: 2 of 2; false ones: 0" in out
    assert "false tumour in 2 tumour-free scans: mean 0.86 ml, most 1.73 ml; empty: 1" in out
    rows = rows_of(folder / "scores" / TABLE)
    assert [(row["case"], row["kind"]) for row in rows] == [
        ("a", "tumour"),
        ("b", "tumour"),
        ("c", "tumour-free"),
        ("d", "tumour-free"),
    ]
    assert [row["dice"] for row in rows] == ["1.0", "0.5", "", ""] and rows[1]["hd95_mm"] == "6.0"
    assert [row["volume_ml"] for row in rows] == ["1.728", "1.728", "0.0", "1.728"]
    assert (folder / "scores" / FIGURE).read_bytes().startswith(b"\x89PNG")
    assert scored(folder, tell="quiet", output=folder / "other") == 0
    assert "table:" not in capsys.readouterr().out and not (folder / "other" / FIGURE).exists()


def with_scan(folder: Path, **how: bool) -> Path:
    """A scan e with a tumour, and as its label, predicted and by the expert, the truth; the scan's folder."""
    image, _ = head_image((96.0, 114.0, 90.0), (3.0, 3.0, 3.0), **how)
    scan, truth = with_tumour(image, factor=3.0)
    write(scan, folder / "scans/e_0000.nii.gz")
    for place in ("predicted", "experts"):
        write(truth, folder / f"{place}/e.nii.gz")
    return folder / "scans"


def test_scans_put_a_threshold_beside_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folder, images=with_scan(folder)) == 0
    assert "Dice of a FLAIR threshold" in capsys.readouterr().out
    rows = {row["case"]: row for row in rows_of(folder / "scores" / TABLE)}
    assert float(rows["e"]["threshold_dice"]) > 0.9 and rows["a"]["threshold_dice"] == ""


def test_a_scan_without_a_brain_mask_is_scored_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored(folder, images=with_scan(folder, skull=True)) == 1
    assert "no FLAIR threshold: e: " in capsys.readouterr().out
    row = {row["case"]: row for row in rows_of(folder / "scores" / TABLE)}["e"]
    assert float(row["dice"]) == 1 and row["threshold_dice"] == ""


def test_what_cannot_be_scored_is_named_and_the_rest_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(label(cube(4), mm=2.5), folder / "experts/b.nii.gz")
    write(label(cube(4)), folder / "predicted/z.nii.gz")
    (folder / "free/c.nii.gz").write_bytes(b"no image")
    assert scored(folder, tumour_free=folder / "free") == 1
    out = capsys.readouterr().out
    assert "not scored: b: the labels are on different grids" in out
    assert "not scored: z: no expert's label" in out and "not scored: c: " in out
    assert [row["case"] for row in rows_of(folder / "scores" / TABLE)] == ["a", "d"]


def test_none_that_can_be_scored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write(label(cube(4), mm=2.5), folder / f"experts/{name}.nii.gz")
    assert scored(folder) == 1
    assert capsys.readouterr().out.count("not scored: ") == 2
    assert rows_of(folder / "scores" / TABLE) == []


def test_no_case_in_common_or_no_label_at_all(folder: Path) -> None:
    with pytest.raises(InputError, match="holds no label of a case in"):
        scored(folder, labels=folder / "free")
    (folder / "empty").mkdir()
    for nothing, said in (("empty", "holds no label CASE.nii.gz"), ("nowhere", "no such folder")):
        with pytest.raises(InputError, match=said):
            scored(folder, labels=folder / nothing)
        with pytest.raises(InputError, match=said):
            scored(folder, tumour_free=folder / nothing)


def test_labels_in_the_folders_of_subjects(tmp_path: Path) -> None:
    for name in (
        "s1/whole_tumour.nii.gz",
        "s2/s2_seg.nii",
        "s3/flair.nii.gz",
        "s4_label.mha",
        ".x/seg.nii.gz",
    ):
        write(label(cube(4)), tmp_path / name)
    found = labels_in(tmp_path)
    assert {name: path.name for name, path in found.items()} == {
        "s1": "whole_tumour.nii.gz",
        "s2": "s2_seg.nii",
        "s4_label": "s4_label.mha",
    }


def test_a_summary_without_a_tumour() -> None:
    assert summary([]) == []
    rows = [{"case": "a", "kind": "tumour-free", "volume_ml": 0.0}]
    assert summary(rows) == ["false tumour in 1 tumour-free scan: mean 0.00 ml, most 0.00 ml; empty: 1"]
