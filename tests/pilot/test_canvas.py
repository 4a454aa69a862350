"""A brain onto the canvas and back: the same mask, wherever it lies and however its file keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.pilot.canvas import STEP, Canvas, Head, canvas_for, lengths_mm, off_canvas, on_canvas
from synthtumour.volume.grid import bounding_box
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from tests.conftest import head_image, with_tumour, write

SMALL = (96.0, 114.0, 90.0)
KINDS: dict[str, dict[str, Any]] = {
    "anisotropic": {"size_mm": SMALL, "spacing": (1.0, 1.5, 2.0)},
    "thick": {"size_mm": SMALL, "spacing": (1.2, 1.2, 5.0)},
    "coarse": {"spacing": (4.0, 4.0, 7.0)},
    "oblique": {"size_mm": SMALL, "spacing": (1.5, 2.0, 2.0), "oblique_deg": 14.0},
    "odd": {"size_mm": (97.0, 113.0, 91.0), "spacing": (1.1, 1.7, 2.3)},
}


def head_of(**how: Any) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan, its brain and a tumour of 40 mm in it (bool)."""
    image, brain = head_image(**how)
    scan, label = with_tumour(image, radius_mm=20.0)
    inside = Volume.from_image(brain).array > 0
    return Volume.from_image(scan), inside, (Volume.from_image(label).array > 0) & inside


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def as_logits(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 4, -4).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_a_mask_is_the_same(kind: str) -> None:
    scan, brain, tumour = head_of(**KINDS[kind])
    canvas = canvas_for([lengths_mm(brain, scan.grid)], 3.0)
    head = on_canvas(scan.array, brain, scan.grid, canvas, tumour)
    assert head.image.shape == head.brain.shape == head.label.shape == canvas.shape
    assert head.image.dtype == np.float32 and head.brain.dtype == head.label.dtype == bool
    for mask, on in ((tumour, head.label), (brain, head.brain)):
        back = off_canvas(as_logits(on), canvas, brain, scan.grid)
        assert back.shape == scan.grid.shape and back.dtype == np.float32
        assert dice(back > 0, mask) > 0.94
        assert float(on.sum() * canvas.voxel_ml) == pytest.approx(scan.grid.volume_ml(mask), rel=0.06)
        assert not (back[~brain] > -50).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_keeps_its_levels_and_is_zero_outside_the_brain(kind: str) -> None:
    scan, brain, tumour = head_of(**KINDS[kind])
    canvas = canvas_for([lengths_mm(brain, scan.grid)], 3.0)
    head = on_canvas(scan.array, brain, scan.grid, canvas, tumour)
    assert not head.image[~head.brain].any() and not (head.label & ~head.brain).any()
    for mask, on in ((tumour, head.label), (brain, head.brain)):
        assert head.image[on].mean() == pytest.approx(scan.array[mask].mean(), rel=0.06)
    plain = on_canvas(scan.array, brain, scan.grid, canvas)
    assert np.array_equal(plain.image, head.image) and not plain.label.any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_middle_of_the_brain_is_the_middle_of_the_canvas(kind: str) -> None:
    scan, brain, _ = head_of(**KINDS[kind])
    shift = np.zeros_like(brain)
    shift[: brain.shape[0] - 3] = brain[3:]  # off the middle of its own scan
    for mask in (brain, shift):
        canvas = canvas_for([lengths_mm(mask, scan.grid)], 3.0)
        box = bounding_box(on_canvas(scan.array, mask, scan.grid, canvas).brain)
        ends = np.array([(s.start, s.stop) for s in box])
        assert np.abs(ends.mean(axis=1) - np.array(canvas.shape) / 2).max() <= 1.0
        assert (ends[:, 0] >= 0).all() and (ends[:, 1] <= canvas.shape).all()


@pytest.mark.parametrize("orientation", ["RAS", "PIR", "SAL"])
@pytest.mark.parametrize("kind", ["anisotropic", "oblique"])
def test_the_order_on_disk_changes_no_voxel(kind: str, orientation: str, tmp_path: Path) -> None:
    image, mask = head_image(**KINDS[kind])
    found = []
    for order in ("LPS", orientation):
        scan, brain = (
            read_volume(write(what, tmp_path / f"{name}_{order}.nii.gz", order))
            for name, what in (("scan", image), ("mask", mask))
        )
        inside = brain.array > 0
        canvas = canvas_for([lengths_mm(inside, scan.grid)], 3.0)
        head = on_canvas(scan.array, inside, scan.grid, canvas)
        bright = np.where(head.image > 330, 1, -1).astype(np.float32)
        found.append((head, scan.with_array(off_canvas(bright, canvas, inside, scan.grid) > 0).to_image()))
    (one, back), (other, turned) = found
    assert np.array_equal(one.brain, other.brain)
    assert np.allclose(one.image, other.image, rtol=1e-4)
    back, turned = (sitk.GetArrayFromImage(sitk.DICOMOrient(x, "LPS")) for x in (back, turned))
    assert back.any() and np.array_equal(back, turned)


def test_a_larger_brain_gets_a_larger_canvas() -> None:
    canvas = canvas_for([np.array([100.0, 90.0, 80.0]), np.array([60.0, 130.0, 80.0])], 3.0)
    assert canvas == Canvas((40, 48, 32), 3.0)  # 105, 136.5 and 84 mm
    assert canvas_for([np.array([15.0, 10.0, 8.0])], 3.0) == Canvas((16, 16, 16), 3.0)  # a mouse
    assert all(n % STEP == 0 for n in canvas.shape) and canvas.voxel_ml == pytest.approx(0.027)
    scan, brain, _ = head_of(spacing=(2.0, 2.0, 2.0))  # 96 x 116 x 86 mm
    assert canvas.with_room_for(brain, scan.grid) == canvas
    small = Canvas((16, 48, 16), 3.0)
    assert small.with_room_for(brain, scan.grid) == Canvas((32, 48, 32), 3.0)
    head = on_canvas(scan.array, brain, scan.grid, small.with_room_for(brain, scan.grid))
    assert float(head.brain.sum()) * 0.027 == pytest.approx(scan.grid.volume_ml(brain), rel=0.02)


def test_a_head_is_padded_on_both_sides_alike() -> None:
    rng = np.random.default_rng(0)
    image, brain = rng.random((16, 8, 24)).astype(np.float32), rng.random((16, 8, 24)) > 0.5
    head = Head(image, brain, ~brain)
    wide = head.padded(Canvas((24, 24, 24), 3.0))
    inner = (slice(4, 20), slice(8, 16), slice(None))
    for name in ("image", "brain", "label"):
        before, after = getattr(head, name), getattr(wide, name)
        assert after.shape == (24, 24, 24) and after.dtype == before.dtype
        assert np.array_equal(after[inner], before) and after.sum() == before.sum()


def test_what_is_no_number_outside_the_brain_is_kept_out_of_it() -> None:
    scan, brain, _ = head_of(spacing=(2.0, 2.0, 2.0))
    canvas = canvas_for([lengths_mm(brain, scan.grid)], 3.0)
    zero = np.where(brain, scan.array, 0).astype(np.float32)
    for nothing in (np.nan, np.inf):
        background = np.where(brain, zero, np.float32(nothing))
        made = on_canvas(background, brain, scan.grid, canvas)
        assert np.array_equal(made.image, on_canvas(zero, brain, scan.grid, canvas).image)
