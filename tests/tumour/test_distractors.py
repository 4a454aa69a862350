"""Distractors show, and are no part of the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, synthesised


def test_distractors_change_the_scan_but_neither_label_nor_background(head: tuple[Volume, Volume]) -> None:
    plain, disturbed = synthesised(head), synthesised(head, replace(PLAIN, distractor_probability=1.0))
    assert np.array_equal(plain.label.array, disturbed.label.array)
    away = (plain.label.array == 0) & (head[1].array > 0)
    assert (plain.image.array[away] != disturbed.image.array[away]).mean() > 0.3


def test_every_kind_of_distractor_shows(head: tuple[Volume, Volume]) -> None:
    from synthtumour.tumour.distractors import BrightCortex, Caps, Distractors, Spot, UnevenSlice, disturb
    from synthtumour.tumour.tissue import tissue_of

    scan, brain = head[0].array, head[1].array > 0
    tissue = tissue_of(scan, brain, head[0].grid)
    centre = tuple(head[0].grid.to_ras(np.argwhere(brain).mean(axis=0) + [25, 0, 0]))
    for one in (
        Distractors(dark_contrast=0.5),
        Distractors(bright_contrast=0.5),
        Distractors(bias=0.4),
        Distractors(surface=0.3),
        Distractors(spots=(Spot(centre, 5.0, 1.5, 7),)),
        Distractors(caps=Caps(5.0, 1.5, 20.0, 7)),
        Distractors(cortex=BrightCortex(tuple(tissue.grid.to_ras(np.argwhere(tissue.brain)[0])), 20.0, 1.4)),
        Distractors(uneven_slice=UnevenSlice(centre[2], 2.0, 1.3)),
    ):
        out, _ = disturb(one, scan, brain, tissue)
        assert np.abs(out - scan)[brain].max() > 20, one
        assert np.array_equal(out[~brain], scan[~brain].astype(np.float32))
    same, _ = disturb(Distractors(), scan, brain, tissue)
    assert np.abs(same - scan).max() < 0.01
