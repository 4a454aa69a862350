"""Shape model: noisy ellipsoids, ellipsoids and cuboids, drawn as records and rasterised without a mesh.

The model is resector's (Perez-Garcia et al., IJCARS 2021; MIT). Its noisy surface is star-shaped about
the sphere's centre, so a voxel taken back to the unit sphere as q is inside when
|q| <= 1 + noise(q / |q|), and no mesh has to be built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from synthtumour.errors import InputError
from synthtumour.presets import Preset
from synthtumour.tumour.placing import draw_centre
from synthtumour.tumour.simplex import simplex_noise
from synthtumour.volume.grid import Box, Grid, box_around, largest_component

_POLAR, _AZIMUTH = 96, 192  # directions in which a surface is sampled
_ROUNDING = 1e-4  # of radii in single precision, with much to spare


@dataclass(frozen=True)
class TumourShape:
    """One drawn shape; everything that `rasterise` needs."""

    kind: str  # one of SHAPES
    volume_mm3: float  # of the ellipsoid, before noise and clipping
    centre_ras_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    angles_deg: tuple[float, float, float]  # about R, A, S; a cuboid stays along the scan's axes
    noise_offset: int
    noise_scale: float
    noise_smoothness: float
    noise_octaves: int


def draw_shape(
    rng: np.random.Generator,
    preset: Preset,
    allowed: np.ndarray,
    grid: Grid,
    centre_ras_mm: tuple[float, float, float] | None = None,
) -> TumourShape:
    """Draw a shape whose centre is a voxel of `allowed` (bool [i, j, k]), unless the centre is given.

    Source of the distributions: METHOD of Zhang et al. 2025, after resector's `RandomResection`.
    """
    if preset.volumes_mm3:
        volume = float(rng.choice(preset.volumes_mm3))
    else:
        volume = float(rng.uniform(preset.min_volume_mm3, preset.max_volume_mm3))
    radius = (3 * volume / (4 * math.pi)) ** (1 / 3)
    ratio = float(rng.uniform(1, preset.max_axis_ratio))
    angles = rng.uniform(0, 360, 3)
    offset = int(rng.integers(1000))
    centre = draw_centre(rng, allowed, grid) if centre_ras_mm is None else np.asarray(centre_ras_mm, float)
    return TumourShape(
        kind=preset.shape,
        volume_mm3=volume,
        centre_ras_mm=_triple(centre),
        semi_axes_mm=(radius, ratio * radius, radius / ratio),
        angles_deg=_triple(angles),
        noise_offset=offset,
        noise_scale=preset.noise_scale,
        noise_smoothness=preset.noise_smoothness,
        noise_octaves=preset.noise_octaves,
    )


def rasterise(
    shape: TumourShape, allowed: np.ndarray, grid: Grid, engine: str = "formula"
) -> tuple[Box, np.ndarray] | None:
    """The voxels inside `shape` and `allowed` (bool [i, j, k]): a box and a bool array on it; None if none.

    A noisy shape keeps its largest connected part. `engine='resector'` renders through the real package.
    """
    if engine == "resector":
        box, inside = _inside_by_resector(shape, grid)
    elif shape.kind == "cuboid":
        box, inside = _inside_cuboid(shape, grid)
    else:
        box, inside = _inside_ellipsoid(shape, grid)
    inside &= allowed[box]
    if shape.kind == "noisy":
        inside = largest_component(inside)
    return (box, inside) if inside.any() else None


def _inside_ellipsoid(shape: TumourShape, grid: Grid) -> tuple[Box, np.ndarray]:
    to_world = rotation(shape.angles_deg) * np.array(shape.semi_axes_mm)
    directions, weights = _directions()
    height = 1 + _noise(shape, directions.reshape(-1, 3)).reshape(weights.shape)
    surface = directions * height[..., None]
    shift = np.einsum("ij,ijk", weights, surface) if shape.kind == "noisy" else np.zeros(3)

    # Voxel offsets from the centre in index space: exact whatever the rounding of the file's origin.
    centre = grid.to_index(np.array(shape.centre_ras_mm))
    to_index = np.linalg.inv(grid.affine[:3, :3]) @ to_world
    reach = to_index @ (surface.reshape(-1, 3) - shift).T
    low, high = reach.min(axis=1), reach.max(axis=1)
    margin = 1 + 0.02 * (high - low)  # the sampled directions may miss the very tips
    box = box_around(centre + low - margin, centre + high + margin, grid)
    from_index = np.linalg.inv(to_index)
    offset = [np.arange(s.start, s.stop) - c for s, c in zip(box, centre, strict=True)]
    # Voxel (i, j, k), taken back to the unit sphere, is at along[0][:, i] + along[1][:, j] + along[2][:, k].
    along = [from_index[:, n, None] * offset[n] for n in range(3)]
    along[2] += shift[:, None]

    # Exact noise and double precision are costly, so they decide only where neither single precision nor
    # what the noise is in the sampled directions can.
    plane = (along[0][:, :, None] + along[1][:, None, :]).reshape(3, -1).astype(np.float32)
    line = along[2].astype(np.float32)
    squared = plane.T @ (2 * line) + (plane * plane).sum(axis=0)[:, None] + (line * line).sum(axis=0)
    slack = 2 * max(float(np.abs(np.diff(height, axis=axis)).max()) for axis in (0, 1)) + _ROUNDING
    inside = squared < max(float(height.min()) - slack, 0) ** 2
    unsure = np.flatnonzero(~inside & (squared <= (float(height.max()) + slack) ** 2))
    in_plane, k = np.divmod(unsure, line.shape[1])
    if shape.kind == "noisy":
        x, y, z = (a.take(in_plane) + b.take(k) for a, b in zip(plane, line, strict=True))
        radius = np.sqrt(x * x + y * y + z * z)
        nearby, error = _interpolated(height, x, y, z, radius)
        inside.reshape(-1)[unsure[radius < nearby - error]] = True
        close = np.abs(radius - nearby) <= error
        unsure, in_plane, k = unsure[close], in_plane[close], k[close]
    i, j = np.divmod(in_plane, along[1].shape[1])
    x, y, z = (a.take(i) + b.take(j) + c.take(k) for a, b, c in zip(*along, strict=True))
    radius = np.sqrt(x * x + y * y + z * z)
    unit = np.stack([x, y, z], axis=1) / np.maximum(radius, 1e-9)[:, None]
    inside.reshape(-1)[unsure] = radius <= 1 + _noise(shape, unit)
    return box, inside.reshape([len(o) for o in offset])


def _inside_cuboid(shape: TumourShape, grid: Grid) -> tuple[Box, np.ndarray]:
    """As in resector: along the grid's axes, from whole voxels."""
    centre = np.rint(grid.to_index(np.array(shape.centre_ras_mm)))
    half = np.rint(np.array(shape.semi_axes_mm) / grid.spacing_mm)
    box = box_around(centre - half, centre + half - 1, grid)
    return box, np.ones([s.stop - s.start for s in box], bool)


def _inside_by_resector(shape: TumourShape, grid: Grid) -> tuple[Box, np.ndarray]:
    try:
        from resector.image import get_cuboid_image
        from resector.mesh import get_ellipsoid_poly_data, get_resection_poly_data, mesh_to_volume
    except ImportError as error:
        raise InputError(f"--shape-engine resector: {error}; pip install resector==0.2.10") from error
    from scipy.spatial.transform import Rotation

    # resector crops wrongly on oblique grids, so it works in the grid's own axes: the world, turned.
    # Its bounding box is cut to the image, so the image gets room for the whole shape.
    turn = grid.axes.T
    angles = Rotation.from_matrix(turn @ rotation(shape.angles_deg)).as_euler("XYZ", degrees=True)
    centre = (turn @ (np.array(shape.centre_ras_mm) - grid.affine[:3, 3])).tolist()
    room = np.ceil(3 * max(shape.semi_axes_mm) / grid.spacing_mm).astype(int)
    size = np.array(grid.shape) + 2 * room
    reference = sitk.Image(size.tolist(), sitk.sitkUInt8)  # float fails in resector 0.2.10
    reference.SetSpacing(grid.spacing_mm.tolist())
    reference.SetOrigin((-room * grid.spacing_mm * [-1, -1, 1]).tolist())
    reference.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    if shape.kind == "cuboid":
        image = get_cuboid_image(shape.semi_axes_mm, reference, centre)
    elif shape.kind == "ellipsoid":
        image = mesh_to_volume(get_ellipsoid_poly_data(shape.semi_axes_mm, centre, angles), reference)
    else:
        mesh = get_resection_poly_data(
            centre,
            shape.semi_axes_mm,
            angles,
            noise_offset=shape.noise_offset,
            octaves=shape.noise_octaves,
            scale=shape.noise_scale,
            smoothness=shape.noise_smoothness,
        )
        image = mesh_to_volume(mesh, reference)
    whole = tuple(slice(r, r + s) for r, s in zip(room, grid.shape, strict=True))
    inside = sitk.GetArrayFromImage(image).transpose(2, 1, 0)[whole] > 0
    return (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2])), inside


def rotation(angles_deg: tuple[float, float, float]) -> np.ndarray:
    """Rx . Ry . Rz (3, 3), the order in which VTK's pre-multiplying transform composes them."""
    (cx, sx), (cy, sy), (cz, sz) = (
        (math.cos(math.radians(a)), math.sin(math.radians(a))) for a in angles_deg
    )
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _noise(shape: TumourShape, unit: np.ndarray) -> np.ndarray:
    """How far the surface moves outwards at points (n, 3) of the unit sphere; 0 unless noisy."""
    if shape.kind != "noisy":
        return np.zeros(len(unit), np.float32)
    points = (unit + shape.noise_offset) / shape.noise_smoothness
    return np.float32(shape.noise_scale) * simplex_noise(points, shape.noise_octaves)


@lru_cache(maxsize=1)
def _directions() -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (polar, azimuth, 3) all over the sphere, and the share of it that each stands for."""
    polar = (np.arange(_POLAR)[:, None] + 0.5) * math.pi / _POLAR
    azimuth = (np.arange(_AZIMUTH) + 0.5) * 2 * math.pi / _AZIMUTH
    ring = np.sin(polar)
    x, y, z = ring * np.cos(azimuth), ring * np.sin(azimuth), np.cos(polar) + 0 * azimuth
    return np.stack([x, y, z], axis=-1), ring / (ring.sum() * _AZIMUTH) + 0 * azimuth


def _interpolated(
    height: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The height between the `_directions` in which points (n,) lie, and how far it may be off."""
    cosine = np.clip(z / np.maximum(radius, np.float32(1e-9)), -1, 1)
    row = np.arccos(cosine) * np.float32(_POLAR / math.pi) - np.float32(0.5)
    column = np.arctan2(y, x) * np.float32(_AZIMUTH / (2 * math.pi)) + np.float32(_AZIMUTH - 0.5)
    above, left = np.clip(row, 0, _POLAR - 2).astype(np.intp), column.astype(np.intp)
    down, right = row - above.astype(np.float32), column - left.astype(np.float32)
    # the first columns once more, for what lies about the whole turn
    around = np.concatenate([height, height[:, :2]], axis=1)
    corner = above * around.shape[1] + left % _AZIMUTH
    upper = around.take(corner) * (1 - right) + around.take(corner + 1) * right
    corner += around.shape[1]
    lower = around.take(corner) * (1 - right) + around.take(corner + 1) * right
    # Linear interpolation is off by an eighth of the second difference along each axis; here a quarter.
    bend = sum(float(np.abs(np.diff(around, 2, axis=axis)).max()) for axis in (0, 1))
    error = np.full(len(row), bend / 4 + _ROUNDING, np.float32)
    error[(row < 0) | (row > _POLAR - 1)] = np.inf  # about the poles
    return upper + (lower - upper) * down, error


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
