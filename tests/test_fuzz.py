"""Random heads, masks and options: a case that keeps every promise, or one line on stderr and exit 2.

The promises are METHOD.md's, as far as the files show them. The default run is short and always the same;
`pytest -m slow tests/test_fuzz.py` looks for new examples for some minutes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

import prompt_multi_tumor
import resect_multi_tumor
import stage2_mixed_with_pseudo_label

Strategy = st.SearchStrategy


SCALARS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


NO_SCALARS = ("complex64", "complex128", "rgb", "vector", "4d", "2d")


LONGEST_S = 20.0  # of CPU
ANY_BRAIN = "--any-brain-volume"


@dataclass(frozen=True)
class Head:
    """A scan and its brain mask as they are to be written."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)
    shear: float = 0.0  # of the direction's first column into its second: 1 is singular
    dtype: str = "int16"
    intensity: str = "plain"
    skull: bool = False
    extension: str = ".nii.gz"
    mask: str = "brain"
    mask_dtype: str = "uint8"
    mask_value: float = 1
    mask_grid: str = "same"
    seed: int = 0

    def direction(self) -> np.ndarray:
        matrix = Rotation.from_euler("xyz", self.turn_deg, degrees=True).as_matrix()
        matrix = matrix[:, list(self.order)] * np.where(self.flipped, -1, 1)
        matrix[:, 1] = (1 - self.shear) * matrix[:, 1] + self.shear * matrix[:, 0]
        return matrix


def radius_in(shape: tuple[int, int, int]) -> np.ndarray:
    """Distance from the middle, 1 half-way along each side."""
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in shape]
    return np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))


def images_of(head: Head) -> tuple[sitk.Image, sitk.Image | None]:
    """The scan and its mask, if it has one."""
    rng = np.random.default_rng(head.seed)
    radius = radius_in(head.shape)
    brain = radius <= 0.8
    values = (
        300 + 60 * ndimage.gaussian_filter(rng.normal(size=head.shape), 1.0) + rng.normal(0, 8, head.shape)
    )
    values = np.where(radius < 0.2, 80, values)
    around = rng.integers(1, 9, head.shape) if head.skull else 0
    values = np.where(brain, values, around)
    values = with_intensity(values, head.intensity, brain, rng)
    scan = placed(as_dtype(values, head.dtype), head)
    mask = mask_of(head.mask, brain, rng)
    if mask is None:
        return scan, None
    with np.errstate(invalid="ignore"):
        array = np.where(mask, head.mask_value, 0).astype(head.mask_dtype)
    return scan, on_grid(placed(array, head), head.mask_grid)


def with_intensity(values: np.ndarray, kind: str, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    where = {
        "outside": ~brain & (rng.random(brain.shape) < 0.3),
        "at the rim": brain ^ ndimage.binary_erosion(brain),
        "inside": brain & (rng.random(brain.shape) < 0.01),
    }
    with np.errstate(all="ignore"):
        for place, voxels in where.items():
            if kind.endswith(place):
                return np.where(voxels, np.nan if kind.startswith("NaN") else -np.inf, values)
        return INTENSITIES[kind](values)


INTENSITIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda values: values,
    "constant": lambda values: np.full_like(values, 7.0),
    "zero": np.zeros_like,
    "negative": lambda values: -values,
    "z-scored": lambda values: (values - 300) / 60,
    "tiny": lambda values: values * 1e-8,
    "large": lambda values: values * 1e4,
    "huge": lambda values: values * 1e28,
    "beyond float32": lambda values: values * 1e300,
    "subnormal": lambda values: values * 1e-43,
    "full range": lambda values: values * 1e17,
    "one bright voxel": lambda values: np.where(values == values.max(), 3e4, values),
    **dict.fromkeys(("NaN outside", "infinite outside", "NaN at the rim", "NaN inside", "infinite inside")),
}


def mask_of(kind: str, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    if kind == "absent":
        return None
    mask = np.zeros_like(brain)
    half = brain.shape[0] // 2
    if kind == "brain":
        mask = brain
    elif kind == "touching the border":
        mask = np.roll(brain, half, axis=0) | brain
    elif kind == "two islands":
        mask = brain.copy()
        mask[max(half - 1, 0) : half + 1] = False
    elif kind == "one voxel":
        mask[tuple(n // 2 for n in brain.shape)] = True
    elif kind == "slab":
        mask[:, :, brain.shape[2] // 2] = True
    elif kind == "scattered":
        mask = rng.random(brain.shape) < 0.05
    elif kind == "all":
        mask[:] = True
    return mask


MASKS = (
    "brain", "absent", "touching the border", "two islands", "one voxel", "slab", "scattered", "all", "none"
)  # fmt: skip


def as_dtype(values: np.ndarray, dtype: str) -> sitk.Image:
    kind = dtype if dtype in SCALARS else "float32"
    if np.dtype(kind).kind in "iu":
        limits = np.iinfo(kind)
        values = np.nan_to_num(values, nan=0, posinf=limits.max, neginf=limits.min)
        # float64 cannot hold the largest 64-bit integers: the next below
        values = np.clip(
            np.rint(values), np.nextafter(float(limits.min), 0), np.nextafter(float(limits.max), 0)
        )
    with np.errstate(all="ignore"):
        array = np.ascontiguousarray(values.astype(kind).transpose(2, 1, 0))
    if dtype in ("complex64", "complex128"):
        return sitk.GetImageFromArray(array.astype(dtype))
    if dtype == "rgb":
        return sitk.GetImageFromArray(np.repeat(array[..., None], 3, -1).astype(np.uint8), isVector=True)
    if dtype == "vector":
        return sitk.GetImageFromArray(np.repeat(array[..., None], 2, -1), isVector=True)
    if dtype == "4d":
        return sitk.GetImageFromArray(np.stack([array, array]), isVector=False)
    return sitk.GetImageFromArray(array[0] if dtype == "2d" else array)


def placed(image: sitk.Image | np.ndarray, head: Head) -> sitk.Image:
    if isinstance(image, np.ndarray):
        image = sitk.GetImageFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)))
    if image.GetDimension() == 3:
        image.SetSpacing(head.spacing_mm)
        image.SetOrigin((-51.25, -70.5, 13.75))
        image.SetDirection(head.direction().ravel().tolist())
    return image


def on_grid(mask: sitk.Image, grid: str) -> sitk.Image:
    if grid == "stored otherwise":
        return stored_otherwise(mask)
    if grid == "shifted":
        mask.SetOrigin(np.add(mask.GetOrigin(), 3 * np.array(mask.GetSpacing())).tolist())
    if grid == "other spacing":
        mask.SetSpacing((np.array(mask.GetSpacing()) * 1.5).tolist())
    if grid == "cut short" and mask.GetSize()[0] > 1:
        return mask[1:]
    return mask


def stored_otherwise(image: sitk.Image) -> sitk.Image:
    """The same head with its axes in another order, one of them backwards."""
    return sitk.Flip(sitk.PermuteAxes(image, (2, 0, 1)), (False, True, False))


def write(image: sitk.Image, path: Path) -> None:
    sitk.WriteImage(image, str(path), useCompression=path.suffix != ".nii")


def sides(most_voxels: int) -> Strategy[tuple[int, int, int]]:
    """Sides of 1 to 300 voxels, not too many voxels in all: mostly a chunk, at times a needle or a sheet."""
    chunk = st.integers(2, int(most_voxels ** (1 / 3)))
    any_side = st.one_of(st.integers(1, 6), st.integers(1, 300))
    either = st.one_of(*[st.tuples(chunk, chunk, chunk)] * 3, st.tuples(any_side, any_side, any_side))
    return either.filter(lambda shape: np.prod(shape) <= most_voxels)


def heads(most_voxels: int, odd: int = 4) -> Strategy[Head]:
    """Heads in which every single thing is odd one time in `odd`."""

    def mostly(usual: object, *others: object) -> Strategy[object]:
        return st.integers(0, odd - 1).flatmap(
            lambda n: st.sampled_from(others) if n == 0 else st.just(usual)
        )

    angle = st.one_of(st.just(0.0), st.floats(-180, 180).map(lambda a: round(a, 2)))
    spacing = st.floats(0.2, 10).map(lambda s: round(s, 3))
    usual_spacing = st.sampled_from([(1.0, 1.0, 1.0), (2.0, 3.0, 4.0)])
    return st.builds(
        Head,
        shape=sides(most_voxels),
        spacing_mm=st.one_of(st.tuples(spacing, spacing, spacing), usual_spacing),
        turn_deg=st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(angle, angle, angle)),
        order=st.permutations((0, 1, 2)).map(tuple),
        flipped=st.tuples(st.booleans(), st.booleans(), st.booleans()),
        shear=mostly(0.0, 0.0, 0.0, 0.0, 1e-4, 0.1, 1 - 1e-9),
        dtype=mostly("int16", *SCALARS, *SCALARS, *NO_SCALARS),
        intensity=mostly("plain", *INTENSITIES),
        skull=st.booleans(),
        extension=st.sampled_from((".nii.gz", ".nii", ".mha", ".nrrd")),
        mask=mostly("brain", *MASKS),
        mask_dtype=mostly("uint8", "int16", "float32", "float64", "uint64"),
        mask_value=mostly(1, 255, 0.5, -1, float("nan")),
        mask_grid=mostly("same", *["stored otherwise"] * 3, "shifted", "other spacing", "cut short"),
        seed=st.integers(0, 99),
    )


def numbers(*usual: str) -> Strategy[str]:
    """Sensible values, and one time in ten a senseless one."""
    odd = st.sampled_from(("0", "-1", "nan", "inf", "1e30", "1e-30"))
    return st.integers(0, 9).flatmap(lambda n: odd if n == 0 else st.sampled_from(usual))


def options(alone: bool = True) -> Strategy[list[str]]:
    """Some options, of one scan `alone` or of a folder; the volumes suit brains of 0.01 to 1000 ml."""
    volume = st.sampled_from((1.0, 30.0, 300.0, 1000.0, 5000.0, 20000.0))
    range_of_volumes = st.one_of(
        st.tuples(volume, volume).map(sorted),
        st.tuples(volume, volume).map(sorted),
        st.tuples(*[numbers("1", "1e3", "1e7")] * 2),
    ).map(lambda v: ["--min-volume", str(v[0]), "--max-volume", str(v[1])])
    count = st.sampled_from(
        (["1"], ["2"], ["1", "3"], ["1", "20"], ["3", "1"], ["0"], ["100"], ["1", "2", "3"])
    )
    val = ["--task", "val"] if alone else []
    centre = st.tuples(*[numbers("-50", "-60", "20")] * 3).map(lambda c: ["--center-ras", *c])
    one = st.one_of(
        st.just([]),
        st.sampled_from((val, ["--skull-strip"])),
        st.sampled_from(("noisy", "ellipsoid", "cuboid")).map(lambda s: ["--shape", s]),
        st.sampled_from(("scaled", "flat", "rings", "mixed")).map(lambda s: [*val, "--val-task", s]),
        count.map(lambda n: ["--num-tumours", *n]),
        numbers("0.5", "1").map(lambda p: ["--core-probability", p]),
        st.tuples(numbers("1", "3", "0.2"), numbers("3", "5", "1000")).map(
            lambda r: ["--intensity-range", *r]
        ),
        numbers("0.3", "1", "5", "20").map(lambda s: ["--buffer-sigma", s]),
        centre if alone else st.just([]),
    )
    growing = st.one_of(
        st.just([]),
        st.sampled_from((["--shape", "infiltrative"], ["--labels", "brats"], ["--labels", "whole"])),
        numbers("3", "10", "30").map(lambda mm: ["--mass-effect", mm]),
        numbers("0", "1").map(lambda p: ["--distractors", p]),
        numbers("0", "1").map(lambda p: ["--nodules", p]),
        numbers("0", "1", "5").map(lambda f: ["--texture", f]),
    )
    diverse = st.tuples(growing, growing).map(lambda parts: ["--preset", "diverse", *parts[0], *parts[1]])
    preset = st.one_of(st.just([]), diverse)
    brains = st.sampled_from(([], *[[ANY_BRAIN]] * 9))  # most heads here are too small for one
    volumes = st.one_of(range_of_volumes, st.just([]))
    drawn = st.tuples(brains, preset, volumes, st.lists(one, max_size=3))
    return drawn.map(lambda parts: [word for some in (*parts[:3], *parts[3]) for word in some])


def said_by(main: Callable[[list[str]], int], *args: object) -> tuple[int, str]:
    """Exit code and stderr of a script's `main`; an exception goes through, as it would reach the user."""
    said = io.StringIO()
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main([str(a) for a in args])
    took = time.process_time() - begin
    note(f"exit {code} after {took:.2f} s of CPU, stderr {said.getvalue()!r}")
    assert took < LONGEST_S
    return code, said.getvalue()


def check_head(head: Head, extra: Sequence[str]) -> None:
    """Run resect_multi_tumor.py on `head` and check its promises on the files."""
    scan, mask = images_of(head)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"scan{head.extension}"
        try:
            write(scan, path)
        except RuntimeError:  # a format that does not keep this kind of image: nothing to read
            return
        if mask is not None:
            write(mask, folder / "scan_brainmask.nii.gz")
        outputs = [folder / f"image{head.extension}", folder / "label.nii.gz"]
        record = folder / "record.json"
        before = {file.name for file in folder.iterdir()}
        code, said = said_by(
            resect_multi_tumor.main, path, *outputs, "--record", record, "--seed", head.seed, *extra
        )
        there = {file.name for file in folder.iterdir()} - before
        if code:
            lines = said.splitlines()
            assert code == 2, said
            assert [line for line in lines if "warning: " not in line] == lines[-1:]
            assert lines[-1].startswith("resect_multi_tumor.py: error: ") and "Error" not in lines[-1]
            assert not there
            return
        known = re.compile(f".*warning: {re.escape(name)}.*(brain ?mask|counts as black)")
        assert all(known.match(line) for line in said.splitlines())
        assert there == {outputs[0].name, outputs[1].name, record.name}
        check_promises(head, path, *outputs, json.loads(record.read_text()), "--skull-strip" in extra)
        first = [file.read_bytes() for file in (*outputs, record)]
        assert (
            said_by(resect_multi_tumor.main, path, *outputs, "--record", record, "--seed", head.seed, *extra)[
                0
            ]
            == 0
        )
        assert first == [file.read_bytes() for file in (*outputs, record)]
        if not head.shear:  # NIfTI straightens the axes as it is written
            check_other_order(head, folder, path, outputs, extra)


def check_promises(
    head: Head, scan_path: Path, image_path: Path, label_path: Path, record: dict, stripped: bool
) -> None:
    scan, image, label = (sitk.ReadImage(str(p)) for p in (scan_path, image_path, label_path))
    scale = record["head_scale"]
    assert scale == 1 or (record["preset"] == "diverse" and record["rendering"]["task"] == "train")
    for written, tolerance in ((image, 1e-12 if scale == 1 else 1e-4), (label, 1e-4)):
        assert written.GetSize() == scan.GetSize()
        for got, as_scanned, factor in zip(geometry(written), geometry(scan), (scale, scale, 1), strict=True):
            np.testing.assert_allclose(got, np.multiply(as_scanned, factor), rtol=0, atol=tolerance)
    before, after, marked = (values_of(p) for p in (scan_path, image_path, label_path))
    assert label.GetPixelID() == sitk.sitkUInt8
    assert marked.any() and set(np.unique(marked)) <= (
        {0, 1, 2, 3} if record["rendering"].get("labels") == "brats" else {0, 1}
    )
    brain = brain_of(head, before)
    assert not marked[~brain].any()
    if after.dtype != before.dtype:  # only where the tumour's values do not fit
        assert before.dtype.kind in "iu" and after.dtype.kind == "f"
        limits = np.iinfo(before.dtype)
        assert after[brain].max() > limits.max or after[brain].min() < limits.min
    kept = np.where(brain, before, before.dtype.type(0)) if stripped else before
    untouched = ~brain
    if record["preset"] == "paper":
        spacing = np.array(scan.GetSpacing())[::-1]
        # the buffer layer ends there; the thinnest parts of a shape are too faint for the label
        reach = 4 * record["rendering"]["buffer_sigma_mm"] + 3 * spacing.max()
        away = ndimage.distance_transform_edt(marked == 0, sampling=spacing) > reach
        untouched |= away
    np.testing.assert_array_equal(after[untouched], kept[untouched])
    assert np.isfinite(after[brain].astype(np.float64)).all()
    if (
        record["rendering"]["task"] == "train"
        and head.mask == "brain"
        and head.intensity == "plain"
        and record["preset"] == "paper"
    ):
        assert (after != kept).any() or record["tumours"][0]["intensity"]["factor"] == 1


def geometry(image: sitk.Image) -> tuple[tuple[float, ...], ...]:
    return image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def values_of(path: Path) -> np.ndarray:
    """Voxels [z, y, x] with the NaN that ITK drops from NIfTI files."""
    from synthtumour.volume.reading import read_volume

    return read_volume(path).in_stored_order().transpose(2, 1, 0)


def brain_of(head: Head, before: np.ndarray) -> np.ndarray:
    mask = images_of(replace(head, mask_grid="same"))[1]
    if mask is None:  # a stripped scan: all that is not exactly background
        return ndimage.binary_fill_holes(before != before[0, 0, 0])
    return sitk.GetArrayFromImage(mask) > 0


def check_other_order(
    head: Head, folder: Path, path: Path, outputs: list[Path], extra: Sequence[str]
) -> None:
    """The same head stored in another order gets the same tumour."""
    scan, mask = images_of(head)
    (folder / "other").mkdir()
    other = folder / "other" / path.name
    write(stored_otherwise(scan), other)
    if mask is not None:
        write(mask, other.with_name("scan_brainmask.nii.gz"))
    others = [folder / "other" / output.name for output in outputs]
    code, said = said_by(resect_multi_tumor.main, other, *others, "--seed", head.seed, *extra)
    assert code == 0, said
    for mine, theirs in zip(outputs, others, strict=True):
        here, there = (values_of(file) for file in (mine, theirs))
        np.testing.assert_array_equal(here, as_before(there))


def as_before(values: np.ndarray) -> np.ndarray:
    """Undo `stored_otherwise` on voxels [z, y, x]."""
    return values.transpose(2, 1, 0)[:, ::-1].transpose(1, 2, 0).transpose(2, 1, 0)


def check_folder(kinds: Sequence[Head], extra: Sequence[str]) -> None:
    """Run prompt_multi_tumor.py on a folder of heads: every case is made and keeps its promises, or named."""
    with tempfile.TemporaryDirectory() as name:
        folder, dataset = Path(name), Path(name) / "Dataset001_Fuzz"
        heads_of = {}
        for number, head in enumerate(kinds):
            scan, mask = images_of(head)
            subject = folder / "in" / f"s{number}"
            subject.mkdir(parents=True)
            with contextlib.suppress(RuntimeError):  # NIfTI does not keep this kind of image: a subject less
                write(scan, subject / "flair.nii.gz")
                heads_of[subject.name] = head
            if mask is not None:
                write(mask, subject / "flair_brainmask.nii.gz")
        code, said = said_by(
            prompt_multi_tumor.main, "--input", folder / "in", "--output", dataset, "--workers", 1, *extra
        )
        assert "Traceback" not in said
        if code == 2:
            errors = [line for line in said.splitlines() if " error: " in line]
            assert errors == said.splitlines()[-1:] and not dataset.exists()
            return
        with (dataset / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["subject"] for row in rows} == set(heads_of)
        assert code == int(any(row["status"] == "failed" for row in rows))
        files = {file.name for place in ("imagesTr", "labelsTr") for file in (dataset / place).glob("*")}
        made = [row for row in rows if row["status"] == "made"]
        assert files == {f"{row['case']}{end}" for row in made for end in ("_0000.nii.gz", ".nii.gz")}
        for row in rows:
            if row["status"] == "failed":
                assert row["reason"] and "\n" not in row["reason"] and "unexpected" not in row["reason"]
            elif row["tumours"] != "0":
                scan_path = folder / "in" / row["source"]
                paths = (
                    dataset / f"imagesTr/{row['case']}_0000.nii.gz",
                    dataset / f"labelsTr/{row['case']}.nii.gz",
                )
                stripped = "--skull-strip" in extra
                check_promises(
                    heads_of[row["subject"]], scan_path, *paths, json.loads(row["record"]), stripped
                )


def check_mixing(donor: Head, healthy: Head, label: str, extra: Sequence[str]) -> None:
    """Run Stage 2 on a donor and a recipient: mixed cases keep their promises, or the reason is told."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("D/imagesTr", "D/labelsTr", "H"):
            (folder / place).mkdir(parents=True)
        for head, scan_path in ((donor, "D/imagesTr/p_0000.nii.gz"), (healthy, "H/h_0000.nii.gz")):
            scan, mask = images_of(head)
            try:
                write(scan, folder / scan_path)
            except RuntimeError:
                return
            if mask is not None:
                write(mask, folder / scan_path.replace("_0000", "_brainmask"))
        tumour = mask_of(label, radius_in(donor.shape) < 0.4, np.random.default_rng(donor.seed))
        if tumour is not None:
            write(placed(tumour.astype(donor.mask_dtype), donor), folder / "D/labelsTr/p.nii.gz")
        paths = ("--imagesTr_path", folder / "D/imagesTr", "--labelsTr_path", folder / "D/labelsTr")
        how = ("--healthyimgTr", folder / "H", "-num", 2, "--workers", 1)
        code, said = said_by(stage2_mixed_with_pseudo_label.main, *paths, *how, *extra)
        assert "Traceback" not in said and "unexpected" not in said
        mixed = sorted((folder / "D/imagesTrMix").glob("*"))
        if code == 2:
            assert said.count(" error: ") == 1 and not mixed
        for image in mixed:
            mixed_label = folder / "D/labelsTrMix" / image.name.replace("_0000", "")
            before, after, marked = (values_of(p) for p in (folder / "H/h_0000.nii.gz", image, mixed_label))
            brain = brain_of(healthy, before)
            assert marked.dtype == np.uint8 and marked.any() and not marked[~brain].any()
            np.testing.assert_array_equal(after[~brain], before[~brain])
            assert geometry(sitk.ReadImage(str(image))) == geometry(
                sitk.ReadImage(str(folder / "H/h_0000.nii.gz"))
            )


fuzz = settings(
    derandomize=True, max_examples=80, deadline=None, database=None, print_blob=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@fuzz
@given(head=heads(20_000), extra=options())
def test_one_scan(head: Head, extra: list[str]) -> None:
    check_head(head, extra)


@pytest.mark.slow
@settings(fuzz, max_examples=300)  # more, and others: max_examples=2000, derandomize=False
@given(head=heads(60_000), extra=options())
def test_many_scans(head: Head, extra: list[str]) -> None:
    check_head(head, extra)


@settings(fuzz, max_examples=4)
@given(kinds=st.lists(heads(8_000, odd=12), min_size=2, max_size=4), extra=options(alone=False))
def test_a_folder(kinds: list[Head], extra: list[str]) -> None:
    check_folder(kinds, extra)


MIXING = st.sampled_from(
    (
        [],
        ["--align", "none"],
        ["--carve", "distance"],
        ["--blend", "hard", "--jitter", "5"],
        ["--scale-per-axis"],
    )
)


LOOSE = ["--min-volume-ml", "0", "--min-contrast", "0", "--max-brain-fraction", "1", "--min-island-ml", "0"]
LOOSE += [ANY_BRAIN]


@settings(fuzz, max_examples=4)
@given(donor=heads(8_000, odd=12), healthy=heads(8_000, odd=12), label=st.sampled_from(MASKS), extra=MIXING)
def test_a_mixture(donor: Head, healthy: Head, label: str, extra: list[str]) -> None:
    check_mixing(donor, healthy, label, [*extra, *LOOSE])


@pytest.mark.slow
@settings(fuzz, max_examples=20)
@given(kinds=st.lists(heads(20_000, odd=8), min_size=2, max_size=6), extra=options(alone=False))
def test_many_folders(kinds: list[Head], extra: list[str]) -> None:
    check_folder(kinds, extra)


@pytest.mark.slow
@settings(fuzz, max_examples=60)
@given(donor=heads(20_000, odd=12), healthy=heads(20_000, odd=12), label=st.sampled_from(MASKS), extra=MIXING)
def test_many_mixtures(donor: Head, healthy: Head, label: str, extra: list[str]) -> None:
    check_mixing(donor, healthy, label, [*extra, *LOOSE])
