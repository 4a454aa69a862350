"""Three-dimensional simplex noise on arrays, equal to `noise.snoise3` of the PyPI package noise.

Ken Perlin's simplex noise with the permutation of his reference implementation. The arithmetic is
float32 in the same order as in the C code of Casey Duncan's package (MIT, see LICENSE), so that shapes
can be compared with resector's, which calls it point by point.
"""

from __future__ import annotations

import numpy as np

# Ken Perlin's permutation of 0..255, written as hexadecimal.
_PERMUTATION = np.frombuffer(
    bytes.fromhex(
        "97a0895b5a0f830dc95f6035c2e907e18c24671e458e086325f0150a17be0694f778ea4b001ac53e5efcdbcb75230b20"
        "39b12158ed953857ae147d88aba844af4aa547868b301ba64d929ee7536fe57a3cd385e6dc695c29372ef528f4668f36"
        "41193fa101d85049d14c84bbd05912a9c8c4878274bc9f56a4646dc6adba034034d9e2fa7c7b05ca2693767eff5255d4"
        "cfce3be32f103a11b6bd1c2adfb7aad577f898022c9aa346dd99659ba72bac09811627fd13626c6e4f71e0e8b2b97068"
        "daf661e4fb22f2c1eed2900cbfb3a2f1513391ebf90eef6b31c0d61fb5c76a9db854ccb07379322d7f0496fe8aeccd5d"
        "de72431d1848f38d80c34e42d73d9cb4"
    ),
    dtype=np.uint8,
)
_TABLE = np.concatenate([_PERMUTATION, _PERMUTATION]).astype(np.intp)
_EDGES = np.array(
    [
        (1, 1, 0), (-1, 1, 0), (1, -1, 0), (-1, -1, 0),
        (1, 0, 1), (-1, 0, 1), (1, 0, -1), (-1, 0, -1),
        (0, 1, 1), (0, -1, 1), (0, 1, -1), (0, -1, -1),
    ],
    dtype=np.float32,
)  # fmt: skip
_GRADIENT = np.ascontiguousarray(_EDGES[_TABLE % 12].T)  # (3, 512): gradient of a hashed corner
_F = np.float32
_THIRD, _SIXTH = _F(1) / _F(3), _F(1) / _F(6)
_CHUNK = 1 << 13  # points whose temporaries stay in the processor's cache


def simplex_noise(points: np.ndarray, octaves: int = 1) -> np.ndarray:
    """Fractal simplex noise, float32 (n,), at `points` (n, 3).

    Each octave has twice the frequency and half the height of the one before.
    """
    points = np.ascontiguousarray(np.asarray(points, dtype=np.float32).T)
    out = np.empty(points.shape[1], dtype=np.float32)
    for start in range(0, len(out), _CHUNK):
        part = points[:, start : start + _CHUNK]
        total, height, sum_of_heights = _one_octave(part), _F(1), _F(1)
        for octave in range(1, octaves):
            height *= _F(0.5)
            sum_of_heights += height
            total += _one_octave(part * _F(2**octave)) * height
        out[start : start + _CHUNK] = total / sum_of_heights
    return out


def _one_octave(points: np.ndarray) -> np.ndarray:
    x, y, z = points
    skew = (x + y + z) * _THIRD
    cell = [np.floor(axis + skew) for axis in points]
    unskew = (cell[0] + cell[1] + cell[2]) * _SIXTH
    x0, y0, z0 = (axis - (c - unskew) for axis, c in zip(points, cell, strict=True))
    i, j, k = (c.astype(np.int32).astype(np.intp) & 255 for c in cell)

    # Which of the six tetrahedra of the cell: the second corner steps along the largest coordinate,
    # the third along the two largest.
    xy, yz, xz = x0 >= y0, y0 >= z0, x0 >= z0
    i1, j1 = xy & xz, ~xy & yz
    k1 = ~(i1 | j1)
    i2, j2, k2 = xy | xz, ~xy | yz, ~(xz & yz)

    total = _corner(x0, y0, z0, _hash(i, j, k))
    total += _corner(x0 - i1 + _SIXTH, y0 - j1 + _SIXTH, z0 - k1 + _SIXTH, _hash(i + i1, j + j1, k + k1))
    two = _F(2) * _SIXTH
    total += _corner(x0 - i2 + two, y0 - j2 + two, z0 - k2 + two, _hash(i + i2, j + j2, k + k2))
    half = _F(3) * _SIXTH
    total += _corner(x0 - _F(1) + half, y0 - _F(1) + half, z0 - _F(1) + half, _hash(i + 1, j + 1, k + 1))
    return total * _F(32)


def _hash(i: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
    return i + _TABLE.take(j + _TABLE.take(k))


def _corner(x: np.ndarray, y: np.ndarray, z: np.ndarray, hashed: np.ndarray) -> np.ndarray:
    """Contribution of one corner at offset (x, y, z)."""
    falloff = np.maximum(_F(0.6) - x * x - y * y - z * z, _F(0))
    gx, gy, gz = (along.take(hashed) for along in _GRADIENT)  # many times faster than indexing
    return falloff * falloff * falloff * falloff * (x * gx + y * gy + z * gz)
