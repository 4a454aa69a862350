"""Pseudo-labels are cleaned, and refused where they cannot be a tumour."""

from __future__ import annotations

import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.presets import GateLimits
from synthtumour.stage2.pseudo_labels import Donor, Head, Rejected, checked_donor, clean, tumour_probability
from synthtumour.volume.volume import Volume
from tests.conftest import head_image, with_tumour
from tests.stage2.conftest import donor_of


def test_cleaning_counts_in_millilitres() -> None:
    grid = Volume.from_image(head_image(spacing=(2.0, 2.0, 2.5))[0]).grid  # 0.01 ml a voxel
    mask = np.zeros(grid.shape, bool)
    mask[5:25, 5:25, 5:25] = True
    mask[10:14, 10:14, 10:14] = False  # a hole of 0.64 ml
    mask[40:44, 40:44, 20:25] = True  # 0.8 ml
    mask[50:52, 50:52, 20:25] = True  # 0.2 ml
    mask[30, 60, 30] = True  # 0.01 ml
    limits = GateLimits(min_island_ml=0.2, max_components=3, max_hole_ml=1.0)
    cleaned = clean(mask, grid, limits)
    assert cleaned.sum() == 8000 + 80 + 20
    assert clean(mask, grid, replace(limits, max_hole_ml=0.5)).sum() == 8000 - 64 + 100
    assert clean(mask, grid, replace(limits, min_island_ml=0.21)).sum() == 8080
    assert clean(mask, grid, replace(limits, max_components=1)).sum() == 8000


def labelled(inside: np.ndarray, scan: Volume, brain: np.ndarray, **limits: Any) -> Donor:
    return checked_donor(Head((scan,), brain), scan.with_array(inside), GateLimits(refinement=None, **limits))


@pytest.mark.parametrize(
    "kind", ["empty label", "too small", "too large", "off the brain", "no contrast", "another grid"]
)
def test_the_gate_says_why(kind: str) -> None:
    plain, brain_image = head_image()
    scan, brain = Volume.from_image(plain), Volume.from_image(brain_image).array > 0
    label = np.zeros(scan.grid.shape, bool)
    if kind == "too small":
        label[30:33, 36:39, 27:30] = True
    elif kind == "too large":
        label = brain.copy()
    elif kind == "off the brain":
        label[:8, :8, :8] = True
        label[28:32, 36:40, 27:30] = True
    elif kind == "no contrast":
        label[38:46, 36:44, 24:32] = True
    if kind == "another grid":
        other = Volume.from_image(head_image(spacing=(2.0, 2.0, 3.0))[0])
        with pytest.raises(Rejected, match="another grid"):
            checked_donor(Head((scan,), brain), other.with_array(other.array > 0), GateLimits())
        return
    with pytest.raises(Rejected) as refusal:
        labelled(label, scan, brain)
    assert refusal.value.kind == kind
    assert str(refusal.value)


def test_every_limit_of_the_gate_can_be_moved() -> None:
    donor = donor_of()  # 13.0 ml
    label, scan, brain = donor.label, donor.head.channels[0], donor.head.brain
    assert labelled(label, scan, brain).measured["volume_ml"] == pytest.approx(11.03, rel=0.03)
    for limits, kind in (
        ({"min_volume_ml": 12.0}, "too small"),
        ({"max_brain_fraction": 0.01}, "too large"),
        ({"min_contrast": 2.0}, "no contrast"),
        ({"min_confidence": 0.5}, "unknown confidence"),
    ):
        with pytest.raises(Rejected) as refusal:
            labelled(label, scan, brain, **limits)
        assert refusal.value.kind == kind
    stripped = brain.copy()
    stripped[centre_index(label)[0] :] = False  # the tumour's half beyond its centre is off this brain
    assert labelled(label, scan, stripped, max_outside_fraction=0.6).measured["outside_fraction"] > 0.4
    with pytest.raises(Rejected):
        labelled(label, scan, stripped, max_outside_fraction=0.3)


def centre_index(mask: np.ndarray) -> list[int]:
    return [int(n) for n in np.argwhere(mask).mean(axis=0)]


def test_dark_tumours_pass_the_gate() -> None:
    assert donor_of(factor=0.5).measured["contrast"][0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", ["probabilities", "softmax"])
def test_confidence_is_read_in_the_file_order(name: str, tmp_path: Path) -> None:
    plain, brain = (sitk.DICOMOrient(i, "PIR") for i in head_image())
    image, label = with_tumour(plain)
    inside = sitk.GetArrayFromImage(label) > 0
    probability = np.where(inside, 0.75, 0.0).astype(np.float16)
    probability[: np.argwhere(inside)[:, 0].min() + 4] *= (
        0.5  # less sure at one end: axes must not be mixed up
    )
    np.savez_compressed(tmp_path / "a.npz", **{name: np.stack([1 - probability, probability])})
    head = Head((Volume.from_image(image),), Volume.from_image(brain).array > 0)
    mean = float(probability[inside].mean(dtype=float))
    assert 0.5 < mean < 0.74
    pseudo_label = Volume.from_image(label)
    donor = checked_donor(head, pseudo_label, GateLimits(min_confidence=mean - 0.01), tmp_path / "a.npz")
    assert donor.measured["confidence"] == pytest.approx(mean, abs=0.002)
    with pytest.raises(Rejected, match="mean confidence"):
        checked_donor(head, pseudo_label, GateLimits(min_confidence=mean + 0.01), tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(Rejected, match="damaged"):
        checked_donor(head, pseudo_label, GateLimits(), tmp_path / "b.npz")


NPY = "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 54, 72, 60), }"


ODD_SOFTMAX = {
    "a bomb of classes": (NPY.replace("(2,", "(60000,"), 10**6),
    "a bomb of voxels": (NPY.replace("54", "54000000"), 10**6),
    "more than it says": (NPY, 2**27),
    "less than it says": (NPY, 1000),
    "objects": (NPY.replace("<f2", "|O"), 2 * 2 * 54 * 72 * 60),
    "whole numbers": (NPY.replace("<f2", "<i2"), 2 * 2 * 54 * 72 * 60),
    "no end": ("(" * 900, 1000),
    "a long header": (NPY + " " * 60000, 2 * 2 * 54 * 72 * 60),
    "negative": (NPY.replace("(2,", "(-2,"), 1000),
    "no dictionary": ("-" * 900 + "1", 1000),
}


@pytest.mark.parametrize("what", [*ODD_SOFTMAX, "not a number", "a flipped bit", "no zip"])
def test_a_softmax_file_that_is_none(what: str, tmp_path: Path) -> None:
    image, _ = head_image()
    pseudo_label, path = Volume.from_image(image), tmp_path / "a.npz"
    shape = image.GetSize()[::-1]
    assert shape == (54, 72, 60)
    probabilities = np.full((2, *shape), 0.5, np.float16)
    if what == "not a number":
        probabilities[0, 3, 4, 5] = np.nan
    np.savez(path, probabilities=probabilities)
    inside = np.ones(pseudo_label.array.shape, bool)
    if what in ODD_SOFTMAX:
        header, length = ODD_SOFTMAX[what]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
            archive.writestr("probabilities.npy", start + bytes(length))
    elif what != "not a number":
        assert tumour_probability(path, pseudo_label)[inside].mean() == 0.5
        content = bytearray(path.read_bytes())
        content[-len(content) // 4 if what == "a flipped bit" else 0] ^= 1
        path.write_bytes(content)
        if what == "no zip":
            path.write_bytes(content[: len(content) // 2])
    tracemalloc.start()
    with pytest.raises(Rejected, match="a.npz") as refused:
        tumour_probability(path, pseudo_label)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.kind == "damaged softmax file" and most < 2**24
