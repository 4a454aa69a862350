"""One head segmented: what is marked comes back to the scan's grid, and what the gate drops does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.pilot.canvas import Canvas
from synthtumour.stage2.confidence import Gate
from synthtumour.volume.volume import Volume
from tests.conftest import head_image, with_tumour

try:
    import torch

    from synthtumour.pilot.network import Pilot, PilotNetwork, save_weights
    from synthtumour.pilot.segment import Networks, check_gates, networks_in, segmented
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
CANVAS = Canvas((16, 16, 16), 3.0)  # smaller than any head here
NO_MARK = Gate((0.0, 1.0), 0.0, 1000.0)  # nothing is so large


def bright(level: float = 1.5, gate: Gate | None = None, factor: float = 2.0) -> Any:
    """A network whose logits are the z-scores above a level, and what its file would say."""

    class Bright(torch.nn.Module):
        channels = 2

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return factor * (x[:, :1] - level)

    return Pilot(CANVAS, 2, gate), Bright()


def scan_of(**how: Any) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan, its brain and its tumour (bool)."""
    image, mask = head_image((96.0, 114.0, 90.0), **how)
    scan, label = with_tumour(image, factor=3.0)
    brain = Volume.from_image(mask).array > 0
    return Volume.from_image(scan), brain, (Volume.from_image(label).array > 0) & brain


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.parametrize(
    "how",
    [
        {"spacing": (1.0, 1.5, 2.0)},
        {"spacing": (1.3, 1.3, 5.0)},
        {"spacing": (2.0, 2.0, 2.0), "oblique_deg": 14.0},
    ],
    ids=["anisotropic", "thick", "oblique"],
)
def test_what_is_bright_is_marked_on_the_scans_own_grid(how: dict[str, Any]) -> None:
    scan, brain, truth = scan_of(**how)
    found = segmented(scan.array, brain, scan.grid, (bright(),))
    assert found.tumour.shape == found.probability.shape == scan.grid.shape
    assert found.tumour.dtype == bool and found.probability.dtype == np.float32
    assert dice(found.tumour, truth) > 0.9 and not (found.tumour & ~brain).any()
    assert np.array_equal(found.tumour, (found.probability > 0.5) & brain)
    assert found.probability[~brain].max() < 1e-6 and found.probability.min() >= 0
    [mark] = found.kept
    assert mark.volume_ml == pytest.approx(scan.grid.volume_ml(truth), rel=0.15) and found.dropped == []


def test_another_order_on_disk_is_the_same_segmentation() -> None:
    import SimpleITK as sitk

    image, mask = head_image((96.0, 114.0, 90.0), (1.5, 2.0, 2.0), oblique_deg=8.0)
    scan, _ = with_tumour(image, factor=3.0)
    made = []
    for order in ("LPS", "PIR", "RAS"):
        volume, brain = (Volume.from_image(sitk.DICOMOrient(x, order)) for x in (scan, mask))
        found = segmented(volume.array, brain.array > 0, volume.grid, (bright(),))
        back = sitk.DICOMOrient(volume.with_array(found.tumour).to_image(), "LPS")
        made.append(sitk.GetArrayFromImage(back))
    assert made[0].any() and np.array_equal(made[0], made[1]) and np.array_equal(made[0], made[2])


def test_what_the_gate_drops_is_not_marked_but_stays_probable() -> None:
    scan, brain, _ = scan_of(spacing=(2.0, 2.0, 2.0))
    usual = segmented(scan.array, brain, scan.grid, (bright(),))
    found = segmented(scan.array, brain, scan.grid, (bright(gate=NO_MARK),))
    assert not found.tumour.any() and found.kept == [] and found.dropped == usual.kept
    assert np.array_equal(found.probability, usual.probability)
    low, high = (usual.kept[0].mean_logit + by for by in (-0.01, 0.01))
    kept = segmented(scan.array, brain, scan.grid, (bright(gate=NO_MARK),), min_logit=low)
    assert np.array_equal(kept.tumour, usual.tumour) and kept.dropped == []
    none = segmented(scan.array, brain, scan.grid, (bright(),), min_logit=high)
    assert not none.tumour.any() and none.dropped == usual.kept


def test_a_gate_drops_one_of_two_marks() -> None:
    image, mask = head_image((96.0, 114.0, 90.0), (2.0, 2.0, 2.0))
    large, truth = with_tumour(image, factor=3.0)
    both, small = with_tumour(large, (-22.0, -12.0, -8.0), 6.0, 3.0)
    scan, brain = Volume.from_image(both), Volume.from_image(mask).array > 0
    usual = segmented(scan.array, brain, scan.grid, (bright(),))
    assert len(usual.kept) == 2
    large_only = Gate((0.0, 1.0), 0.0, float(np.log(3.0)))  # of 3 ml and more
    found = segmented(scan.array, brain, scan.grid, (bright(gate=large_only),))
    assert [len(found.kept), len(found.dropped)] == [1, 1] and found.dropped[0].volume_ml < 3
    assert dice(found.tumour, Volume.from_image(truth).array > 0) > 0.9
    assert not (found.tumour & (Volume.from_image(small).array > 0)).any()


def test_of_several_networks_the_mean_counts() -> None:
    scan, brain, _ = scan_of(spacing=(2.0, 2.0, 2.0))
    sure, unsure = bright(), bright(factor=0.5)
    one = segmented(scan.array, brain, scan.grid, (sure, unsure))
    assert np.array_equal(one.tumour, segmented(scan.array, brain, scan.grid, (bright(factor=1.25),)).tumour)
    assert one.kept[0].mean_logit == pytest.approx(
        segmented(scan.array, brain, scan.grid, (bright(factor=1.25),)).kept[0].mean_logit, rel=1e-4
    )
    wide = (replace(sure[0], canvas=Canvas((64, 64, 48), 3.0)), sure[1])
    roomy = segmented(scan.array, brain, scan.grid, (unsure, wide))
    assert dice(roomy.tumour, one.tumour) > 0.99
    half = Gate((0.0, 1.0), 0.0, -1000.0)  # as sure of it as NO_MARK is not
    assert segmented(scan.array, brain, scan.grid, (bright(gate=NO_MARK), bright(gate=half))).tumour.any()


def test_a_brain_of_one_intensity_is_refused() -> None:
    scan, brain, _ = scan_of(spacing=(2.0, 2.0, 2.0))
    with pytest.raises(InputError, match="one intensity only"):
        segmented(np.where(brain, 7, 0), brain, scan.grid, (bright(),))
    thin = np.zeros_like(brain)
    thin[20, 30:34, 20:24] = True
    with pytest.raises(InputError, match="too thin for voxels of 3 mm"):
        segmented(scan.array, thin, scan.grid, (bright(),))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Weights at 3 mm with a gate, at 3 mm without one, and at 4 mm."""
    kinds = ((3.0, NO_MARK), (3.0, None), (4.0, None))
    for number, (spacing_mm, gate) in enumerate(kinds):
        pilot = Pilot(Canvas((16, 16, 16), spacing_mm), 2, gate)
        save_weights(tmp_path / f"{number}.pt", pilot, PilotNetwork(2).state_dict())
    return tuple(tmp_path / f"{number}.pt" for number in range(3))


def test_networks_are_kept_while_their_files_are_the_same(files: tuple[Path, ...]) -> None:
    first: Networks = networks_in(files[:2], ("a", "b"))
    assert networks_in(files[:2], ("a", "b")) is first
    assert networks_in(files[:2], ("a", "c")) is not first
    assert [pilot.gate for pilot, _ in first] == [NO_MARK, None]
    with pytest.raises(InputError, match="the networks see voxels of 3 and 4 mm"):
        networks_in(files, ("a", "b", "c"))


def test_weights_without_a_gate_are_warned_of(
    files: tuple[Path, ...], recwarn: pytest.WarningsRecorder
) -> None:
    networks = networks_in(files[:2], ("a", "b"))
    check_gates(networks, files[:2], 0.0)
    check_gates(networks[:1], files[:1], None)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1\.pt: has no confidence gate.*--min-logit"):
        check_gates(networks, files[:2], None)
