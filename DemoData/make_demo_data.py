"""Make the three SIMULATED FLAIR subjects in this folder from the MNI152 maps that nilearn ships.

No single person is behind these images: the anatomy is the MNI152 average (T1, grey and white matter at 1 mm,
the copies inside nilearn's wheel), warped differently for each subject and given FLAIR-like contrast, folding
detail, texture, bias field and noise from seeded random generators.

Run it with:

    pip install nilearn==0.14.1
    python DemoData/make_demo_data.py --output DemoData

The same nilearn gives the same bytes again: every random number is seeded and the gzip headers hold neither
time nor file name. It takes about four minutes on one core.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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


RECIPES = (
    Recipe("sim-01", "RAS", 101, 6, (1.0, 1.03, 1.0), (4.0, 1.5, -2.0), -0.4, -0.3, 2.8, 0.3,
           300.0, 1.26, 0.20, 0.052, 0.55, (0.35, 0.35, 0.35), 0.06, 0.04, 0),
    Recipe("sim-02", "LPS", 202, 5, (1.05, 0.97, 0.98), (-5.0, -2.0, 3.0), 2.6, 0.6, 2.5, 0.8,
           260.0, 1.15, 0.16, 0.042, 0.60, (0.45, 0.45, 0.70), 0.09, 0.45, 14),
    Recipe("sim-03", "PIR", 303, 8, (0.95, 1.05, 1.04), (8.0, 3.0, 1.0), 1.2, 0.1, 2.7, 0.5,
           340.0, 1.21, 0.18, 0.060, 0.50, (0.50, 0.35, 0.35), 0.12, 0.14, 4),
)  # fmt: skip


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


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Floats:
    """A Gaussian random field of unit variance with the given smoothness in voxels."""
    step = max(1.0, sigma / 2.0)  # wide fields are drawn on a coarse grid: same look, far less work
    coarse = tuple(int(np.ceil(n / step)) + 4 for n in shape)
    field = blur(rng.standard_normal(coarse, dtype=np.float32), sigma / step)
    field = (field - field.mean()) / field.std()
    if step == 1.0:
        return field[tuple(slice(2, 2 + n) for n in shape)]
    offset = [float(o) for o in rng.uniform(1.0, 2.0, 3)]
    zoom = np.full(3, 1.0 / step)
    wide: Floats = ndimage.affine_transform(field, zoom, offset, output_shape=shape, order=3)
    return wide


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


def sampling_points(atlas: Atlas, recipe: Recipe, rng: np.random.Generator) -> Floats:
    """Where in the atlas each voxel of the subject comes from: head shape, ventricle size, random warps."""
    shape = atlas.t1.shape
    pull = np.stack(list(np.gradient(blur(atlas.ventricles, 6.0))))
    pull /= np.sqrt((pull**2).sum(axis=0)).max()
    points = np.indices(shape, dtype=np.float32)
    centre = (np.array(shape, dtype=np.float32)[:, None, None, None] - 1.0) / 2.0
    matrix = (rotation(recipe.degrees) / np.array(recipe.scale)[None, :]).astype(np.float32)
    moved = np.tensordot(matrix, points - centre, axes=1) + centre
    # Wide, middle and narrow warps, weak enough together not to fold space.
    for sigma, reach in ((24.0, 3.6), (9.0, 1.2), (3.5, 0.45)):
        moved += np.stack([reach * smooth_noise(rng, shape, sigma) for _ in range(3)])
    asymmetry = 1.0 + 0.35 * smooth_noise(rng, shape, 20.0)
    bent: Floats = (moved + recipe.ventricle_growth * pull * asymmetry).astype(np.float32)
    return bent


def sample(volume: Floats, points: Floats, order: int = 1, outside: float = 0.0) -> Floats:
    """Value of an atlas map at the sampling points."""
    warped: Floats = ndimage.map_coordinates(volume, points, order=order, cval=outside)
    return warped


def texture(rng: np.random.Generator, shape: tuple[int, ...], scales: Scales) -> Floats:
    """Sum of random fields, given as (smoothness, amplitude)."""
    total = np.zeros(shape, dtype=np.float32)
    for sigma, amplitude in scales:
        total += np.float32(amplitude) * smooth_noise(rng, shape, sigma)
    return total


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


def tissue_image(atlas: Atlas, recipe: Recipe, points: Floats, rng: np.random.Generator) -> Floats:
    """The noise-free FLAIR: class levels mixed by sharpened, randomly perturbed tissue scores."""
    shape = points.shape[1:]
    t1, deep = sample(atlas.t1, points, 3, 0.3), sample(atlas.deep, points)
    cortex = sample(atlas.cortex, points)
    ventricles = sample(atlas.ventricles, points)

    # Uneven thresholds break up the average's regular, mirror-symmetric ribbon.
    ragged = texture(rng, shape, ((1.2, 0.05), (2.5, 0.10), (6.0, 0.10)))
    crisp_grey = sigmoid(9.0 * (sample(atlas.grey_score, points, 3, 1.0) + ragged))
    grey = deep * sample(atlas.grey, points) + (1.0 - deep) * crisp_grey
    # A ribbon is a few mm thick: the middle of a thicker grey band is a sulcus that the average lost.
    thickness = recipe.cortex_thickness + texture(rng, shape, ((3.0, 0.35), (8.0, 0.45)))
    middle = 2.0 * (sample(atlas.between, points, 3) - 0.8 + 0.1 * recipe.csf_bias)
    sulcus = 0.25 * np.minimum(sample(atlas.from_white, points, 3, 9.0) - thickness, middle)
    sulcus = sulcus * cortex - 0.25 * (1.0 - cortex)
    score = np.maximum(sample(atlas.fluid_score, points, 3, 1.0), sulcus)
    score += texture(rng, shape, ((1.2, 0.04), (3.0, 0.06)))
    score += 0.08 * recipe.csf_bias * cortex - 0.22 * sample(atlas.midline, points)
    fluid = sigmoid(11.0 * score)
    fluid = np.maximum(fluid, np.clip(2.0 * ventricles - 0.8, 0.0, 1.0))

    # Tissue that is brighter on T1 (more myelin) is darker on FLAIR, which gives the callosum, capsules and
    # nuclei their shades without drawing them.
    white_level = 1.0 - 0.9 * np.clip(t1 - 0.86, -0.05, 0.08)
    grey_level = recipe.grey - 0.5 * (recipe.grey - 1.0) * deep
    white_level += texture(rng, shape, ((1.5, 0.012), (4.0, 0.015), (12.0, 0.020)))
    grey_level = grey_level + texture(rng, shape, ((1.2, 0.020), (3.0, 0.025), (12.0, 0.030)))
    solid = grey * grey_level + (1.0 - grey) * white_level
    solid -= 0.20 * sample(atlas.iron, points)
    solid -= 0.05 * sample(atlas.callosum, points) * (1.0 - grey)

    near = ndimage.distance_transform_edt(ventricles < 0.5).astype(np.float32)
    patchy = np.clip(1.0 + 0.6 * smooth_noise(rng, shape, 7.0), 0.0, 2.0)
    solid += recipe.caps * patchy * np.exp(-near / 2.5) * (1.0 - 0.7 * grey)
    solid += 0.45 * white_matter_spots(rng, (1.0 - grey) * (1.0 - fluid) * (1.0 - deep), near, recipe.spots)

    # Fluid is not quite even either: strands, vessels and flow leave it mottled, plexus makes it grey.
    fluid_level = recipe.fluid * (1.0 + texture(rng, shape, ((1.5, 0.20), (5.0, 0.20))))
    fluid_level += 0.5 * np.clip(t1 - 0.42, 0.0, 0.3) * ventricles
    mixed: Floats = (solid * (1.0 - fluid) + np.maximum(fluid_level, 0.04) * fluid).astype(np.float32)
    return blur(mixed, recipe.blur)


def acquire(clean: Floats, recipe: Recipe, rng: np.random.Generator) -> Floats:
    """Apply the bias field and Rician, slightly correlated noise."""
    field = np.exp(recipe.bias_field * np.clip(smooth_noise(rng, clean.shape, 45.0), -2.0, 2.0))
    noise = [recipe.noise * smooth_noise(rng, clean.shape, recipe.noise_blur) for _ in range(2)]
    measured: Floats = np.hypot(clean * field + noise[0], noise[1])
    return measured


def simulate(atlas: Atlas, recipe: Recipe) -> Subject:
    """One subject: FLAIR and brain mask cropped to the brain, with their RAS affine."""
    rng = np.random.default_rng(recipe.seed)
    points = sampling_points(atlas, recipe, rng)
    mask = one_piece(sample(atlas.distance, points, 1, -20.0) + recipe.rim > 0.0)
    flair = recipe.white * acquire(tissue_image(atlas, recipe, points, rng), recipe, rng)
    # At least 1 inside, so that 0 always means outside the brain.
    values = np.where(mask, np.clip(np.rint(flair), 1, 2000), 0).astype(np.int16)
    where = np.argwhere(mask)
    low, high = where.min(axis=0) - recipe.margin, where.max(axis=0) + 1 + recipe.margin
    if (low < 0).any() or (high > mask.shape).any():
        raise ValueError(f"{recipe.name}: the head does not fit its grid")
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = np.eye(4)
    affine[:3, 3] = np.array(atlas.origin) + low
    return values[box], mask[box].astype(np.uint8), affine


def write(volume: NDArray[np.generic], affine: NDArray[np.float64], orientation: str, path: Path) -> None:
    """Write a NIfTI file in the given axis orientation, the same bytes every time."""
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
    path.write_bytes(packed.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Make all simulated subjects."""
    parser = argparse.ArgumentParser(description="Make the simulated FLAIR subjects of DemoData.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent,
        metavar="DIR",
        help="folder that gets one folder per subject (default: the script's own)",
    )
    output: Path = parser.parse_args(argv).output
    atlas = build_atlas()
    for recipe in RECIPES:
        flair, mask, affine = simulate(atlas, recipe)
        write(flair, affine, recipe.orientation, output / recipe.name / "flair.nii.gz")
        write(mask, affine, recipe.orientation, output / recipe.name / "flair_brainmask.nii.gz")
        print(f"{recipe.name} (simulated): {recipe.orientation}, {int(mask.sum())} brain voxels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
