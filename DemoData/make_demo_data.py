"""Make SIMULATED FLAIR subjects from the MNI152 maps in nilearn: the three of this folder, or new ones.

No single person is behind these images: the anatomy is the MNI152 average (T1, grey and white matter at 1 mm,
the copies inside nilearn's wheel), warped differently for each subject and given FLAIR-like contrast, folding
detail, texture, bias field and noise from seeded random generators.

Run it with:

    pip install nilearn==0.14.1
    python DemoData/make_demo_data.py --output DemoData
    python DemoData/make_demo_data.py --subjects 24 --seed 7 --output SIMULATED

The first makes the three demo subjects, in about four minutes on one core. The second draws 24 new recipes: a
brain in less than 20 s, for who has no tumour-free scans to learn from. The same nilearn gives the same bytes
again: every random number is seeded and the gzip headers hold neither time nor file name.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Triple = tuple[float, float, float]
Scales = tuple[tuple[float, float], ...]
Subject = tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]

# The checksums say whether nilearn still ships the maps that the committed images were made from.
MAP_SHA256 = {
    "t1": "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    "gm": "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    "wm": "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
}
MASK = "flair_brainmask.nii.gz"
PADDING = 22  # voxels round the atlas brain, so that a subject with a larger head still fits


@dataclass(frozen=True)
class Recipe:
    """What makes one simulated subject differ from the others (lengths in mm)."""

    name: str
    orientation: str
    seed: int
    margin: int  # empty voxels kept round the brain mask
    scale: Triple  # head size against the atlas: left-right, back-front, foot-head
    degrees: Triple  # head rotation about the same three axes
    ventricle_growth: float
    csf_bias: float  # above 0: wider sulci
    cortex_thickness: float
    rim: float  # how far the mask reaches past the atlas brain
    white: float  # the white-matter intensity; every level after it is a multiple of it
    grey: float
    fluid: float
    noise: float
    noise_blur: float
    blur: Triple
    bias_field: float
    caps: float  # brightness of the periventricular caps
    spots: int  # number of small white-matter hyperintensities
    band_mm: float = 0.0  # width of confluent hyperintensities along the ventricles, 0 for none
    band_level: float = 0.0  # their brightness at the wall


RECIPES = (
    Recipe("sim-01", "RAS", 101, 6, (1.0, 1.03, 1.0), (4.0, 1.5, -2.0), -0.4, -0.3, 2.8, 0.3,
           300.0, 1.26, 0.20, 0.052, 0.55, (0.35, 0.35, 0.35), 0.06, 0.04, 0),
    Recipe("sim-02", "LPS", 202, 5, (1.05, 0.97, 0.98), (-5.0, -2.0, 3.0), 2.6, 0.6, 2.5, 0.8,
           260.0, 1.15, 0.16, 0.042, 0.60, (0.45, 0.45, 0.70), 0.09, 0.45, 14),
    Recipe("sim-03", "PIR", 303, 8, (0.95, 1.05, 1.04), (8.0, 3.0, 1.0), 1.2, 0.1, 2.7, 0.5,
           340.0, 1.21, 0.18, 0.060, 0.50, (0.50, 0.35, 0.35), 0.12, 0.14, 4),
)  # fmt: skip


def draw_recipe(seed: int, number: int, bands: float = 0.0) -> Recipe:
    """The recipe of a new subject: every number within, or a little beyond, what the demo subjects span.

    So many as `bands` says have confluent hyperintensities, and a b in their names; the others are as ever.
    """
    rng = np.random.default_rng((seed, number))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    sharp = between(0.3, 0.5)
    recipe = Recipe(
        name=f"sim-{seed}-{number:03d}",
        orientation=str(rng.choice(["RAS", "LPS", "PIR"])),
        seed=int(rng.integers(2**31)),
        margin=int(rng.integers(4, 9)),
        scale=(between(0.94, 1.05), between(0.96, 1.05), between(0.96, 1.04)),
        degrees=(between(-8, 8), between(-3, 3), between(-3, 3)),
        ventricle_growth=between(-0.5, 3.5),
        csf_bias=between(-0.3, 0.8),
        cortex_thickness=between(2.4, 2.9),
        rim=between(0.2, 0.9),
        white=between(200.0, 400.0),
        grey=between(1.12, 1.28),
        fluid=between(0.14, 0.24),
        noise=between(0.03, 0.065),
        noise_blur=between(0.45, 0.65),
        blur=(sharp, sharp, sharp * between(1.0, 2.0)),
        bias_field=between(0.04, 0.14),
        caps=between(0.0, 0.6),
        spots=int(rng.integers(0, 20)),
    )
    if rng.random() >= bands:
        return recipe
    name, width_mm, level = f"{recipe.name}b", between(3.0, 15.0), between(0.3, 0.9)
    return replace(recipe, name=name, band_mm=width_mm, band_level=level)


@dataclass(frozen=True)
class Atlas:
    """Score maps in atlas space, all on the same padded 1 mm RAS grid."""

    t1: Floats
    grey_score: Floats  # above 0: grey rather than white matter
    fluid_score: Floats  # above 0: fluid rather than tissue
    grey: Floats  # the plain probability, used where the average is not blurred (deep nuclei)
    distance: Floats  # signed distance to the brain mask, positive inside
    from_white: Floats  # distance from white matter
    between: Floats  # high half-way between two sheets of white matter, where a sulcus must open
    ventricles: Floats
    cortex: Floats  # 1 where the cortical ribbon folds, 0 in the deep structures and the cerebellum
    deep: Floats
    iron: Floats  # pallidum and putamen, darkened by iron
    midline: Floats  # third ventricle and the cistern behind it, which blurring makes too wide
    callosum: Floats
    origin: tuple[float, ...]  # MNI coordinates of voxel (0, 0, 0)


def blur(volume: NDArray[np.generic], sigma: float | Triple) -> Floats:
    """Gaussian blur in single precision."""
    smooth: Floats = ndimage.gaussian_filter(volume.astype(np.float32), sigma, truncate=3.0)
    return smooth


def sigmoid(score: Floats) -> Floats:
    """Logistic function, clipped so that it cannot overflow."""
    squashed: Floats = (1.0 / (1.0 + np.exp(-np.clip(score, -30.0, 30.0)))).astype(np.float32)
    return squashed


def local_contrast(volume: Floats, sigma: float, floor: float) -> Floats:
    """Subtract the local mean and divide by the local spread: brings up folds the averaging washed out."""
    mean = blur(volume, sigma)
    spread = np.sqrt(np.maximum(blur(volume * volume, sigma) - mean * mean, 0.0))
    normalised: Floats = (volume - mean) / (spread + np.float32(floor))
    return normalised


def soft_ball(shape: tuple[int, ...], origin: tuple[float, ...], centre: Triple, radii: Triple) -> Floats:
    """A smooth ellipsoid on both sides of the midline, 1 in the middle; MNI mm, centre given on the right."""
    x, y, z = (np.arange(n, dtype=np.float32) + o for n, o in zip(shape, origin, strict=True))
    squares = (
        ((np.abs(x) - centre[0]) / radii[0])[:, None, None] ** 2
        + ((y - centre[1]) / radii[1])[None, :, None] ** 2
        + ((z - centre[2]) / radii[2])[None, None, :] ** 2
    )
    return sigmoid((6.0 * (1.0 - np.sqrt(squares))).astype(np.float32))


def load_map(kind: str) -> tuple[Floats, NDArray[np.float64]]:
    """Read one of nilearn's MNI152 maps as 0..1, with its affine."""
    # Found without importing nilearn, which would pull in scikit-learn for the sake of three files.
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise SystemExit("nilearn is missing: pip install nilearn==0.14.1")
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.origin).parent / "datasets" / "data" / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != MAP_SHA256[kind]:
        raise SystemExit(f"{name} is not the copy in nilearn 0.14.1: pip install nilearn==0.14.1")
    import nibabel as nib  # comes with nilearn; the tests do without both

    image = nib.nifti1.Nifti1Image.from_filename(str(path))
    return np.asarray(image.dataobj, dtype=np.float32) / np.float32(255.0), image.affine


def brain_mask(t1: Floats, tissue: Floats) -> Bools:
    """Filled, smooth brain mask in atlas space; closing takes in the sulcal fluid."""
    closed = ndimage.binary_closing((t1 > 0) | (tissue > 0.35), iterations=4)
    filled: Bools = ndimage.binary_fill_holes(blur(closed, 1.5) > 0.5)
    return filled


def find_ventricles(fluid: Floats, depth: Floats) -> Floats:
    """The lateral ventricles: the largest body of fluid deep inside the brain."""
    labels, _ = ndimage.label(ndimage.binary_opening((fluid > 0.55) & (depth > 22.0)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found = np.isin(labels, np.flatnonzero(sizes > 400))
    return blur(ndimage.binary_dilation(found), 0.6)


def without_rim(grey: Floats, ventricles: Floats) -> Floats:
    """Drop the thin grey sheet that averaging leaves where the ventricles touch white matter."""
    near = ndimage.distance_transform_edt(ventricles < 0.5) < 5.0
    thick = ndimage.grey_opening(grey, size=(4, 4, 4))
    cleaned: Floats = np.where(near, np.minimum(grey, thick), grey)
    return cleaned


def build_atlas() -> Atlas:
    """Turn the averaged maps into sharp tissue scores, once for all subjects."""
    (t1, affine), (grey, _), (white, _) = load_map("t1"), load_map("gm"), load_map("wm")
    mask = brain_mask(t1, grey + white)
    where = np.argwhere(mask)
    low = np.maximum(where.min(axis=0) - PADDING, 0)
    high = where.max(axis=0) + 1 + PADDING
    # The atlas grid ends closer to the brain than PADDING on some sides.
    pad = [(max(0, PADDING - int(a)), PADDING) for a in where.min(axis=0)]
    box = tuple(slice(int(a), int(b) + PADDING) for a, b in zip(low, high, strict=True))
    t1, grey, white = (np.pad(m, pad)[box] for m in (t1, grey, white))
    mask = np.pad(mask, pad)[box]
    origin = tuple(float(o) for o in affine[:3, 3] + low - np.array([p[0] for p in pad]))
    shape = mask.shape

    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    t1 = np.where(t1 > 0, t1, np.float32(0.3))  # outside: fluid level, so that filters see no false edge
    darkness = np.clip((0.57 - t1) / (0.57 - 0.27), 0.0, 1.0)
    fluid = np.maximum(np.clip(1.0 - grey - white, 0.0, 1.0), darkness).astype(np.float32)
    midline = soft_ball(shape, origin, (0.0, -22.0, 0.0), (9.0, 26.0, 16.0))
    ventricles = find_ventricles(fluid * (1.0 - midline), distance)
    grey = without_rim(grey, ventricles)

    deep = np.maximum.reduce([
        soft_ball(shape, origin, (16.0, -6.0, 4.0), (18.0, 34.0, 17.0)),  # basal ganglia and thalami
        soft_ball(shape, origin, (0.0, -28.0, -25.0), (20.0, 20.0, 32.0)),  # brain stem
        soft_ball(shape, origin, (0.0, -30.0, 2.0), (12.0, 16.0, 14.0)),  # round the pineal gland
        soft_ball(shape, origin, (25.0, -14.0, -19.0), (11.0, 22.0, 11.0)),  # hippocampi and amygdalae
    ])  # fmt: skip
    cerebellum = soft_ball(shape, origin, (22.0, -64.0, -38.0), (38.0, 34.0, 22.0))
    balance = grey - white
    crisp = balance + 0.22 * local_contrast(balance, 4.0, 0.15) * (1.0 - deep)
    from_white = ndimage.distance_transform_edt(blur(crisp, 0.6) > -0.05)
    folds = 0.10 * np.clip(local_contrast(fluid, 3.0, 0.04), -1.0, 3.0) * np.clip(fluid / 0.08, 0.0, 1.0)
    return Atlas(
        t1=t1,
        grey_score=crisp.astype(np.float32),
        fluid_score=(fluid + folds - 0.50).astype(np.float32),
        grey=grey,
        distance=blur(distance, 1.0),
        from_white=blur(from_white, 0.5),
        between=blur(from_white, 1.0) - blur(from_white, 3.0),
        ventricles=ventricles,
        cortex=((1.0 - deep) * (1.0 - cerebellum)).astype(np.float32),
        deep=deep,
        iron=np.maximum(
            soft_ball(shape, origin, (18.0, -5.0, -1.0), (6.0, 9.0, 6.0)),
            0.6 * soft_ball(shape, origin, (26.0, 1.0, 1.0), (6.0, 17.0, 10.0)) * np.sqrt(grey),
        ).astype(np.float32),
        midline=midline,
        callosum=soft_ball(shape, origin, (0.0, -8.0, 14.0), (14.0, 46.0, 20.0)),
        origin=origin,
    )


@dataclass(frozen=True)
class Noise:
    """Random fields of one shape.

    `by_axes` interpolates wide ones axis by axis: the same but at the ends, in a tenth of the time. The demo
    subjects go without it to keep their bytes.
    """

    rng: np.random.Generator
    shape: tuple[int, ...]
    by_axes: bool

    def smooth(self, sigma: float) -> Floats:
        """A Gaussian random field of unit variance with the given smoothness in voxels."""
        step = max(1.0, sigma / 2.0)  # wide fields are drawn on a coarse grid: same look, far less work
        coarse = tuple(int(np.ceil(n / step)) + 4 for n in self.shape)
        field = blur(self.rng.standard_normal(coarse, dtype=np.float32), sigma / step)
        field = (field - field.mean()) / field.std()
        if step == 1.0:
            return field[tuple(slice(2, 2 + n) for n in self.shape)]
        offset = [float(o) for o in self.rng.uniform(1.0, 2.0, 3)]
        if not self.by_axes:
            zoom = np.full(3, 1.0 / step)
            return np.asarray(ndimage.affine_transform(field, zoom, offset, output_shape=self.shape, order=3))
        for n, wanted, start in zip(coarse, self.shape, offset, strict=True):
            spline = make_interp_spline(np.arange(n), np.eye(n), k=3)
            weights = spline(start + np.arange(wanted) / step).astype(np.float32)
            field = np.tensordot(
                field, weights, axes=(0, 1)
            )  # the axis done comes last: after three, all in place
        return field

    def texture(self, scales: Scales) -> Floats:
        """Sum of random fields, given as (smoothness, amplitude)."""
        total = np.zeros(self.shape, dtype=np.float32)
        for sigma, amplitude in scales:
            total += np.float32(amplitude) * self.smooth(sigma)
        return total


def rotation(degrees: Triple) -> NDArray[np.float64]:
    """Rotation matrix from three angles about the x, y and z axes."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def sampling_points(atlas: Atlas, recipe: Recipe, noise: Noise) -> Floats:
    """Where in the atlas each voxel of the subject comes from: head shape, ventricle size, random warps."""
    shape = noise.shape
    pull = np.stack(list(np.gradient(blur(atlas.ventricles, 6.0))))
    pull /= np.sqrt((pull**2).sum(axis=0)).max()
    points = np.indices(shape, dtype=np.float32)
    centre = (np.array(shape, dtype=np.float32)[:, None, None, None] - 1.0) / 2.0
    matrix = (rotation(recipe.degrees) / np.array(recipe.scale)[None, :]).astype(np.float32)
    moved = np.tensordot(matrix, points - centre, axes=1) + centre
    # Wide, middle and narrow warps, weak enough together not to fold space.
    for sigma, reach in ((24.0, 3.6), (9.0, 1.2), (3.5, 0.45)):
        moved += np.stack([reach * noise.smooth(sigma) for _ in range(3)])
    asymmetry = 1.0 + 0.35 * noise.smooth(20.0)
    bent: Floats = (moved + recipe.ventricle_growth * pull * asymmetry).astype(np.float32)
    return bent


def sample(volume: Floats, points: Floats, order: int = 1, outside: float = 0.0) -> Floats:
    """Value of an atlas map at the sampling points."""
    warped: Floats = ndimage.map_coordinates(volume, points, order=order, cval=outside)
    return warped


def one_piece(mask: Bools) -> Bools:
    """The largest component of a mask, without holes."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    whole: Bools = ndimage.binary_fill_holes(labels == sizes.argmax())
    return whole


def white_matter_spots(rng: np.random.Generator, white: Floats, near: Floats, count: int) -> Floats:
    """A few small hyperintensities deep in the white matter, as in most older people."""
    spots = np.zeros(white.shape, dtype=np.float32)
    if count:
        allowed = np.flatnonzero((blur(white, 2.0) > 0.97) & (near < 22.0))
        spots.ravel()[rng.choice(allowed, count, replace=False)] = rng.uniform(0.4, 1.0, count)
    return blur(spots, 1.1) * np.float32(1.1**3 * 15.7) * white


def tissue_image(atlas: Atlas, recipe: Recipe, points: Floats, noise: Noise) -> Floats:
    """The noise-free FLAIR: class levels mixed by sharpened, randomly perturbed tissue scores."""
    t1, deep = sample(atlas.t1, points, 3, 0.3), sample(atlas.deep, points)
    cortex = sample(atlas.cortex, points)
    ventricles = sample(atlas.ventricles, points)

    # Uneven thresholds break up the average's regular, mirror-symmetric ribbon.
    ragged = noise.texture(((1.2, 0.05), (2.5, 0.10), (6.0, 0.10)))
    crisp_grey = sigmoid(9.0 * (sample(atlas.grey_score, points, 3, 1.0) + ragged))
    grey = deep * sample(atlas.grey, points) + (1.0 - deep) * crisp_grey
    # A ribbon is a few mm thick: the middle of a thicker grey band is a sulcus that the average lost.
    thickness = recipe.cortex_thickness + noise.texture(((3.0, 0.35), (8.0, 0.45)))
    middle = 2.0 * (sample(atlas.between, points, 3) - 0.8 + 0.1 * recipe.csf_bias)
    sulcus = 0.25 * np.minimum(sample(atlas.from_white, points, 3, 9.0) - thickness, middle)
    sulcus = sulcus * cortex - 0.25 * (1.0 - cortex)
    score = np.maximum(sample(atlas.fluid_score, points, 3, 1.0), sulcus)
    score += noise.texture(((1.2, 0.04), (3.0, 0.06)))
    score += 0.08 * recipe.csf_bias * cortex - 0.22 * sample(atlas.midline, points)
    fluid = sigmoid(11.0 * score)
    fluid = np.maximum(fluid, np.clip(2.0 * ventricles - 0.8, 0.0, 1.0))

    # Tissue that is brighter on T1 (more myelin) is darker on FLAIR, which gives the callosum, capsules and
    # nuclei their shades without drawing them.
    white_level = 1.0 - 0.9 * np.clip(t1 - 0.86, -0.05, 0.08)
    grey_level = recipe.grey - 0.5 * (recipe.grey - 1.0) * deep
    white_level += noise.texture(((1.5, 0.012), (4.0, 0.015), (12.0, 0.020)))
    grey_level = grey_level + noise.texture(((1.2, 0.020), (3.0, 0.025), (12.0, 0.030)))
    solid = grey * grey_level + (1.0 - grey) * white_level
    solid -= 0.20 * sample(atlas.iron, points)
    solid -= 0.05 * sample(atlas.callosum, points) * (1.0 - grey)

    near = ndimage.distance_transform_edt(ventricles < 0.5).astype(np.float32)
    patchy = np.clip(1.0 + 0.6 * noise.smooth(7.0), 0.0, 2.0)
    solid += recipe.caps * patchy * np.exp(-near / 2.5) * (1.0 - 0.7 * grey)
    solid += 0.45 * white_matter_spots(
        noise.rng, (1.0 - grey) * (1.0 - fluid) * (1.0 - deep), near, recipe.spots
    )

    if recipe.band_mm:
        width = recipe.band_mm * np.clip(1.0 + 0.8 * noise.smooth(10.0), 0.05, 2.0)
        band = np.sqrt(np.clip(1.0 - near / width, 0.0, 1.0)) * (1.0 - grey) * (1.0 - deep)
        solid += recipe.band_level * blur(band, 0.8)

    # Fluid is not quite even either: strands, vessels and flow leave it mottled, plexus makes it grey.
    fluid_level = recipe.fluid * (1.0 + noise.texture(((1.5, 0.20), (5.0, 0.20))))
    fluid_level += 0.5 * np.clip(t1 - 0.42, 0.0, 0.3) * ventricles
    mixed: Floats = (solid * (1.0 - fluid) + np.maximum(fluid_level, 0.04) * fluid).astype(np.float32)
    return blur(mixed, recipe.blur)


def acquire(clean: Floats, recipe: Recipe, noise: Noise) -> Floats:
    """Apply the bias field and Rician, slightly correlated noise."""
    field = np.exp(recipe.bias_field * np.clip(noise.smooth(45.0), -2.0, 2.0))
    real, imaginary = (recipe.noise * noise.smooth(recipe.noise_blur) for _ in range(2))
    measured: Floats = np.hypot(clean * field + real, imaginary)
    return measured


def simulate(atlas: Atlas, recipe: Recipe, quick: bool = True) -> Subject:
    """One subject: FLAIR and brain mask cropped to the brain, with their RAS affine.

    `quick` computes no more than that crop; without it the demo subjects get the bytes that they have.
    """
    noise = Noise(np.random.default_rng(recipe.seed), atlas.t1.shape, quick)
    points = sampling_points(atlas, recipe, noise)
    mask = one_piece(sample(atlas.distance, points, 1, -20.0) + recipe.rim > 0.0)
    where = np.argwhere(mask)
    low, high = where.min(axis=0) - recipe.margin, where.max(axis=0) + 1 + recipe.margin
    if (low < 0).any() or (high > mask.shape).any():
        raise ValueError(f"{recipe.name}: the head does not fit its grid")
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = np.eye(4)
    affine[:3, 3] = np.array(atlas.origin) + low
    if quick:
        every_axis = (slice(None), *box)
        points, mask, box = points[every_axis], mask[box], (slice(None),) * 3
        noise = Noise(noise.rng, mask.shape, quick)
    flair = recipe.white * acquire(tissue_image(atlas, recipe, points, noise), recipe, noise)
    # At least 1 inside, so that 0 always means outside the brain.
    values = np.where(mask, np.clip(np.rint(flair), 1, 2000), 0).astype(np.int16)
    return values[box], mask[box].astype(np.uint8), affine


def write(volume: NDArray[np.generic], affine: NDArray[np.float64], orientation: str, path: Path) -> None:
    """Write a NIfTI file in the given axis orientation, the same bytes every time."""
    import nibabel as nib

    image = nib.nifti1.Nifti1Image(volume, affine)
    now, wanted = nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(orientation))
    turned = image.as_reoriented(nib.orientations.ornt_transform(now, wanted))
    turned.set_qform(turned.affine, code=1)
    turned.set_sform(turned.affine, code=1)
    turned.header.set_xyzt_units("mm")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as stream:
        stream.write(turned.to_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(packed.getvalue())
    partial.replace(path)  # whole or not at all


@cache
def atlas_of_process() -> Atlas:
    """Built once in each process."""
    return build_atlas()


def make(recipe: Recipe, output: Path, quick: bool) -> str:
    """Simulate and write one subject; returns a line about it."""
    flair, mask, affine = simulate(atlas_of_process(), recipe, quick)
    write(flair, affine, recipe.orientation, output / recipe.name / "flair.nii.gz")
    write(mask, affine, recipe.orientation, output / recipe.name / MASK)
    return f"{recipe.name} (simulated): {recipe.orientation}, {int(mask.sum())} brain voxels"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make simulated FLAIR subjects: those of DemoData, or new ones."
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder that gets one folder per subject (default: the script's own; needed with --subjects)",
    )
    parser.add_argument(
        "--subjects",
        type=int,
        metavar="N",
        help="N new subjects of random recipes in place of the demo's three",
    )
    parser.add_argument("--seed", type=int, help="of the new subjects (default: 0)")
    parser.add_argument(
        "--bands",
        type=float,
        metavar="SHARE",
        help="so many of them have confluent hyperintensities along the ventricles, 0 to 1 (default: none)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes, of 1.5 GB each (default: %(default)s)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Make all simulated subjects."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.subjects is None and (args.seed, args.bands) != (None, None):
        parser.error("--seed and --bands are for new subjects: add --subjects")
    seed, bands = args.seed or 0, args.bands or 0.0
    if args.workers < 1 or seed < 0 or (args.subjects is not None and args.subjects < 1):
        parser.error("--subjects and --workers need 1 or more, --seed 0 or more")
    if not 0 <= bands <= 1:
        parser.error(f"--bands {bands:g}: needs 0 to 1")
    if args.subjects is not None and args.output is None:
        parser.error("--subjects needs --output, a folder for the new subjects")
    output: Path = args.output or Path(__file__).resolve().parent
    recipes = list(RECIPES)
    if args.subjects is not None:
        drawn = [draw_recipe(seed, number, bands) for number in range(1, args.subjects + 1)]
        for recipe in drawn:
            plain = recipe.name.removesuffix("b")
            other = plain if plain != recipe.name else f"{plain}b"
            if (output / other).exists():
                parser.error(f"{output / other}: the same head, with other --bands; choose another --output")
        # The name holds the seed, so what is there already is the same subject; its mask is written last.
        recipes = [recipe for recipe in drawn if not (output / recipe.name / MASK).exists()]
        if len(recipes) < len(drawn):
            print(f"{len(drawn) - len(recipes)} of {len(drawn)} subjects are there already")
    if recipes:
        atlas_of_process()  # forked processes have it then
    with Pool(args.workers) as pool:
        for line in pool.imap(partial(make, output=output, quick=args.subjects is not None), recipes):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
