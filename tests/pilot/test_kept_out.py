"""The gate that is chosen on heads which were kept out, by networks that see what is bright, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from synthtumour.pilot.canvas import Head, canvas_for, lengths_mm, on_canvas
from synthtumour.presets import PRESETS
from synthtumour.volume.volume import Volume
from tests.conftest import head_image

try:
    import torch

    from synthtumour.pilot import kept_out
    from synthtumour.pilot.kept_out import gate_from
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
TUMOURS = replace(
    PRESETS["diverse"], max_volume_mm3=60_000.0, distractor_probability=0.0, intensity_range=(5.0, 7.0)
)


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    """Tumour-free heads, each with a few bright spots of half a ml."""
    found = []
    for seed in range(2):
        image, mask = head_image((96.0, 114.0, 90.0), (3.0, 3.0, 3.0), seed=seed)
        scan, brain = Volume.from_image(image), Volume.from_image(mask).array > 0
        head = on_canvas(scan.array, brain, scan.grid, canvas_for([lengths_mm(brain, scan.grid)], 3.0))
        smooth = np.where(head.brain, 300 + (head.image - 300) / 4, 0).astype(np.float32)
        rng = np.random.default_rng(seed)
        inner = np.argwhere(ndimage.binary_erosion(head.brain, iterations=4))
        for i, j, k in inner[rng.choice(len(inner), 3, replace=False)]:
            smooth[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 520
        found.append(Head(smooth, head.brain, head.label))
    return found


def seeing(level: float) -> Any:
    """A network whose logits are the z-scores above a level."""

    class Seeing(torch.nn.Module):
        channels = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * (x - level)

    return Seeing()


def test_a_network_that_sees_gets_a_gate(heads: list[Head], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_out, "VARIATIONS", 5)
    monkeypatch.setattr(kept_out, "_LEAST_MM3", 30_000.0)
    gate, said = gate_from(seeing(1.5), heads, TUMOURS, 3.0, seed=0)
    assert gate is not None and said["false_marks"] >= 20 and said["synthetic_marks"] >= 5
    assert said["false_kept"] <= 0.05
    assert said["synthetic_large_kept"] > 0.5
    assert gate.weights[1] > 0  # tumours are larger than the spots
    again, same = gate_from(seeing(1.5), heads, TUMOURS, 3.0, seed=0)
    assert again == gate and same == said
    other, _ = gate_from(seeing(1.5), heads, TUMOURS, 3.0, seed=1)
    assert other != gate


def test_a_network_that_marks_nothing_gets_none(heads: list[Head], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_out, "VARIATIONS", 1)
    gate, said = gate_from(seeing(99.0), heads[:1], TUMOURS, 3.0, seed=0)
    assert gate is None and said == {"false_marks": 0, "synthetic_marks": 0}


def test_heads_are_left_as_they_are_and_without_room_for_tumours_there_are_false_marks_only(
    heads: list[Head], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_out, "VARIATIONS", 2)
    monkeypatch.setattr(kept_out, "_LEAST_MM3", 9e6)
    before = heads[0].image.copy()
    huge = replace(TUMOURS, max_volume_mm3=9e6)
    gate, said = gate_from(seeing(1.5), heads[:1], huge, 3.0, seed=0)
    assert gate is None and said["synthetic_marks"] == 0 and said["false_marks"] >= 2
    assert np.array_equal(heads[0].image, before)
