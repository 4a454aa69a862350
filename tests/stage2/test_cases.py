"""Stage 2 in a worker: a look at a head, and what a mixed case hangs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.presets import GateLimits, Mixing
from synthtumour.stage2.cases import MixSource, gate_case, load_for_mixing, look_at, make_mixed, mix_case
from synthtumour.stage2.heads import HeadFiles, find_donors, find_recipients
from tests.conftest import MakeHead, array, write_donor

Heads = tuple[HeadFiles, HeadFiles]


@pytest.fixture
def heads(make_head: MakeHead, tmp_path: Path) -> Heads:
    """A donor and a recipient."""
    write_donor(tmp_path / "D", "patient", seed=1)
    make_head("H/healthy", "RAS", seed=2, spacing=(2.0, 2.0, 3.0), skull=True)
    donors, unlabelled = find_donors(tmp_path / "D/imagesTr", tmp_path / "D/labelsTr", 1, None, None)
    (recipient,) = find_recipients(tmp_path / "H", 1, None, None)
    assert unlabelled == []
    return donors[0], recipient


def test_the_gate_measures_what_can_be_used(heads: Heads) -> None:
    """The ellipsoid of `with_tumour` is of 14 mm, times 1.2, 1 and 0.8, and 1.8 times as bright."""
    seen = []
    for head in heads:
        limits = GateLimits(refinement=None)
        case = gate_case(head, limits)
        assert case.outputs == () and set(head.files) == set(case.inputs)
        seen.append(look_at((head, limits), case))
    donor, recipient = seen
    assert donor["volume_ml"] == pytest.approx(11.03, rel=0.03)
    assert donor["contrast"] == pytest.approx(1.8, rel=0.1) and donor["whole_head"] is False
    # an ellipsoid whose half axes are 0.8 times 60, 72 and 54 mm
    assert recipient["brain_ml"] == pytest.approx(4.18879 * 48 * 57.6 * 43.2 / 1000, rel=0.02)
    assert recipient["whole_head"] is True


def test_the_gate_says_what_cannot(heads: Heads) -> None:
    donor, _ = heads
    limits = GateLimits(min_volume_ml=500.0)
    said = look_at((donor, limits), gate_case(donor, limits))
    assert said["rejected"] == "too small" and "ml" in str(said["why"])
    donor.files[0].write_bytes(donor.files[0].read_bytes()[:2000])
    said = look_at((donor, GateLimits()), gate_case(donor, GateLimits()))
    assert said["rejected"] == "unusable file" and donor.files[0].name in str(said["why"])


def test_a_mixed_case_hangs_on_its_seed_and_name(heads: Heads, tmp_path: Path) -> None:
    donor, recipient = heads
    source = MixSource(donor, GateLimits(), {recipient.name: recipient})
    loaded = load_for_mixing(source)

    def made(name: str, seed: int) -> tuple[bytes, bytes]:
        outputs = (tmp_path / f"{name}_{seed}_0000.nii.gz", tmp_path / f"{name}_{seed}.nii.gz")
        case = mix_case(name, outputs, source, (recipient.name,), Mixing(jitter_mm=4.0), seed, "train")
        row = make_mixed(loaded, case)
        assert row["id2"] == recipient.name and array(outputs[1]).any()
        return outputs[0].read_bytes(), outputs[1].read_bytes()

    first = made("a", 1)
    assert made("a", 1) == first and made("a", 2) != first and made("b", 1) != first
