"""What a network learns from: how often which head comes, and what tumours do to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from synthtumour.pilot.canvas import Head, canvas_for, lengths_mm, on_canvas
from synthtumour.pilot.learning import Either, FreshHeads, StoredHeads, with_tumour
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, head_image

SMALL = replace(PLAIN, min_volume_mm3=4_000.0, max_volume_mm3=12_000.0)


def head_of(seed: int) -> Head:
    image, mask = head_image((96.0, 114.0, 90.0), (3.0, 3.0, 3.0), seed=seed)
    scan, brain = Volume.from_image(image), Volume.from_image(mask).array > 0
    canvas = canvas_for([lengths_mm(brain, scan.grid)], 3.0)
    return on_canvas(scan.array, brain, scan.grid, canvas)


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [head_of(seed) for seed in range(3)]


def test_a_tumour_is_brighter_tissue_inside_the_brain(heads: list[Head]) -> None:
    head = heads[0]
    before = head.image.copy()
    made = with_tumour(head, SMALL, 3.0, 5)
    assert made is not None and made.image.dtype == np.float32 and made.label.dtype == bool
    assert np.array_equal(head.image, before) and not head.label.any()
    assert 3 < made.label.sum() * 0.027 < 15 and not (made.label & ~head.brain).any()
    assert made.image[made.label].mean() > 1.2 * head.image[made.label].mean()
    assert not made.image[~head.brain].any() and made.brain is head.brain
    again, other = with_tumour(head, SMALL, 3.0, 5), with_tumour(head, SMALL, 3.0, 6)
    assert again is not None and np.array_equal(again.image, made.image)
    assert other is not None and not np.array_equal(other.label, made.label)


def test_voxels_have_the_size_that_is_given(heads: list[Head]) -> None:
    volumes = []
    for spacing_mm in (3.0, 4.0):
        made = with_tumour(heads[0], SMALL, spacing_mm, 5)
        assert made is not None
        volumes.append(made.label.sum() * spacing_mm**3)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.5)


def test_a_tumour_that_fits_nowhere_is_none(heads: list[Head]) -> None:
    huge = replace(SMALL, min_volume_mm3=9e6, max_volume_mm3=9e6)
    assert with_tumour(heads[0], huge, 3.0, 1) is None
    fresh = FreshHeads(heads[:1], huge, 0.0, 3.0)
    assert fresh(np.random.default_rng(0)) is heads[0]


def test_the_share_of_heads_without_a_tumour(heads: list[Head]) -> None:
    for share, drawn in ((1.0, 20), (0.0, 5)):
        rng, draw = np.random.default_rng(0), FreshHeads(heads, SMALL, share, 3.0)
        tumours = [draw(rng).label.any() for _ in range(drawn)]
        assert sum(tumours) == (0 if share else drawn)
    rng, draw = np.random.default_rng(1), FreshHeads(heads, SMALL, 0.75, 3.0)
    found = [draw(rng) for _ in range(32)]
    assert 4 <= sum(bool(head.label.any()) for head in found) <= 14
    assert {id(head.brain) for head in found} == {id(head.brain) for head in heads}


def test_stored_heads_come_as_they_are_and_all_of_them(heads: list[Head]) -> None:
    rng, draw = np.random.default_rng(2), StoredHeads(heads)
    counts = Counter(id(draw(rng)) for _ in range(300))
    assert set(counts) == {id(head) for head in heads} and min(counts.values()) > 70


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_either_of_two_in_the_share_that_is_given(share: float, heads: list[Head]) -> None:
    rng, draw = np.random.default_rng(3), Either(StoredHeads(heads[:1]), StoredHeads(heads[1:]), share)
    firsts = [draw(rng) is heads[0] for _ in range(400)]
    assert np.mean(firsts) == pytest.approx(share, abs=0.07 if 0 < share < 1 else 0)


def test_the_generator_decides_what_is_drawn(heads: list[Head]) -> None:
    draw = Either(FreshHeads(heads, SMALL, 0.5, 3.0), StoredHeads(heads), 0.5)
    one, other = ([draw(rng) for _ in range(6)] for rng in map(np.random.default_rng, (4, 4)))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True))
