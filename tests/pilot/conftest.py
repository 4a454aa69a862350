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
