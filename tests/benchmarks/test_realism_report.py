"""benchmarks/realism_report.py: what its page shows and its report measures."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk

import resect_multi_tumor
from tests.conftest import ROOT, MakeHead


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
