"""Small heads of 3 mm and a network that a few steps have trained, for the tests that have torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pilot_network
from tests.conftest import write_head

SMALL: dict[str, Any] = {"size_mm": (96.0, 114.0, 90.0), "spacing": (3.0, 3.0, 3.0)}
QUICK = ["--threads", 1, "--min-volume", 4000, "--max-volume", 12000, "--distractors", 0]


def run(*options: object) -> int:
    return pilot_network.main([str(option) for option in options])


def train(weights: Path, *options: object, steps: int = 3) -> int:
    return run("train", weights, "--iterations", steps, *QUICK, *options)


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tumour-free subjects: too few for a gate; not to be changed."""
    folder = tmp_path_factory.mktemp("healthy")
    for seed in range(3):
        write_head(folder / f"h{seed}", "RAS" if seed else "LPS", seed=seed, **SMALL)
    return folder


@pytest.fixture(scope="session")
def junior(healthy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights after three steps; not to be changed."""
    weights = tmp_path_factory.mktemp("weights") / "junior.pt"
    assert train(weights, "--healthy", healthy, "--quiet") == 0
    return weights


def brightness(path: Path, level: float = 3.0, factor: float = 3.0) -> Path:
    """Weights by which bright voxels are marked, each by itself: all other convolutions are zero."""
    import torch

    from synthtumour.pilot.canvas import Canvas
    from synthtumour.pilot.network import Pilot, PilotNetwork, save_weights

    network = PilotNetwork(2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        for n in range(8):  # the voxels of a block, whose second channel is the brain's other side
            sources = iter((2 * n, n, n, n))
            for block in (network.down[0], network.up[0]):
                for convolution, norm in ((block[0], block[1]), (block[3], block[4])):
                    convolution.weight[n, next(sources), 1, 1, 1] = 1
                    norm.weight[n] = 1
            network.head.weight[n, n] = factor
        network.head.bias.fill_(-factor * level)
    save_weights(path, Pilot(Canvas((32, 40, 32), 3.0), 2, None), network.state_dict())
    return path
