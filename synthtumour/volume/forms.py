"""What a NIfTI-1 header says of space: voxel sizes, units, and its two forms, qform and sform."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

# Where it lies in the header, with struct's types: qfac and voxel sizes, unit, codes, qform, sform.
_PIXDIM, _UNITS, _CODES, _QFORM, _SFORM = (76, "4f"), (123, "B"), (252, "2h"), (256, "6f"), (280, "12f")
_LENGTH, _TIME = 0b111, 0b111000  # the bits of the unit that are a length's, and those of a time's
_SECONDS = 8
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}  # metres and micrometres; all else is taken for mm
_MM = 2
_SCANNER = (1, 1)
_SAME = 1e-6  # float32 keeps no more
_ROUNDING = 2 * float(np.finfo(np.float32).eps)  # of a sum of three squares, and of what it is made from


@dataclass(frozen=True)
class NiftiGeometry:
    """The geometry of a NIfTI-1 header, in the header's own unit of length."""

    pixdim: tuple[float, ...]
    units: int
    codes: tuple[int, ...]  # of qform and sform; zero: there is none
    quaternion: tuple[float, ...]  # and the offset
    rows: tuple[float, ...]

    @classmethod
    def of(cls, header: bytes, order: str) -> NiftiGeometry:
        """That of the first 328 bytes; `order` is struct's sign of the byte order."""
        pixdim, (units,), *rest = (
            struct.unpack_from(order + kind, header, at)
            for at, kind in (_PIXDIM, _UNITS, _CODES, _QFORM, _SFORM)
        )
        return cls(pixdim, units, *rest)

    def put_into(self, header: bytearray) -> None:
        """Make it that of a little-endian header, whose unit of time stays where there is none here."""
        time = self.units & _TIME or header[_UNITS[0]] & _TIME
        units = self.units & _LENGTH | time
        for (at, kind), values in (
            (_PIXDIM, self.pixdim),
            (_UNITS, (units,)),
            (_CODES, self.codes),
            (_QFORM, self.quaternion),
            (_SFORM, self.rows),
        ):
            struct.pack_into("<" + kind, header, at, *values)

    def says_only(self, affine: np.ndarray) -> bool:
        """Whether it is what ITK writes of `affine` (4, 4), to RAS mm: both forms, as scanner space."""
        if self.units & _LENGTH != _MM or self.codes != _SCANNER:
            return False
        if self.units & _TIME not in (0, _SECONDS):  # seconds are what ITK writes, whatever it has read
            return False
        sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        pairs = [(np.array(self.pixdim[1:]), sizes), *((form, affine) for form in self.forms().values())]
        return all(np.allclose(mine, its, rtol=_SAME, atol=_SAME * sizes.min()) for mine, its in pairs)

    def forms(self) -> dict[str, np.ndarray]:
        """The forms that it has, qform before sform: affines (4, 4) from the stored index to RAS mm."""
        made = {"qform": self._from_quaternion, "sform": self._from_rows}
        return {name: made[name]() for name, code in zip(made, self.codes, strict=True) if code > 0}

    def forms_apart_mm(self, shape: tuple[int, ...]) -> float:
        """How far its two forms set the corners of an array of `shape` apart at most; NaN if one is none.

        What float32 leaves open of the qform's turn is taken from the sform.
        """
        sform = self._from_rows()
        return apart_mm(self._from_quaternion(sform), sform, shape)

    def _from_rows(self) -> np.ndarray:
        return self._in_mm(np.reshape(self.rows, (3, 4)))

    def _from_quaternion(self, near: np.ndarray | None = None) -> np.ndarray:
        """By the formula of the standard (nifti1.h, method 2), or the turn `near` another form's (4, 4).

        The first component is the root of what the other three leave of 1: where that is next to nothing,
        close to half a turn, their rounding leaves it open.
        """
        vector, offset = np.array(self.quaternion[:3]), self.quaternion[3:]
        square = 1 - vector @ vector
        if square < 1e-7:  # half a turn
            vector, square = vector / np.linalg.norm(vector), 0.0
        (b, c, d), a = vector, np.sqrt(square)
        if near is not None and vector.any():
            with np.errstate(divide="ignore", invalid="ignore"):  # no axis, no turn: NaN
                turn = self._handed(near[:3, :3] / np.linalg.norm(near[:3, :3], axis=0))
            wanted = (turn - turn.T)[[2, 0, 1], [1, 2, 0]] @ vector / (4 * vector @ vector)
            most = np.sqrt(square + _ROUNDING)
            least = np.sqrt(square - _ROUNDING) if square > _ROUNDING else -most
            a = np.clip(wanted, least, most)
        turned = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        return self._in_mm(np.column_stack([self._handed(turned) * self.pixdim[1:], offset]))

    def _handed(self, axes: np.ndarray) -> np.ndarray:
        """The columns of `axes` (3, 3) with the third reversed where the header says so (qfac)."""
        return axes * (1, 1, -1 if self.pixdim[0] < 0 else 1)

    def _in_mm(self, rows: np.ndarray) -> np.ndarray:
        return np.vstack([rows * _MM_OF_UNIT.get(self.units & _LENGTH, 1.0), [0, 0, 0, 1]])


def apart_mm(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two affines (4, 4) set the corners of an array of `shape` apart at most; NaN if one is none."""
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape), [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())


def off_right_angles_deg(axes: np.ndarray) -> float:
    """How far the columns of `axes` (3, 3) are from right angles to each other, at most, in degrees."""
    unit = axes / np.linalg.norm(axes, axis=0)
    return float(np.degrees(np.arcsin(np.abs(unit.T @ unit - np.eye(3)).max().clip(0, 1))))
