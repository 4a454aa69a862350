"""Random streams that hang on a seed and a name alone: not on order, workers or other cases."""

from __future__ import annotations

import hashlib
import os

import numpy as np


def case_generator(seed: int, case: str) -> np.random.Generator:
    """The random stream of one case: it depends on seed and name, not on order, workers or other cases."""
    digest = hashlib.sha256(case.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "little")])


def uniform(seed: int, name: str) -> float:
    """0 to 1, evenly spread over names."""
    return int.from_bytes(hashed(seed, name)[:8], "big") / 2**64


def hashed(seed: int, name: str) -> bytes:
    """32 bytes that hang on nothing else; the names of files need not be UTF-8."""
    return hashlib.sha256(b"%d " % seed + os.fsencode(name)).digest()
