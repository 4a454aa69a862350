"""Random streams hang on a seed and a name alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np

from synthtumour.streams import case_generator, hashed, uniform
from tests.conftest import ROOT


def test_a_stream_is_the_same_in_another_process() -> None:
    """Python salts its own hash of words for each process."""
    code = "from synthtumour.streams import *; print(case_generator(3, 'a').random(), uniform(3, 'a'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert said == {f"{case_generator(3, 'a').random()} {uniform(3, 'a')}\n"}


def test_seeds_and_names_have_streams_of_their_own() -> None:
    drawn = [case_generator(seed, name).random(4).tolist() for seed in (0, 1) for name in ("a", "b", "a_v01")]
    assert len({tuple(numbers) for numbers in drawn}) == 6


def test_uniform_over_names() -> None:
    drawn = np.array([uniform(7, f"s{n}") for n in range(4000)])
    assert 0 <= drawn.min() < 0.01 and 0.99 < drawn.max() < 1
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 320  # of 400: four standard deviations below


def test_names_need_not_be_utf_8() -> None:
    assert hashed(5, "caf\udce9") == hashlib.sha256(b"5 caf\xe9").digest()
