"""Brain masks: given, missing, and whole heads that need one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.brain.masks import has_bright_rim, prepare_brain, region_of_stripped_scan
from synthtumour.errors import InputError
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from tests.conftest import ROOT, MakeHead, head_image, resect


def test_brain_mask_option_and_stripped_scan(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(mask=False)  # skull-stripped: its own region serves
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *outputs, "-s", 1) == 0
    half = sitk.ReadImage(str(make_head("other").parent / "flair_brainmask.nii.gz"))
    array = sitk.GetArrayFromImage(half)
    array[:, :, array.shape[2] // 2 :] = 0
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(half)
    sitk.WriteImage(mask, str(tmp_path / "half.nii.gz"))
    assert resect(scan, *outputs, "-s", 1, "--brain-mask", tmp_path / "half.nii.gz") == 0
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(outputs[1])))[array == 0].any()


def test_whole_head_without_a_mask_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(mask=False, skull=True)
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    said = capsys.readouterr().err
    assert "HD-BET" in said and "SynthStrip" in said and str(scan) in said


def test_whole_head_in_exact_zero_air_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some scanners store air as exactly 0: a head is told from a brain by its size."""
    image, _ = head_image(size_mm=(220.0, 260.0, 240.0), spacing=(4.0, 4.0, 4.0))
    sitk.WriteImage(image, str(tmp_path / "flair.nii.gz"))
    assert resect(tmp_path / "flair.nii.gz", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert "HD-BET" in capsys.readouterr().err


def written(path: Path, array: np.ndarray, like: Path) -> Path:
    """`array` (z, y, x) as an image file with the geometry of another."""
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(sitk.ReadImage(str(like)))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def whole_head(make_head: MakeHead) -> Path:
    """2 mm, 220 x 260 x 240 mm: a brain of 3.7 l would be none, so the ellipsoid of half its axes is it."""
    return make_head(size_mm=(220.0, 260.0, 240.0), spacing=(4.0, 4.0, 4.0), skull=True)


def axes_of(path: Path) -> np.ndarray:
    """Distance from the middle, 1 at the edge of the field of view."""
    size = sitk.ReadImage(str(path)).GetSize()[::-1]
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in size]
    return np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))


@pytest.mark.parametrize(
    ("kind", "ml"),
    [("all ones", 13728), ("head", 6162), ("inside out", 12826), ("lesion", 57)],
)
def test_a_mask_that_is_no_brain_by_its_size(whole_head: Path, tmp_path: Path, kind: str, ml: int) -> None:
    """Volumes: of the box, and 4/3 pi a b c of half-axes of 0.95, 0.5 and 0.2 of the field of view."""
    away = axes_of(whole_head)
    inside = {"all ones": away >= 0, "head": away < 0.95, "inside out": away >= 0.5, "lesion": away < 0.2}[
        kind
    ]
    mask = written(tmp_path / "mask.nii.gz", inside.astype(np.uint8), whole_head)
    scan = read_volume(whole_head)
    with pytest.raises(
        InputError, match=r"mask\.nii\.gz: a brain of (\d+) ml.*--any-brain-volume"
    ) as refused:
        prepare_brain(scan, whole_head, mask)
    said = int(str(refused.value).split("a brain of ")[1].split()[0])
    assert said == pytest.approx(ml, rel=0.05)
    assert prepare_brain(scan, whole_head, mask, any_volume=True).array.sum() == inside.sum()


def test_the_option_lets_it_through(
    whole_head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = written(tmp_path / "mask.nii.gz", (axes_of(whole_head) < 0.95).astype(np.uint8), whole_head)
    given = (whole_head, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "-s", 1, "--brain-mask", mask)
    assert resect(*given) == 2
    assert "--any-brain-volume" in capsys.readouterr().err
    assert resect(*given, "--any-brain-volume") == 0


@pytest.mark.parametrize("overshoot", [0.0, 0.37])
def test_a_resampled_mask_is_cut_at_half(whole_head: Path, tmp_path: Path, overshoot: float) -> None:
    """A mask that was interpolated has a ramp for its border: cut above 0 it would be the larger ball.

    Splines go beyond 0 and 1 on either side of it.
    """
    away = axes_of(whole_head)
    ramp = np.clip((0.6 - away) / 0.2, -overshoot, 1 + overshoot).astype(np.float32)  # one half at 0.5
    mask = written(tmp_path / "mask.nii.gz", ramp, whole_head)
    with pytest.warns(UserWarning, match="above 0.5"):
        brain = prepare_brain(read_volume(whole_head), whole_head, mask)
    assert brain.array.sum() == (away < 0.5).sum()


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_parcellation_is_a_brain_wherever_it_is_above_zero(
    whole_head: Path, tmp_path: Path, kind: type
) -> None:
    away = axes_of(whole_head)
    parcels = np.where(away < 0.3, 42, np.where(away < 0.5, 1, 0)).astype(kind)
    mask = written(tmp_path / "mask.nii.gz", parcels, whole_head)
    with pytest.warns(UserWarning, match="all above 0 count"):
        brain = prepare_brain(read_volume(whole_head), whole_head, mask)
    assert brain.array.sum() == (away < 0.5).sum()


def test_nan_in_a_mask_is_no_brain(whole_head: Path, tmp_path: Path) -> None:
    away = axes_of(whole_head)
    mask = written(tmp_path / "mask.nii.gz", np.where(away < 0.5, 1, np.nan).astype(np.float32), whole_head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert prepare_brain(read_volume(whole_head), whole_head, mask).array.sum() == (away < 0.5).sum()


def test_a_background_of_nan_is_one(tmp_path: Path) -> None:
    image, brain = head_image()
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    array[sitk.GetArrayFromImage(brain) == 0] = np.nan
    scan = Volume.from_image(sitk.GetImageFromArray(array))
    found = region_of_stripped_scan(scan)
    assert found is not None and found.sum() == (sitk.GetArrayFromImage(brain) > 0).sum()


def test_noise_in_the_background_is_named(tmp_path: Path) -> None:
    image, brain = head_image()
    array = sitk.GetArrayFromImage(image)
    noise = np.random.default_rng(0).integers(1, 7, array.shape)
    array = np.where(sitk.GetArrayFromImage(brain) > 0, array, noise).astype(np.int16)
    path = tmp_path / "flair.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    with pytest.raises(InputError, match="corners hold [1-6] to [1-6]: noise"):
        prepare_brain(read_volume(path), path, None)


def with_fat(outer_mm: float) -> tuple[Volume, np.ndarray]:
    """A demo head with bright fat 2 to 15 mm outside its brain, and its brain grown by `outer_mm`."""
    from scipy import ndimage

    scan, mask = (
        read_volume(ROOT / f"DemoData/sim-01/{name}.nii.gz") for name in ("flair", "flair_brainmask")
    )
    brain = mask.array > 0
    away = ndimage.distance_transform_edt(~brain, sampling=scan.grid.spacing_mm)
    bright = 3 * np.median(scan.array[brain])
    head = np.where((away > 2) & (away < 15), bright, np.where(brain, scan.array, 0))
    return scan.with_array(head.astype(np.float32)), away <= outer_mm


def test_a_mask_with_fat_in_its_rim_is_told_from_one_without() -> None:
    for outer_mm, expected in ((0.0, False), (6.0, True)):
        scan, brain = with_fat(outer_mm)
        assert has_bright_rim(scan.array, brain, scan.grid) is expected


def test_it_is_said_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    pictures = {}
    for outer_mm in (0.0, 6.0):
        scan, brain = with_fat(outer_mm)
        folder = tmp_path / str(outer_mm)
        folder.mkdir()
        sitk.WriteImage(scan.to_image(), str(folder / "flair.nii.gz"))
        sitk.WriteImage(scan.with_array(brain).to_image(), str(folder / "flair_brainmask.nii.gz"))
        outputs = [folder / name for name in ("i.nii.gz", "l.nii.gz")]
        assert (
            resect(
                folder / "flair.nii.gz",
                *outputs,
                "-s",
                1,
                "--preview",
                folder / "p.png",
                "--any-brain-volume",
            )
            == 0
        )
        said = capsys.readouterr().err
        assert ("seems to hold orbits" in said and "HD-BET" in said) is (outer_mm > 0)
        pictures[outer_mm] = np.asarray(Image.open(folder / "p.png").convert("RGB"))[:, :240]
    blue = {mm: (picture == (86, 180, 233)).all(axis=-1).sum() for mm, picture in pictures.items()}
    assert blue[0.0] == 0 and blue[6.0] > 300  # in the first column alone, which a label never is
