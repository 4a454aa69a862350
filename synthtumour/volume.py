"""Scans as arrays with a place in the world: reading, atomic writing, grids that must agree.

One axis convention holds in the whole package. Arrays are indexed [i, j, k], the axes ordered and flipped
so that they run closest to Right, Anterior, Superior ("canonical"), whatever the order in the file;
world coordinates are RAS in mm. Files are read and written by SimpleITK in the order they came in.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import math
import os
import re
import shutil
import signal
import stat
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from synthtumour.lock import locked

EXTENSIONS = (".nii.gz", ".nii", ".mha", ".nrrd")
STAGING = ".synthtumour-"  # begins the names of folders for files that are being written
_LOCK, _ASIDE = ".lock", ".before"  # in such a folder: its lock, and the file that is being replaced
_UNKNOWN = f"unknown image extension; use one of {', '.join(EXTENSIONS)}"
_NOT_GREY = "has colour, vector or complex voxels, or of an unknown type; a greyscale scan is needed"
_SHEARED = "its axes are not at right angles to each other; resample it"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# What ITK may carry from one NIfTI header to the next; everything else follows from the new array.
_KEPT_METADATA = ("qform_code_name", "sform_code_name", "descrip", "xyzt_units")
# Byte ranges of a NIfTI-1 header: qfac and spacing; qform and sform with their codes.
_NIFTI_GEOMETRY = (slice(76, 92), slice(252, 328))
# Larger than a whole brain at 0.25 mm: a header that promises more is damaged, or means harm.
MOST_VOXELS = 500_000_000
_SPACING_MM = (0.01, 100.0)
_PIXEL_TYPES = {  # and their bytes
    sitk.sitkUInt8: 1,
    sitk.sitkInt8: 1,
    sitk.sitkUInt16: 2,
    sitk.sitkInt16: 2,
    sitk.sitkUInt32: 4,
    sitk.sitkInt32: 4,
    sitk.sitkUInt64: 8,
    sitk.sitkInt64: 8,
    sitk.sitkFloat32: 4,
    sitk.sitkFloat64: 8,
}
# ITK would choose by the content too: a file that only says it is NIfTI must not reach another reader.
_READERS = {".nii": "NiftiImageIO", ".mha": "MetaImageIO", ".nrrd": "NrrdImageIO"}
_LONGEST_HEADER = 65536  # of the text that an .mha or .nrrd file begins with
_LONGEST_FIELD = 500  # of an .nrrd header: ITK's reader of NRRD writes its complaints into so much memory
_MHA_FIELD = rb"^\s*%s\s*[=:]\s*([^\r\n]*?)\s*$"
_GZIP_AT_BEST = 1032  # bytes from one
# By header size (NIfTI-1, NIfTI-2), where is what: the magic; with struct's types, voxel type, voxel sizes,
# offset of the voxels, codes of qform and sform, the sform.
_NIFTI = {
    348: (344, (70, "h"), (80, "3f"), (108, "f"), (252, "2h"), (280, "12f")),
    540: (4, (12, "h"), (112, "3d"), (168, "q"), (344, "2i"), (400, "12d")),
}
_NIFTI_VOXEL_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}


class InputError(ValueError):
    """What the user gave cannot be used: the message says what, which file, and what to do."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Canonical voxel grid: `shape` (i, j, k) and `affine` (4, 4) from voxel index to RAS mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size (3,) in mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_mm)) / 1000

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors (3, 3) of the grid's axes as columns, in RAS."""
        return self.affine[:3, :3] / self.spacing_mm

    def to_ras(self, index: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) of voxel indices (..., 3)."""
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, ras_mm: np.ndarray) -> np.ndarray:
        """Continuous voxel indices (..., 3) of RAS mm, with the rounding noise of file headers removed.

        Headers hold float32, so the same head stored in another order places its voxels some 1e-5 mm
        apart; a thousandth of a voxel is what still means something.
        """
        inverse = np.linalg.inv(self.affine[:3, :3])
        return np.round((np.asarray(ras_mm) - self.affine[:3, 3]) @ inverse.T, 3)

    def cropped(self, box: tuple[slice, slice, slice]) -> Grid:
        """The grid of the voxels in `box`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras(np.array([s.start for s in box]))
        i, j, k = (s.stop - s.start for s in box)
        return Grid((i, j, k), affine)

    def differences(self, other: Grid) -> str:
        """What differs from `other` by more than a hundredth of a voxel, in words; '' if nothing does."""
        said = []
        if self.shape != other.shape:
            said.append(f"size {_text(self.shape)} against {_text(other.shape)}")
        tolerance = 0.01 * self.spacing_mm.min()
        for name, mine, theirs, scale in (
            ("spacing", self.spacing_mm, other.spacing_mm, max(self.shape)),
            ("origin", self.affine[:3, 3], other.affine[:3, 3], 1),
            ("axes", self.axes.ravel(), other.axes.ravel(), float(max(self.shape * self.spacing_mm))),
        ):
            if np.abs(mine - theirs).max() * scale > tolerance:
                said.append(f"{name} {_text(mine)} against {_text(theirs)}")
        return ", ".join(said)


@dataclass(frozen=True, eq=False)
class _Stored:
    """How a file keeps its voxels: what is needed to write a canonical array back in the same way."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    axes: tuple[int, int, int]  # canonical axis n is file axis axes[n] ...
    flipped: tuple[bool, bool, bool]  # ... run backwards where flipped[n]
    metadata: dict[str, str] = field(default_factory=dict)
    nifti_geometry: tuple[bytes, ...] = ()

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(self.axes)[self._flips()]

    def from_canonical(self, array: np.ndarray) -> np.ndarray:
        return array[self._flips()].transpose(np.argsort(self.axes))

    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if f else slice(None) for f in self.flipped)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a mask: `array` [i, j, k] in canonical order on `grid`, and how its file stores it."""

    array: np.ndarray
    grid: Grid
    _stored: _Stored

    def with_array(self, array: np.ndarray) -> Volume:
        """A volume on the same grid with another canonical `array`; bool becomes uint8."""
        if array.shape != self.grid.shape:
            raise ValueError(f"array of shape {array.shape} on a grid of shape {self.grid.shape}")
        return replace(self, array=array.astype(np.uint8) if array.dtype == bool else array)

    def resized(self, factor: float) -> Volume:
        """The same voxels, all lengths and coordinates multiplied by `factor`."""
        if factor == 1:
            return self
        affine = self.grid.affine.copy()
        affine[:3] *= factor
        spacing, origin = (
            tuple(factor * x for x in lengths) for lengths in (self._stored.spacing, self._stored.origin)
        )
        stored = replace(self._stored, spacing=spacing, origin=origin, nifti_geometry=())
        return Volume(self.array, Grid(self.grid.shape, affine), stored)

    @classmethod
    def from_image(cls, image: sitk.Image) -> Volume:
        """Volume of a three-dimensional scalar SimpleITK image; its voxels are copied."""
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        metadata = {key: image.GetMetaData(key) for key in _KEPT_METADATA if image.HasMetaDataKey(key)}
        return cls._placed(array, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), metadata)

    @classmethod
    def from_array(cls, array: np.ndarray, affine: np.ndarray) -> Volume:
        """Volume of `array` in any order of axes, not copied; `affine` (4, 4) from its index to RAS mm."""
        spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        direction = (_LPS_TO_RAS @ affine[:3, :3] / spacing).ravel()
        origin = _LPS_TO_RAS @ affine[:3, 3]
        return cls._placed(array, tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.tolist()))

    @classmethod
    def _placed(
        cls,
        array: np.ndarray,
        spacing: tuple[float, ...],
        origin: tuple[float, ...],
        direction: tuple[float, ...],
        metadata: dict[str, str] | None = None,
    ) -> Volume:
        """Volume of an array in stored order, with ITK's geometry (LPS)."""
        to_ras = _LPS_TO_RAS @ np.array(direction).reshape(3, 3)
        axes = _closest_axes(to_ras)
        right, anterior, superior = (bool(to_ras[n, axis] < 0) for n, axis in enumerate(axes))
        flipped = (right, anterior, superior)
        stored = _Stored(spacing, origin, direction, axes, flipped, metadata or {})
        affine = np.eye(4)
        affine[:3, :3] = to_ras * spacing
        affine[:3, 3] = _LPS_TO_RAS @ np.array(origin)
        first_voxel = np.zeros(3)
        for axis, flip in zip(axes, flipped, strict=True):
            first_voxel[axis] = array.shape[axis] - 1 if flip else 0
        affine[:3, 3] += affine[:3, :3] @ first_voxel
        affine[:3, :3] = affine[:3, axes] * np.where(flipped, -1, 1)
        canonical = stored.to_canonical(array)
        return cls(canonical, Grid(canonical.shape, affine), stored)

    def in_stored_order(self) -> np.ndarray:
        """The array with its axes as the file, or the array it was made from, has them: a view."""
        return self._stored.from_canonical(self.array)

    def to_image(self) -> sitk.Image:
        """SimpleITK image in the stored order, with the stored geometry."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.in_stored_order().transpose(2, 1, 0)))
        image.SetSpacing(self._stored.spacing)
        image.SetOrigin(self._stored.origin)
        image.SetDirection(self._stored.direction)
        for key, value in self._stored.metadata.items():
            image.SetMetaData(key, value)
        return image


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a three-dimensional scalar image: .nii, .nii.gz, .mha or .nrrd, in one file.

    The header is looked at before anything is allocated. Raises InputError for a file that is missing, no
    regular file, damaged, not an image, not three-dimensional, of more than MOST_VOXELS, or whose header and
    voxels disagree.
    """
    path = Path(path)
    check_file(path)
    extension = _extension(path)
    nifti = _nifti_header(path) if extension in (".nii", ".nii.gz") else None
    if nifti is None:
        _check_one_file(path, extension)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READERS[extension.removesuffix(".gz")])
    reader.SetFileName(str(path))
    try:
        with _silent_stderr():
            reader.ReadImageInformation()
            _check_promises(path, reader, nifti)
            if extension == ".mha":
                _check_mha_voxels(path, reader)
            image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        reason = "not an image that SimpleITK can read, or damaged or cut short; copy or convert it again"
        if "orthonormal" in str(error):
            reason = _SHEARED
        raise InputError(f"{path}: {reason}") from error
    if nifti is None:
        return Volume.from_image(image)
    content = _header_of_faithful_read(path, image)
    if content is None:
        content = _whole_nifti(path, image, nifti)
        image = _with_lost_values(image, content, nifti)
    volume = Volume.from_image(image)
    is_nifti1 = content[:4] == (348).to_bytes(4, "little")
    geometry = tuple(bytes(content[where]) for where in _NIFTI_GEOMETRY) if is_nifti1 else ()
    return replace(volume, _stored=replace(volume._stored, nifti_geometry=geometry))


def check_output(path: Path, *inputs: Path | None) -> None:
    """Raise InputError unless `path` can be written and is none of `inputs`."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written; choose another output path")
    for other in inputs:
        if other is not None and path.exists() and other.exists() and path.samefile(other):
            raise InputError(f"{path}: output would overwrite the input {other}; choose another output path")


def extension_of(path: str | os.PathLike[str]) -> str:
    """The image extension of `path`, '.nii.gz' in one piece; InputError if it is none we write."""
    name = Path(path).name
    for extension in EXTENSIONS:
        if name.endswith(extension) and len(name) > len(extension):
            return extension
    raise InputError(f"{path}: {_UNKNOWN}")


def write_volumes(volumes: Mapping[str | os.PathLike[str], Volume]) -> None:
    """Write all `volumes` beside their paths first, then move all into place: none is ever half there."""
    by_path = {Path(path): volume for path, volume in volumes.items()}
    with staged_outputs(by_path) as partial:
        for path, volume in by_path.items():
            write_in_place(volume, partial[path])


@contextlib.contextmanager
def staged_outputs(paths: Iterable[Path]) -> Iterator[dict[Path, Path]]:
    """A temporary file for each of `paths`; on success all take their names, on any error none does.

    Each lies in a folder of our own beside its path, so on the same file system, and is on the disk before
    the first takes its name: a power cut leaves no half file under a final name either. The folders' names
    follow from the paths, so that the next run takes up and clears away what a killed one has left.
    Raises InputError if the disk refuses, or another process is writing one of `paths`.
    """
    paths = list(paths)
    with contextlib.ExitStack() as stack:
        try:
            with _undisturbed():
                folders = [stack.enter_context(_staging_folder(path)) for path in paths]
            partial = {path: folder / path.name for path, folder in zip(paths, folders, strict=True)}
            yield partial
            for temporary in partial.values():
                sync(temporary)
            if len(paths) == 1:
                os.replace(partial[paths[0]], paths[0])
            else:
                aside = {path: folder / _ASIDE for path, folder in zip(paths, folders, strict=True)}
                with _undisturbed():
                    _replace_all(partial, aside)
        except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError when it cannot write
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
            raise InputError(f"cannot write {', '.join(map(str, paths))}: {reason}") from error
        finally:
            with _undisturbed():
                stack.close()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _: waiting.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in waiting:
            signal.raise_signal(came)


def _replace_all(partial: Mapping[Path, Path], aside: Mapping[Path, Path]) -> None:
    """Give every file its name, or leave all as it was; killed half-way, no old file is beside a new one."""
    try:
        for path in partial:
            if path.is_file():
                os.replace(path, aside[path])
        for path, temporary in partial.items():
            os.replace(temporary, path)
    except BaseException:
        for path, temporary in partial.items():
            if aside[path].exists():
                os.replace(aside[path], path)
            elif not temporary.exists():
                path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` for this process alone; it is gone at the end."""
    folder = staging_folder(path)
    with contextlib.ExitStack() as stack:
        while True:
            folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was just leaving it
                if any(folder.iterdir()) and not (folder / _LOCK).exists():
                    raise FileExistsError(f"{folder} is in the way; it is not of this program, so move it")
                stack.enter_context(locked(folder / _LOCK))
                break
        ours = (folder / path.name, folder / _ASIDE, _uncompressed(folder / path.name))
        for leftover in ours:
            leftover.unlink(missing_ok=True)
        try:
            yield folder
        finally:
            for leftover in ours:
                leftover.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def staging_folder(path: Path) -> Path:
    """The folder beside `path` where it is written before it takes its name."""
    return path.with_name(f"{STAGING}{_digest(path.name)}")


def sync(path: Path) -> None:
    """Wait until `path` is on the disk, which also brings up what a network file system has yet to refuse."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _uncompressed(path: Path) -> Path:
    return path.with_name(f"{_digest(path.name)}.nii")


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def write_in_place(volume: Volume, path: Path) -> None:
    """Write `volume` to `path` as it is; for whoever stages the file (`staged_outputs`).

    Raises OSError or, from SimpleITK, RuntimeError if it cannot be written.
    """
    _check_name(path)
    extension_of(path)
    image, name = volume.to_image(), path.name.lower()
    compress = not name.endswith(".nii")
    source = volume._stored.nifti_geometry
    if not source or not name.endswith((".nii", ".nii.gz")) or not _is_oblique(volume.grid):
        _write(image, path, compress)
        return
    # NIfTI keeps oblique axes as float32 quaternions and ITK rounds them anew at each writing, so they
    # drift by a bit in the last place. The source's own bytes go back in their place.
    uncompressed = _uncompressed(path)
    try:
        _write(image, uncompressed, compress=False)
        content = bytearray(uncompressed.read_bytes())
    finally:
        uncompressed.unlink(missing_ok=True)
    for where, original in zip(_NIFTI_GEOMETRY, source, strict=True):
        content[where] = original
    path.write_bytes(gzip.compress(content, compresslevel=4, mtime=0) if compress else content)


def _write(image: sitk.Image, path: Path, compress: bool) -> None:
    """Write an image and make sure of it: on a full disk ITK cuts NIfTI and NRRD short and says nothing."""
    with _silent_stderr():  # ITK remarks on metadata that other formats do not keep
        sitk.WriteImage(image, str(path), useCompression=compress)
    name, whole = path.name.lower(), False
    if name.endswith(".nii.gz"):
        whole = _header_of_faithful_read(path, image) is not None
    elif name.endswith(".nii"):
        length = sitk.GetArrayViewFromImage(image).nbytes
        with contextlib.suppress(InputError):
            whole = path.stat().st_size == _nifti_header(path).offset + length
    elif name.endswith(".nrrd"):
        _, _, voxels = path.read_bytes().partition(b"\n\n")
        with contextlib.suppress(EOFError, zlib.error):
            whole = gzip.decompress(voxels) == sitk.GetArrayViewFromImage(image).tobytes()
    else:  # ITK tells of MHA
        whole = True
    if not whole:
        full = shutil.disk_usage(path.parent).free < sitk.GetArrayViewFromImage(image).nbytes
        code = errno.ENOSPC if full else errno.EFBIG
        raise OSError(code, os.strerror(code), str(path))


def _header_of_faithful_read(path: Path, image: sitk.Image) -> bytes | None:
    """The first bytes of a .nii.gz file if they and the voxels of `image` have the sum that its gzip records.

    That is proof, without decompressing it again, that the file is whole and that ITK took its voxels as they
    are. None if it cannot be had so simply: no compression, scaled voxels, the other byte order, damage.
    """
    try:
        with path.open("rb") as file:
            header = zlib.decompressobj(31).decompress(file.read(4096), 1024)
            file.seek(-8, os.SEEK_END)
            recorded, length = struct.unpack("<II", file.read(8))
        offset = int(struct.unpack_from("<f", header, 108)[0])
    except (OSError, zlib.error, struct.error, ValueError, OverflowError):
        return None
    voxels = sitk.GetArrayViewFromImage(image)
    if not 348 <= offset <= len(header) or (offset + voxels.nbytes) % 2**32 != length:
        return None
    return header if zlib.crc32(voxels.data, zlib.crc32(header[:offset])) == recorded else None


def _whole_nifti(path: Path, image: sitk.Image, header: _NiftiHeader) -> bytes:
    """The uncompressed bytes of a NIfTI file from which ITK has read `image`.

    ITK fills what is missing of a damaged file with zeros and says nothing, so this reads it to its end
    (gzip checks its sum on the way) and raises InputError if it is shorter or longer than the header says.
    """
    voxel_bytes = image.GetNumberOfPixels() * header.voxel_bytes
    content = _first_bytes(path, header.offset + voxel_bytes + 1)
    if len(content) <= header.offset + voxel_bytes - 1:
        raise InputError(f"{path}: cut short, only {len(content)} bytes; copy it again")
    if len(content) > header.offset + voxel_bytes:
        raise InputError(
            f"{path}: damaged, or size or data type of its header are wrong: more follows the {voxel_bytes} "
            "bytes of voxels that it promises; copy or convert it again"
        )
    return content


def _first_bytes(path: Path, count: int) -> bytes:
    """The first `count` bytes, uncompressed, of a NIfTI file; InputError if it is damaged."""
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            return file.read(count)
    except gzip.BadGzipFile as error:
        raise InputError(
            f"{path}: not an image compressed by gzip, or damaged ({error}); copy it again"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); copy it again") from error


@dataclass(frozen=True)
class _NiftiHeader:
    """Where and how a NIfTI file keeps its voxels; `order` is struct's sign of the byte order."""

    order: str
    type_code: int
    voxel_bytes: int
    offset: int
    spacing: np.ndarray  # (3,) as the header has it, in its own unit of length
    sform: np.ndarray | None  # (3, 3) if ITK places the scan by it


def _nifti_header(path: Path) -> _NiftiHeader:
    """The header of a NIfTI file; InputError for what ITK would silently take for something else."""
    content = _first_bytes(path, max(_NIFTI))
    order, size = next(
        ((o, n) for o in "<>" for n in _NIFTI if content[:4] == struct.pack(f"{o}i", n)),
        ("", len(content) + 1),
    )
    if len(content) < size:
        raise InputError(f"{path}: not a NIfTI image, or damaged or cut short; copy or convert it again")
    magic_at, *fields = _NIFTI[size]
    (type_code,), spacing, (offset,), (qform, sform), rows = (
        struct.unpack_from(order + kind, content, at) for at, kind in fields
    )
    if content[magic_at : magic_at + 2] != b"n+":
        raise InputError(f"{path}: its voxels lie in another file, or it is no NIfTI; convert it to one file")
    if type_code not in _NIFTI_VOXEL_BYTES:
        raise InputError(f"{path}: {_NOT_GREY}")
    # The header ends with four bytes that say whether extensions follow.
    if not (offset >= size + 4 and offset < 2**31 and offset == int(offset)):
        raise InputError(f"{path}: its voxels cannot begin at byte {offset:g}; the header is damaged")
    # ITK's choice between the two
    affine = np.reshape(rows, (3, 4))[:, :3] if sform > 0 and (qform <= 0 or sform == 1) else None
    return _NiftiHeader(
        order, type_code, _NIFTI_VOXEL_BYTES[type_code], int(offset), np.array(spacing), affine
    )


def _check_promises(path: Path, reader: sitk.ImageFileReader, nifti: _NiftiHeader | None) -> None:
    """Raise InputError unless the header that `reader` has read is that of a scan we can use."""
    size, spacing = reader.GetSize(), np.array(reader.GetSpacing())
    if reader.GetDimension() != 3 or 1 in size:
        raise InputError(f"{path}: size {_text(size)}; a single three-dimensional scan is needed")
    if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() not in _PIXEL_TYPES:
        raise InputError(f"{path}: {_NOT_GREY}")
    voxels = math.prod(size)
    if voxels > MOST_VOXELS:
        raise InputError(
            f"{path}: promises {voxels} voxels (size {_text(size)}), more than {MOST_VOXELS}; "
            "resample or crop it"
        )
    if path.name.lower().endswith(".gz") and nifti and voxels * nifti.voxel_bytes > _most_bytes(path):
        raise InputError(f"{path}: cut short, too small to hold {voxels} voxels; copy it again")
    if nifti is not None and not (np.all(np.isfinite(nifti.spacing)) and np.all(nifti.spacing > 0)):
        spacing = nifti.spacing  # of which ITK has made 1 mm and says nothing
    low, high = _SPACING_MM
    if not np.all((low <= spacing) & (spacing <= high)):
        raise InputError(
            f"{path}: voxels of {_text(spacing)} mm; sizes from {low:g} to {high:g} mm are needed; correct "
            "the header or convert it again"
        )
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    if not np.all(np.isfinite([*direction.ravel(), *reader.GetOrigin()])):
        raise InputError(
            f"{path}: its place in space is not a number; correct the header or convert it again"
        )
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-2:
        raise InputError(f"{path}: {_SHEARED}")
    if nifti is not None and nifti.sform is not None:
        by_sform = np.sqrt((nifti.sform**2).sum(axis=0))
        if np.abs(by_sform / nifti.spacing - 1).max() > 0.01:
            raise InputError(
                f"{path}: voxel sizes {_text(nifti.spacing)} and sform {_text(by_sform)} disagree; "
                "correct the header or convert it again"
            )


def _most_bytes(path: Path) -> int:
    """How many bytes a gzip file of this length can hold."""
    return _GZIP_AT_BEST * path.stat().st_size


def _check_one_file(path: Path, extension: str) -> None:
    """Raise InputError for an .mha or .nrrd header that ITK must not see.

    It may lead to other files, which may be anybody's; and a few kinds of nonsense in it end the process.
    """
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    if extension == ".mha":
        end = re.search(_MHA_FIELD % b"ElementDataFile", head, re.MULTILINE)  # of the header, for ITK too
        inside = end is not None and end[1].upper() == b"LOCAL"
        if end and inside and re.findall(_MHA_FIELD % b"NDims", head[: end.start()], re.MULTILINE) != [b"3"]:
            raise InputError(f"{path}: its NDims is not 3; a single three-dimensional scan is needed")
    else:
        text = re.match(rb"NRRD.*?\r?\n\r?\n", head, re.DOTALL)
        lines = text[0].splitlines() if text else []
        inside = bool(lines) and not any(re.match(rb"\s*data ?file\s*:", line, re.I) for line in lines)
        free = re.compile(rb"#|content:|[^:]*:=")  # comments, and keys of one's own
        if any(len(line) > _LONGEST_FIELD and not free.match(line) for line in lines):
            raise InputError(f"{path}: its header has a field of endless length; convert it again")
    if not inside:
        raise InputError(f"{path}: damaged, or its voxels lie in another file; convert it to one file")


def _check_mha_voxels(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise InputError unless an .mha file holds as many bytes of voxels as its header promises, and no more.

    ITK takes whatever lies in memory for those that are missing of a compressed file, and says nothing.
    """
    promised = math.prod(reader.GetSize()) * _PIXEL_TYPES[reader.GetPixelID()]
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
        end = re.search(_MHA_FIELD % b"ElementDataFile", head, re.MULTILINE)
        assert end is not None  # _check_one_file has seen it
        begin = head.find(b"\n", end.end(1)) + 1
        left = path.stat().st_size - begin

        def values(name: bytes) -> list[bytes]:
            return re.findall(_MHA_FIELD % name, head[: end.start()], re.MULTILINE)

        # ITK leaves HeaderSize out; any other would make it read from elsewhere in the file
        whole = begin > 0 and set(values(b"HeaderSize")) <= {b"0", b"-1"}
        if any(value[:1] in (b"T", b"t", b"1") for value in values(b"CompressedData")):
            file.seek(begin)
            # without this field ITK inflates nothing, and without a word
            whole = whole and values(b"CompressedDataSize") == [b"%d" % left] and _inflates_to(file, promised)
        else:
            whole = whole and left == promised
    if not whole:
        raise InputError(f"{path}: damaged or cut short: not the voxels its header promises; copy it again")


def _inflates_to(file: BinaryIO, count: int) -> bool:
    """Whether the rest of `file` is one whole zlib or gzip stream, by its own checksum, of `count` bytes."""
    stream = zlib.decompressobj(47)
    length = 0
    try:
        while not stream.eof and length <= count and (chunk := stream.unconsumed_tail or file.read(2**20)):
            length += len(stream.decompress(chunk, 2**24))
    except zlib.error:
        return False
    return stream.eof and length == count and not stream.unused_data and not file.read(1)


def _with_lost_values(image: sitk.Image, content: bytes, header: _NiftiHeader) -> sitk.Image:
    """`image` with the NaN and infinite voxels that ITK has turned into zeros on reading NIfTI."""
    voxel_type = {16: "f4", 64: "f8"}.get(header.type_code)
    if not voxel_type:
        return image
    stored = np.frombuffer(content, header.order + voxel_type, image.GetNumberOfPixels(), header.offset)
    lost = ~np.isfinite(stored)
    if not lost.any():
        return image
    array = sitk.GetArrayFromImage(image)
    array.reshape(-1)[lost] = stored[lost]
    restored = sitk.GetImageFromArray(array)
    restored.CopyInformation(image)
    return restored


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a regular file that can be opened: a pipe would wait for ever."""
    _check_name(path)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, so it cannot be read; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a file but a folder, pipe, socket or device; give a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read (Permission denied)")


def _extension(path: Path) -> str:
    """The image extension of a file to read, in lower case; InputError if it is none."""
    name = path.name.lower()
    for extension in EXTENSIONS:
        if name.endswith(extension):
            return extension
    raise InputError(f"{path}: {_UNKNOWN}")


def _check_name(path: Path) -> None:
    """Raise InputError for a name that is not UTF-8: SimpleITK would end the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the file or folder name is not valid UTF-8; rename it") from error


def _is_oblique(grid: Grid) -> bool:
    return bool(np.abs(grid.axes - np.eye(3)).max() > 1e-12)


def _closest_axes(direction: np.ndarray) -> tuple[int, int, int]:
    """For each world axis R, A, S the file axis closest to it, each used once."""
    remaining, axes = np.abs(direction), [0, 0, 0]
    for _ in range(3):
        world, axis = np.unravel_index(remaining.argmax(), (3, 3))
        axes[world] = int(axis)
        remaining[world, :] = remaining[:, axis] = -1
    return axes[0], axes[1], axes[2]


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hide what ITK's C libraries print themselves: the exception that follows is what the user needs."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _text(numbers: object) -> str:
    return "(" + ", ".join(f"{float(n):g}" for n in np.asarray(numbers)) + ")"
