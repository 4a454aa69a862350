"""A tumour's brightness in the recipient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthtumour.stage2.pseudo_labels import Head
from tests.stage2.conftest import donor_of, head_of, mixed_of


def test_matching_is_not_swayed_by_the_tumour_or_the_scanner() -> None:
    recipient = head_of(seed=3)
    faint, glaring = (donor_of(factor=factor) for factor in (1.3, 12.0))
    gains = [
        mixed_of(d, recipient).record["measured"]["channels"][0]["gain_tissue"] for d in (faint, glaring)
    ]
    assert gains[0] == pytest.approx(gains[1], rel=0.01)

    donor = donor_of()
    image = donor.head.channels[0]
    louder = image.with_array((image.array * np.int16(3)).astype(np.int16))
    twice = replace(donor, head=replace(donor.head, channels=(louder,)))
    one, other = mixed_of(donor, recipient), mixed_of(twice, recipient)
    assert np.abs(one.channels[0].array.astype(int) - other.channels[0].array).max() <= 1


def test_a_bias_field_is_evened_out_where_the_tumour_lands() -> None:
    recipient = head_of(seed=3)
    scan = recipient.channels[0]
    ramp = np.linspace(0.6, 1.5, scan.grid.shape[0])[:, None, None]
    biased = replace(recipient, channels=(scan.with_array((scan.array * ramp).astype(np.int16)),))
    channel = mixed_of(donor_of(), biased).record["measured"]["channels"][0]
    assert channel["gain_local"] > 1.1
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.005)


def test_normalised_scans_with_negative_values() -> None:
    donor, recipient = donor_of(), head_of(seed=3)

    def normalised(head: Head) -> Head:
        array = head.channels[0].array.astype(np.float32)
        inside = array[head.brain]
        scaled = np.where(head.brain, (array - inside.mean()) / inside.std(), 0).astype(np.float32)
        return replace(head, channels=(head.channels[0].with_array(scaled),))

    mixed = mixed_of(replace(donor, head=normalised(donor.head)), normalised(recipient))
    channel = mixed.record["measured"]["channels"][0]
    assert channel["black_donor"] < -1 and channel["black_recipient"] < -1
    assert channel["contrast_mixed"] == pytest.approx(channel["contrast_donor"], rel=0.005) and (
        channel["contrast_donor"] > 1.3
    )
    assert mixed.channels[0].array.dtype == np.float32
