"""The network's sizes, and its file of weights: there and back, and any other file refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.pilot.canvas import Canvas, Head
from synthtumour.stage2.confidence import Gate

try:
    import torch

    from synthtumour.pilot.network import (
        Pilot,
        PilotNetwork,
        _in_blocks,
        _out_of_blocks,
        channels_of,
        digest_of,
        load_weights,
        logits_of,
        save_weights,
        zscored,
    )
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
CANVAS = Canvas((24, 32, 16), 3.0)


@pytest.fixture
def network() -> PilotNetwork:
    torch.manual_seed(3)
    return PilotNetwork(2).eval()


@pytest.fixture
def weights(network: PilotNetwork, tmp_path: Path) -> Path:
    """A file of weights with a gate."""
    pilot = Pilot(CANVAS, 2, Gate((1.0, 0.5), -1.0, 0.5), {"seed": 3, "steps": 6})
    save_weights(tmp_path / "junior.pt", pilot, network.state_dict())
    return tmp_path / "junior.pt"


def drawn_head(seed: int = 0) -> Head:
    rng = np.random.default_rng(seed)
    brain = np.zeros(CANVAS.shape, bool)
    brain[3:20, 4:28, 2:14] = True
    image = np.where(brain, rng.uniform(100, 500, CANVAS.shape), 0).astype(np.float32)
    return Head(image, brain, np.zeros_like(brain))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("shape", [(16, 16, 16), (24, 32, 16), (40, 8, 16)])
def test_a_logit_for_every_voxel(channels: int, shape: tuple[int, int, int]) -> None:
    network = PilotNetwork(channels)
    with torch.inference_mode():
        assert network(torch.randn(2, channels, *shape)).shape == (2, 1, *shape)


def test_blocks_of_voxels_come_back_to_their_places() -> None:
    x = torch.randn(2, 1, 8, 16, 24)
    blocks = _in_blocks(x)
    assert blocks.shape == (2, 8, 4, 8, 12) and torch.equal(_out_of_blocks(blocks), x)
    both = _in_blocks(torch.cat([x, -x], 1))
    assert both.shape == (2, 16, 4, 8, 12) and torch.equal(both[:, 0::2], -both[:, 1::2])


def test_an_input_is_z_scored_by_the_brain_and_mirrored() -> None:
    head = drawn_head()
    scored = zscored(head.image, head.brain)
    assert scored.dtype == np.float32 and not scored[~head.brain].any()
    assert scored[head.brain].mean() == pytest.approx(0, abs=1e-4)
    assert scored[head.brain].std() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(channels_of(scored, 2), np.stack([scored, scored[::-1]]))
    assert np.array_equal(channels_of(scored, 1), scored[None])


def test_logits_do_not_hang_on_the_side_nor_on_the_intensities(network: PilotNetwork) -> None:
    head = drawn_head()
    found = logits_of(network, head)
    assert found.shape == CANVAS.shape and found.dtype == np.float32 and found.std() > 1e-3
    mirrored = Head(head.image[::-1].copy(), head.brain[::-1].copy(), head.label[::-1].copy())
    assert np.allclose(logits_of(network, mirrored)[::-1], found, atol=1e-4)
    brighter = replace(head, image=np.where(head.brain, head.image * 7 + 20, 0).astype(np.float32))
    assert np.allclose(logits_of(network, brighter), found, atol=1e-3)


def test_weights_there_and_back(weights: Path, network: PilotNetwork) -> None:
    pilot, loaded = load_weights(weights)
    assert pilot == Pilot(CANVAS, 2, Gate((1.0, 0.5), -1.0, 0.5), {"seed": 3, "steps": 6})
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    assert not loaded.training
    assert np.allclose(logits_of(loaded, drawn_head()), logits_of(network, drawn_head()), atol=0.05)
    save_weights(weights, replace(pilot, gate=None), loaded.state_dict())
    again, same = load_weights(weights)
    assert again.gate is None
    assert np.array_equal(logits_of(same, drawn_head()), logits_of(loaded, drawn_head()))


def test_the_same_weights_are_the_same_bytes(weights: Path, network: PilotNetwork) -> None:
    before = digest_of(weights)
    pilot, _ = load_weights(weights)
    other = weights.with_name("other.pt")
    save_weights(other, pilot, network.state_dict())
    assert digest_of(other) == before
    save_weights(other, replace(pilot, gate=None), network.state_dict())
    assert digest_of(other) != before


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_any_other_file_is_one_clear_line(
    weights: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    whole, touched = weights.read_bytes(), tmp_path / "touched"
    found = torch.load(weights, weights_only=True)
    for content in (
        b"",
        b"no weights at all\n",
        whole[: len(whole) // 2],
        whole[:-10],
        pickle.dumps({"format": found["format"]}),
        pickle.dumps(Evil(touched)),
    ):
        weights.write_bytes(content)
        with pytest.raises(InputError, match="holds no weights of pilot_network.py, or is damaged"):
            load_weights(weights)
    foreign: list[object] = [
        Evil(touched),
        {"format": found["format"], "pilot": Evil(touched), "weights": found["weights"]},
        torch.nn.Linear(2, 2).state_dict(),
        [1, 2, 3],
        {**found, "format": "nnU-Net"},
        {**found, "pilot": "{"},
        {**found, "weights": dict(list(found["weights"].items())[1:])},
        {**found, "weights": {name: tensor[:1] for name, tensor in found["weights"].items()}},
    ]
    for thing in foreign:
        torch.save(thing, weights)
        with pytest.raises(InputError, match="holds no weights") as raised:
            load_weights(weights)
        assert str(weights) in str(raised.value) and "\n" not in str(raised.value)
    assert not touched.exists() and [str(w.message) for w in recwarn.list] == []
    with pytest.raises(InputError, match="no such file"):
        load_weights(tmp_path / "nowhere.pt")
    with pytest.raises(InputError, match="not a file but a folder"):
        load_weights(tmp_path)
