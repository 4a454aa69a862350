"""One scan in a worker: the label, what the manifest says of it, and what becomes of a scan that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.presets import Refinement
from synthtumour.stage2.heads import HeadFiles
from tests.conftest import array, head_image, with_tumour, write
from tests.pilot.conftest import SMALL, brightness

try:
    import torch

    from synthtumour.pilot.predict_cases import (
        PredictSource,
        load_for_prediction,
        make_prediction,
        predict_case,
    )
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PredictSource:
    """A scan with a tumour and a small bright spot, and weights that mark both."""
    folder = tmp_path_factory.mktemp("case")
    scan, _ = with_tumour(head_image(**SMALL)[0], factor=3.0)
    scan, _ = with_tumour(scan, (-22.0, -12.0, -8.0), 6.0, 3.0)
    write(scan, folder / "c_0000.nii.gz", "PIR")
    files = HeadFiles("c", "c", (folder / "c_0000.nii.gz",), None)
    weights = brightness(folder / "bright.pt")
    return PredictSource(files, (weights,), ("digest",), Refinement(), None)


def make(
    source: PredictSource, folder: Path, probabilities: bool = False
) -> tuple[dict[str, Any], np.ndarray]:
    chances = folder / "c.npz" if probabilities else None
    case = predict_case(source, folder / "c.nii.gz", chances, None)
    said = make_prediction(load_for_prediction(source), case)
    return dict(said), array(folder / "c.nii.gz")


def test_what_the_manifest_says_is_what_was_written(source: PredictSource, tmp_path: Path) -> None:
    said, label = make(source, tmp_path)
    assert said["volume_ml"] == pytest.approx(label.sum() * 0.027, abs=1e-3)
    assert said["parts"] == 2 and said["dropped"] == 0 and said["dropped_ml"] is None
    assert 0 < said["mean_logit"] < 50 and 5 < said["thickness_mm"] < 20 and said["contrast"] > 1.5
    assert set(said["refinement"].split("; ")) <= {"refined", "no brighter than tissue", "no room"}
    image, _ = head_image(**SMALL)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    centre = np.array([said[f"centre_{axis}_mm"] for axis in "ras"])
    assert np.linalg.norm(centre - middle * [-1, -1, 1] - (18, 8, 10)) < 8  # the tumour, or both


def test_a_limit_drops_the_less_sure_part(source: PredictSource, tmp_path: Path) -> None:
    both, whole = make(source, tmp_path)
    said, label = make(replace(source, min_logit=both["mean_logit"] - 0.01), tmp_path)
    assert (said["parts"], said["dropped"]) in {(1, 1), (2, 0)}
    said, label = make(replace(source, min_logit=99.0), tmp_path)
    assert said["parts"] == 0 and said["dropped"] == 2 and not label.any() and whole.any()
    assert said["mean_logit"] is None and said["dropped_ml"] > 5 and said["volume_ml"] == 0
    assert said["dropped_mean_logit"] == both["mean_logit"]
    assert "centre_r_mm" not in said and said["refinement"] == ""


def test_refinement_moves_the_border_or_is_off(source: PredictSource, tmp_path: Path) -> None:
    plain, label = make(replace(source, refinement=None), tmp_path)
    assert plain["refinement"] == "off" and plain["volume_ml"] == plain["volume_before_ml"]
    refined, other = make(source, tmp_path)
    assert refined["volume_before_ml"] == plain["volume_ml"] and not np.array_equal(label, other)


def test_probabilities_are_two_classes_in_the_files_own_order(source: PredictSource, tmp_path: Path) -> None:
    _, label = make(replace(source, refinement=None), tmp_path, probabilities=True)
    with np.load(tmp_path / "c.npz") as file:
        stored = file["probabilities"]
    assert stored.shape == (2, *label.shape) and stored.dtype == np.float32
    assert np.allclose(stored.sum(axis=0), 1)
    probable, marked = stored[1] > 0.5, label > 0
    assert probable[marked].all() and (probable & ~marked).sum() < 0.1 * marked.sum()  # specks are dropped


def test_what_a_case_follows_from(source: PredictSource, tmp_path: Path) -> None:
    case = predict_case(source, tmp_path / "c.nii.gz", None, None)
    assert case.name == "c" and case.columns == {"source": "c_0000.nii.gz"}
    assert case.inputs == source.files.files
    for other in (
        replace(source, min_logit=1.0),
        replace(source, refinement=None),
        replace(source, digests=("another",)),
    ):
        assert predict_case(other, tmp_path / "c.nii.gz", None, None).parameters != case.parameters
    picture = predict_case(source, tmp_path / "c.nii.gz", tmp_path / "c.npz", tmp_path / "c.png")
    assert [path.name for path in picture.outputs] == ["c.nii.gz", "c.npz", "c.png"] and picture.pictures == 1


def test_a_worker_takes_one_thread_and_says_why_there_is_no_mask(source: PredictSource) -> None:
    torch.set_num_threads(2)
    load_for_prediction(source)
    assert torch.get_num_threads() == 1
    with pytest.raises(InputError, match="HD-BET failed"):
        load_for_prediction(replace(source, unmasked="HD-BET failed"))
