"""What NIfTI headers say of space comes out as it went in: two forms, their codes, and the unit of length."""

from __future__ import annotations

import gzip
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from synthtumour.brain.masks import prepare_brain
from synthtumour.errors import InputError
from synthtumour.volume import Volume, read_volume, write_volumes
from tests.conftest import MakeHead, resect

SHAPE = (5, 6, 7)
VALUES = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)
LPS = {"pixdim": (1, 1, 1.5, 2), "qform": (0, 0, 1, 10, 20, 30)}
LPS_ROWS = (-1, 0, 0, 10, 0, -1.5, 0, 20, 0, 0, 2, 30)
# Half a turn about z first, then 60 degrees about x; sizes 1, 1.5 and 2.
OBLIQUE = {"pixdim": (1, 1, 1.5, 2), "qform": (0, -0.5, 0.75**0.5, 10, 20, 30)}
OBLIQUE_ROWS = (-1, 0, 0, 10, 0, -0.75, -(3**0.5), 20, 0, -0.75 * 3**0.5, 1, 30)


def nifti(
    path: Path,
    order: str = "<",
    pixdim: tuple[float, ...] = LPS["pixdim"],
    qform: tuple[float, ...] = LPS["qform"],
    rows: tuple[float, ...] = LPS_ROWS,
    codes: tuple[int, int] = (1, 1),
    units: int = 10,
    values: np.ndarray = VALUES,
) -> Path:
    """A NIfTI-1 file of int16, written from the table of the standard."""
    header = bytearray(352)
    for at, kind, given in (
        (0, "i", (348,)),
        (40, "8h", (3, *values.shape, 1, 1, 1, 1)),
        (70, "2h", (4, 16)),
        (76, "4f", pixdim),
        (108, "2f", (352, 1)),
        (123, "B", (units,)),
        (252, "2h", codes),
        (256, "6f", qform),
        (280, "12f", rows),
        (344, "4s", (b"n+1",)),
    ):
        struct.pack_into(order + kind, header, at, *given)
    content = bytes(header) + values.astype(f"{order}i2").tobytes("F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def said(path: Path) -> dict[str, Any]:
    """The geometry in a little-endian NIfTI-1 header."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    assert content[:4] == struct.pack("<i", 348)
    fields = {"pixdim": (76, "4f"), "codes": (252, "2h"), "qform": (256, "6f"), "rows": (280, "12f")}
    found: dict[str, Any] = {
        name: struct.unpack_from(f"<{k}", content, at) for name, (at, k) in fields.items()
    }
    return {**found, "unit": content[123] & 7}


def moved(rows: tuple[float, ...], mm: float) -> tuple[float, ...]:
    """The form whose origin lies `mm` further to the right."""
    return (*rows[:3], rows[3] + mm, *rows[4:])


KINDS: dict[str, dict[str, Any]] = {
    "SPM: the sform moved by 10 mm": {"codes": (1, 2), "rows": moved(LPS_ROWS, 10)},
    "aligned": {"codes": (2, 2)},
    "Talairach": {"codes": (0, 3)},
    "MNI": {"codes": (4, 4)},
    "neither": {"codes": (0, 0)},
    "qform alone": {"codes": (1, 0)},
    "sform alone": {"codes": (0, 1)},
    "template": {"codes": (5, 5)},
    "metres": {
        "pixdim": (1, 0.001, 0.0015, 0.002),
        "qform": (0, 0, 1, 0.01, 0.02, 0.03),
        "rows": tuple(x / 1000 for x in LPS_ROWS),
        "units": 9,
    },
    "no unit": {"units": 0},
    "oblique": {**OBLIQUE, "rows": OBLIQUE_ROWS},
    "oblique, moved by 10 mm": {**OBLIQUE, "rows": moved(OBLIQUE_ROWS, 10), "codes": (1, 4)},
    "oblique, metres": {
        "pixdim": (1, 0.001, 0.0015, 0.002),
        "qform": (0, -0.5, 0.75**0.5, 0.01, 0.02, 0.03),
        "rows": tuple(x / 1000 for x in OBLIQUE_ROWS),
        "units": 1,
    },
    "oblique, micrometres": {
        "pixdim": (1, 1000, 1500, 2000),
        "qform": (0, -0.5, 0.75**0.5, 10000, 20000, 30000),
        "rows": tuple(x * 1000 for x in OBLIQUE_ROWS),
        "units": 3,
    },
}


@pytest.mark.filterwarnings("ignore:.*disagree")
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
def test_geometry_of_image_and_label_is_the_scans(
    tmp_path: Path, kind: str, order: str, extension: str
) -> None:
    scan = nifti(tmp_path / f"scan{extension}", order, **KINDS[kind])
    source = said(nifti(tmp_path / "little.nii", **KINDS[kind]))
    volume = read_volume(scan)
    outputs = {"image": volume, "label": volume.with_array(volume.array > 0)}
    write_volumes({tmp_path / f"{name}{extension}": made for name, made in outputs.items()})
    for name, values in (("image", VALUES), ("label", VALUES > 0)):
        path = tmp_path / f"{name}{extension}"
        assert said(path) == source
        # and ITK, which reads one form, finds it where it was
        read, before = sitk.ReadImage(str(path)), sitk.ReadImage(str(scan))
        assert read.GetOrigin() == before.GetOrigin() and read.GetDirection() == before.GetDirection()
        assert np.array_equal(sitk.GetArrayFromImage(read).T, values)


def test_a_header_as_itk_writes_it_keeps_the_bytes_of_itk(tmp_path: Path) -> None:
    scan = nifti(tmp_path / "scan.nii", units=2)
    write_volumes({tmp_path / "made.nii.gz": read_volume(scan)})
    sitk.WriteImage(sitk.ReadImage(str(scan)), str(tmp_path / "itk.nii.gz"), useCompression=True)
    assert (tmp_path / "made.nii.gz").read_bytes() == (tmp_path / "itk.nii.gz").read_bytes()


@pytest.mark.parametrize("codes", [(1, 1), (2, 4)])
@pytest.mark.parametrize("unit", [8, 16, 24, 32, 40, 48])
def test_the_unit_of_time_is_kept(tmp_path: Path, unit: int, codes: tuple[int, int]) -> None:
    """Seconds to radians a second, as the standard counts them."""
    for order in "<>":
        volume = read_volume(nifti(tmp_path / "scan.nii", order, units=2 | unit, codes=codes))
        outputs = {"i.nii": volume, "i.nii.gz": volume, "l.nii": volume.with_array(volume.array > 0)}
        write_volumes({tmp_path / name: made for name, made in outputs.items()})
        for name in outputs:
            content = (tmp_path / name).read_bytes()
            content = gzip.decompress(content) if name.endswith(".gz") else content
            assert content[123] == 2 | unit


def test_a_head_of_another_size_has_its_own_geometry(tmp_path: Path) -> None:
    volume = read_volume(nifti(tmp_path / "scan.nii", **KINDS["oblique, metres"]))
    write_volumes({tmp_path / "larger.nii": volume.resized(2)})
    assert said(tmp_path / "larger.nii")["pixdim"][1:] == pytest.approx((2, 3, 4), rel=1e-6)
    assert said(tmp_path / "larger.nii")["unit"] == 2


def test_forms_that_disagree_get_one_warning(tmp_path: Path) -> None:
    scan = nifti(tmp_path / "spm.nii", **KINDS["SPM: the sform moved by 10 mm"])
    with pytest.warns(UserWarning) as caught:
        read_volume(scan)
    (told,) = (str(one.message) for one in caught)
    assert told.startswith(f"{scan}: ") and "10 mm" in told and "here the qform" in told
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in set(KINDS) - {kind for kind in KINDS if "moved" in kind}:
            read_volume(nifti(tmp_path / "agree.nii", **KINDS[kind]))
        # a hundredth of a voxel is what counts as another grid
        read_volume(nifti(tmp_path / "agree.nii", rows=moved(LPS_ROWS, 0.009), codes=(1, 2)))


def turned(path: Path, seed: int) -> Path:
    """A long scan that ITK wrote, a little off whole quarter turns."""
    rng = np.random.default_rng(seed)
    tilt = rng.normal(size=3) * 10 ** rng.uniform(-3, 0)
    axes = Rotation.from_euler("xyz", rng.choice((0, 90, 180, 270), 3) + tilt, degrees=True).as_matrix()
    image = sitk.Image(2, 3, 300, sitk.sitkInt16)
    image.SetDirection((axes * rng.choice((1, -1), 3)).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def test_rounding_is_no_disagreement(tmp_path: Path) -> None:
    """Close to half a turn a quaternion of float32 is only good to 0.05 degrees, 0.2 mm of a long scan."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(300):
            read_volume(turned(tmp_path / "scan.nii", seed))
    for seed in range(30):
        scan = turned(tmp_path / "scan.nii", seed)
        content = bytearray(scan.read_bytes())
        at = 268 + 4 * (seed % 3)
        (offset,) = struct.unpack_from("<f", content, at)
        struct.pack_into("<f", content, at, offset + 0.02)
        scan.write_bytes(content)
        with pytest.warns(UserWarning, match=r"disagree \(up to 0\.0[12]"):
            read_volume(scan)


def with_forms(path: Path, codes: tuple[int, int], sform_moved_mm: float, both: bool = False) -> Path:
    """The codes of a file of ITK's, and its sform (with `both`, its qform too) moved to the right."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<2h", content, 252, *codes)
    for at in (292, 268) if both else (292,):
        (x,) = struct.unpack_from("<f", content, at)
        struct.pack_into("<f", content, at, x + sform_moved_mm)
    path.write_bytes(gzip.compress(content))
    return path


@pytest.mark.filterwarnings("ignore:.*disagree")
def test_a_mask_that_fits_one_form_is_not_to_be_resampled(make_head: MakeHead) -> None:
    scan = with_forms(make_head(), (1, 2), 10)
    mask = with_forms(scan.with_name("flair_brainmask.nii.gz"), (0, 2), 10)
    with pytest.raises(InputError) as error:
        prepare_brain(read_volume(scan), scan, mask)
    assert "by its sform the scan fits" in str(error.value) and "resample" not in str(error.value)
    assert "fslorient -copysform2qform" in str(error.value)
    # what that does
    cured = with_forms(with_forms(scan, (1, 2), -10), (1, 2), 10, both=True)
    assert prepare_brain(read_volume(cured), cured, mask, any_volume=True).array.any()
    # the other way round, the mask's own qform is wrong
    scan, mask = make_head("other"), make_head("other").with_name("flair_brainmask.nii.gz")
    with_forms(with_forms(mask, (2, 2), 10, both=True), (2, 2), -10)
    with pytest.raises(InputError, match="by its sform the mask fits.*-copysform2qform"):
        prepare_brain(read_volume(scan), scan, mask)
    with_forms(mask, (2, 2), 5)
    with pytest.raises(InputError, match="resample the mask"):
        prepare_brain(read_volume(scan), scan, mask)


@pytest.mark.filterwarnings("ignore:.*disagree")
def test_a_case_of_an_spm_style_file(make_head: MakeHead, tmp_path: Path) -> None:
    scan = with_forms(make_head(), (1, 2), 10)
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "--seed", 1) == 0
    assert said(tmp_path / "i.nii.gz") == said(tmp_path / "l.nii.gz") == said(scan)


def test_axes_off_right_angles_are_told_by_how_much(tmp_path: Path) -> None:
    shear = np.tan(np.radians(0.06))
    sheared = (-1, 0, 0, 10, shear, -1.5, 0, 20, 0, 0, 2, 30)
    with pytest.raises(InputError, match=r"0\.06 degrees off right angles; .*set both forms"):
        read_volume(nifti(tmp_path / "scan.nii", rows=sheared, codes=(0, 1)))
    array, affine = np.zeros(SHAPE), np.vstack([np.reshape(LPS_ROWS, (3, 4)), [0, 0, 0, 1]])
    write_volumes({tmp_path / "scan.mha": Volume.from_array(array, affine)})
    text = (tmp_path / "scan.mha").read_bytes()
    direction = text.split(b"TransformMatrix = ")[1].split(b"\n")[0]
    (tmp_path / "scan.mha").write_bytes(text.replace(direction, b"1 0.0349 0 0 1 0 0 0 1"))
    with pytest.raises(InputError, match=r"2 degrees off right angles; .*resample"):
        read_volume(tmp_path / "scan.mha")


def test_what_is_no_nifti_1_by_its_name_is_told_as_such(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "scan.nii").read_bytes()
    for order in "<>":
        (tmp_path / "scan.nii").write_bytes(struct.pack(f"{order}i", 540) + b"n+2\0\r\n\x1a\n" + bytes(600))
        with pytest.raises(InputError, match="a NIfTI-2 file, .*convert it to NIfTI-1"):
            read_volume(tmp_path / "scan.nii")
    (tmp_path / "scan.nii.gz").write_bytes(plain)
    with pytest.raises(InputError, match="not compressed; rename it to .nii"):
        read_volume(tmp_path / "scan.nii.gz")
    (tmp_path / "scan.nii").write_bytes(gzip.compress(plain))
    with pytest.raises(InputError, match="compressed by gzip; rename it to .nii.gz"):
        read_volume(tmp_path / "scan.nii")
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(gzip.compress(plain)))
    with pytest.raises(InputError, match="compressed twice"):
        read_volume(tmp_path / "scan.nii.gz")


def test_an_uncompressed_file_of_the_same_name_is_not_read_instead(tmp_path: Path) -> None:
    scan = nifti(tmp_path / "scan.nii.gz")
    nifti(tmp_path / "scan.nii", values=VALUES + 1000)
    assert np.array_equal(read_volume(scan).in_stored_order(), VALUES)
    assert np.array_equal(read_volume(tmp_path / "scan.nii").in_stored_order(), VALUES + 1000)
