"""Brain masks that are of a brain's size and in a wrong place."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import prompt_multi_tumor
from synthtumour.brain.masks import prepare_brain
from synthtumour.brain.position import share_in_air
from synthtumour.errors import InputError
from synthtumour.volume import Volume, read_volume, write_volumes
from tests.conftest import ROOT, rows_of

DEMO = ROOT / "DemoData"


def demo(name: str) -> tuple[Volume, Volume]:
    scan, mask = (read_volume(DEMO / name / f"{what}.nii.gz") for what in ("flair", "flair_brainmask"))
    return scan, mask


def moved(mask: Volume, *mm: float) -> np.ndarray:
    steps = np.rint(np.array(mm) / mask.grid.spacing_mm)
    return ndimage.shift(mask.array, steps, order=0) > 0


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.0, 1.5, 6.0), (1.0, 3.0, 2.0)])
@pytest.mark.parametrize("move_mm", [0, 12, 48, 72])
def test_the_share_of_a_box_that_sticks_out_of_another(
    move_mm: int, spacing: tuple[float, float, float]
) -> None:
    """A head of 144 mm with a brain of 96 mm, which sticks out from 24 mm on; noise of a twentieth."""
    rng = np.random.default_rng(0)
    middle = [(np.arange(240 / s) + 0.5) * s - 120 for s in spacing]
    i, j, k = np.meshgrid(*middle, indexing="ij")
    head = np.maximum(np.maximum(abs(i), abs(j)), abs(k)) < 72
    scan = np.hypot(200 * head + rng.normal(0, 10, head.shape), rng.normal(0, 10, head.shape))
    scan[abs(i) + abs(j) + abs(k) < 20] = 3  # as dark as air, and inside
    brain = np.maximum(np.maximum(abs(i - move_mm), abs(j)), abs(k)) < 48
    affine = np.diag([*spacing, 1.0])
    grid = Volume.from_array(scan.astype(np.float32), affine).grid
    expected = max(0, move_mm - 24) / 96
    assert share_in_air(scan, brain, grid) == pytest.approx(expected, abs=0.03)
    for other in (scan - 200, np.where(head, scan, np.nan), (scan * 10).astype(np.uint16)):
        assert share_in_air(other, brain, grid) == pytest.approx(expected, abs=0.03)


WRONG: dict[str, Callable[[Volume], np.ndarray]] = {
    **{
        f"{sign * 40} mm along {axis}": lambda mask, a=axis, s=sign: moved(
            mask, *(s * 40 * (n == a) for n in range(3))
        )
        for axis in range(3)
        for sign in (1, -1)
    },
    "back to front": lambda mask: mask.array[:, ::-1] > 0,
    "upside down": lambda mask: mask.array[:, :, ::-1] > 0,
}
RIGHT: dict[str, Callable[[Volume], np.ndarray]] = {
    "as it is": lambda mask: mask.array > 0,
    "3 mm off": lambda mask: moved(mask, 3, 0, 0),
    "too large": lambda mask: ndimage.binary_dilation(mask.array, iterations=2),
    "too small": lambda mask: ndimage.binary_erosion(mask.array, iterations=4),
    "one half": lambda mask: (mask.array > 0) & (np.arange(mask.array.shape[0]) < 66)[:, None, None],
}


@pytest.mark.parametrize("name", ["sim-01", "sim-03"])
def test_a_mask_in_a_wrong_place_is_refused_and_one_in_its_place_is_not(name: str, tmp_path: Path) -> None:
    scan, mask = demo(name)
    path = tmp_path / "mask.nii"
    brain = mask.array > 0
    inside = scan.array[brain].astype(float)
    z_scores = np.where(brain, (scan.array - inside.mean()) / inside.std(), 0)
    for values in (scan, scan.with_array(z_scores.astype(np.float32))):
        for kind, of in RIGHT.items():
            write_volumes({path: mask.with_array(of(mask))})
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert prepare_brain(values, path, path).array.any(), kind
    for kind, of in WRONG.items():
        write_volumes({path: mask.with_array(of(mask))})
        with pytest.raises(
            InputError, match=r"mask\.nii: \d+% of this brain mask lies in the air"
        ) as refusal:
            prepare_brain(scan, path, path)
        assert "\n" not in str(refusal.value) and "--any-brain-volume" in str(refusal.value), kind
        assert np.array_equal(prepare_brain(scan, path, path, any_volume=True).array > 0, of(mask))


def test_a_mask_that_is_a_little_off_is_told(tmp_path: Path) -> None:
    scan, mask = demo("sim-01")
    write_volumes({tmp_path / "mask.nii.gz": mask.with_array(moved(mask, 9, 0, 0))})
    with pytest.warns(UserWarning, match=r"mask\.nii\.gz: \d% of this brain mask lies in the air"):
        prepare_brain(scan, tmp_path / "flair.nii.gz", tmp_path / "mask.nii.gz")


def test_it_fails_the_case_of_that_scan_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("sim-01", "sim-02", "sim-03"):
        shutil.copytree(DEMO / name, tmp_path / "in" / name)
    mask = demo("sim-02")[1]
    write_volumes({tmp_path / "in/sim-02/flair_brainmask.nii.gz": mask.with_array(moved(mask, 0, 0, 40))})
    output = tmp_path / "Dataset001_A"
    assert prompt_multi_tumor.main(["-i", str(tmp_path / "in"), "-o", str(output), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "2 made" in said and "FAILED sim-02" in said.replace("val", "") and "lies in the air" in said
    rows = {row["scan"]: row["status"] for row in rows_of(output / "manifest.csv")}
    assert rows == {"sim-01": "made", "sim-02": "failed", "sim-03": "made"}
