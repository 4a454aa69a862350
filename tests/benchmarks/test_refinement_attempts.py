"""benchmarks/refinement_attempts.py: every rule runs on marks of half a tumour, and halves are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from benchmarks import refinement_attempts
from tests.conftest import head_image, with_tumour, write

HEAD = ((96.0, 114.0, 90.0), (3.0, 3.0, 3.0))


def test_rules_are_scored_on_both_halves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(2):
        plain, brain = head_image(*HEAD, seed=n)
        scan, truth = with_tumour(plain, factor=2.0)
        for name, image in {"flair": scan, "flair_brainmask": brain, "whole_tumour": truth}.items():
            write(image, tmp_path / f"tumour/p{n}/{name}.nii.gz")
        expert = sitk.GetArrayFromImage(truth) > 0
        inner = sitk.GetImageFromArray(ndimage.binary_erosion(expert, iterations=n + 1).astype(np.uint8))
        inner.CopyInformation(truth)
        write(inner, tmp_path / f"labels/p{n}.nii.gz")
        probability = np.where(sitk.GetArrayFromImage(inner) > 0, 0.9, 0.1).astype(np.float32)
        np.savez(tmp_path / f"labels/p{n}.npz", probabilities=np.stack([1 - probability, probability]))
    assert refinement_attempts.main([str(tmp_path / "labels"), "--tumour", str(tmp_path / "tumour")]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = {line.split("|")[1].strip(): [float(cell) for cell in line.split("|")[2:5]] for line in lines}
    assert list(rows) == list(refinement_attempts.RULES)
    assert rows["as marked"][0] > rows["as marked"][1]  # the first half lost less
    usual = next(values for name, values in rows.items() if name.startswith("the rule:"))
    assert min(usual) > 0.85 > max(rows["as marked"])
    for odd, even, both in rows.values():
        assert 0 <= both <= 1 and both == pytest.approx((odd + even) / 2, abs=1e-3)


def test_no_labelled_scan_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refinement_attempts.main([str(tmp_path), "--tumour", str(tmp_path)]) == 2
    assert "holds no label of a subject" in capsys.readouterr().err
