"""The same tumours in other channels of a head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from synthtumour.stage1.contrasts import in_other_contrast
from synthtumour.volume.volume import Volume
from tests.conftest import PLAIN, synthesised


def test_other_contrasts_show_the_same_tumour_by_their_own_signs(head: tuple[Volume, Volume]) -> None:
    """Oedema bright on T2 and dark on T1; a rim bright on T1ce and on T1 not."""
    flair, brain = head
    channel = flair.with_array(flair.array + np.int16(200) * (brain.array > 0))  # another level, same head
    preset = replace(PLAIN, core_probability=1.0, labels="brats", mass_effect_mm=(3.0, 3.0))
    cases = (synthesised(head, preset, seed=n) for n in range(60))
    for case in cases:
        rim = case.label.array == 3
        oedema = (case.label.array == 2) & ~ndimage.binary_dilation(rim, iterations=3)
        if min(rim.sum(), oedema.sum()) > 500:
            break
    shown = {
        c: in_other_contrast(flair, brain, case.record, channel, c).array.astype(float)
        for c in ("t1", "t1ce", "t2")
    }
    before = channel.array.astype(float)
    tissue = np.median(before[brain.array > 0])  # what was there before may have been a sulcus
    assert shown["t2"][oedema].mean() > 1.05 * tissue
    assert shown["t1"][oedema].mean() < 0.98 * tissue
    assert shown["t1ce"][rim].mean() > 1.15 * shown["t1"][rim].mean()
    assert np.allclose(shown["t1ce"][oedema].mean(), shown["t1"][oedema].mean(), rtol=0.1)
    moved = case.image.array != flair.array
    for array in shown.values():
        assert np.array_equal(array[brain.array == 0], before[brain.array == 0])
        assert ((array != before) & ~moved).sum() < 0.02 * moved.sum()  # the same place
