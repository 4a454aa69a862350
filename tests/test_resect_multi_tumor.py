"""Preset diverse: tumours grown through tissue, painted, beside distractors; and paper, left as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import resect_multi_tumor
from tests.conftest import ROOT, SMALL_VOLUMES, MakeHead, head_image, in_order, resect


@pytest.mark.parametrize("orientation", ["RAS", "PIR"])
def test_orientation_changes_nothing(make_head: MakeHead, tmp_path: Path, orientation: str) -> None:
    arrays = []
    for stored in ("LPS", orientation):
        scan = make_head(f"in-{stored}", stored, spacing=(1.5, 2.0, 3.0))
        outputs = [tmp_path / f"{stored}-{n}.nii.gz" for n in ("image", "label")]
        arguments = [str(scan), *map(str, outputs), "--preset", "diverse", "--seed", "4"]
        arguments += ["--distractors", "1", "--mass-effect", "4", "--max-volume", "30000"]
        assert resect_multi_tumor.main(arguments) == 0
        arrays.append([in_order(path) for path in outputs])
    for first, second in zip(*arrays, strict=True):
        assert np.array_equal(first, second)


SCRIPT = ROOT / "resect_multi_tumor.py"


@pytest.fixture
def made(make_head: MakeHead, tmp_path: Path) -> Callable[..., tuple[np.ndarray, np.ndarray, dict]]:
    """made('--option', ...) runs the script on one head; returns image, label (RAS order) and record."""
    scan = make_head("made")

    def run(*options: object) -> tuple[np.ndarray, np.ndarray, dict]:
        image, label, record = (tmp_path / name for name in ("i.nii.gz", "l.nii.gz", "r.json"))
        volumes = [] if "--volumes-path" in options else SMALL_VOLUMES
        assert resect(scan, image, label, "--seed", 1, "--record", record, *volumes, *options) == 0
        return in_order(image), in_order(label), json.loads(record.read_text())

    return run


def test_script_prints_one_line_and_exits_0(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head()
    command = [sys.executable, str(SCRIPT), str(scan), "image.nii.gz", "label.nii.gz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    line = done.stdout.strip()
    assert (
        "\n" not in line and " ml" in line and "centre RAS" in line and "intensity" in line and "seed" in line
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.nii.gz", "label.nii.gz", "subject"]


def test_help_needs_no_heavy_import_and_names_every_option() -> None:
    code = "import resect_multi_tumor as r, sys\ntry: r.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'scipy', 'SimpleITK', 'pandas', 'tqdm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    for option in (
        "--brain-mask --seed -s --preset --task --min-volume -miv --max-volume -mav --volumes-path -p "
        "--shape --center-ras -r --num-tumours --core-probability --intensity-range --buffer-sigma "
        "--skull-strip --record --from-record --preview --shape-engine"
    ).split():
        assert option in done.stdout


def test_no_argument_is_refused_with_usage() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr


@pytest.mark.parametrize("task", ["train", "val"])
@pytest.mark.parametrize("skull", [False, True])
def test_nothing_changes_outside_the_brain_or_away_from_the_tumour(
    make_head: MakeHead, tmp_path: Path, task: str, skull: bool
) -> None:
    scan = make_head(skull=skull, spacing=(1.5, 1.5, 3.0))
    image, label = tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"
    assert resect(scan, image, label, "--preset", "paper", "--seed", 3, "--task", task) == 0
    before, after, marked = in_order(scan), in_order(image), in_order(label)
    brain = in_order(scan.parent / "flair_brainmask.nii.gz") > 0
    assert after.dtype == np.int16 and marked.dtype == np.uint8
    assert set(np.unique(marked)) == {0, 1} and not marked[~brain].any()
    distance = ndimage.distance_transform_edt(marked == 0, sampling=(3.0, 1.5, 1.5))
    # the Gaussian of 1 mm ends at 4 mm from the shape, and the label reaches beyond the shape
    untouched = ~brain | (distance > 4)
    assert np.array_equal(before[untouched], after[untouched])
    assert (before[marked > 0] != after[marked > 0]).mean() > 0.9


@pytest.mark.parametrize("how", [{}, {"oblique_deg": 17.0, "spacing": (1.5, 2.0, 5.0)}])
@pytest.mark.parametrize("orientation", ["RAS", "PIR", "SAL"])
def test_same_head_in_any_order_gives_the_same_voxels(
    make_head: MakeHead, tmp_path: Path, orientation: str, how: dict
) -> None:
    results = []
    for stored in ("LPS", orientation):
        scan = make_head(stored, orientation=stored, **how)
        outputs = [tmp_path / f"{stored}_{n}.nii.gz" for n in ("i", "l")]
        assert resect(scan, *outputs, "--seed", 11, "--core-probability", 1) == 0
        results.append([in_order(p) for p in outputs])
    for first, second in zip(*results, strict=True):
        assert np.array_equal(first, second)


def test_resampled_oblique_head_has_its_tumour_in_the_same_place(make_head: MakeHead, tmp_path: Path) -> None:
    """Centre and volume in the world survive a change of grid."""
    measured = []
    for name, how in (("straight", {}), ("turned", {"resample": True})):
        image, brain = head_image(spacing=(2.0, 2.0, 2.0))
        if how:
            size, spacing = [70, 84, 62], [2.2, 2.2, 2.2]
            turned = head_image(oblique_deg=20.0)[0]
            grid = sitk.Image(size, sitk.sitkUInt8)
            grid.SetSpacing(spacing)
            grid.SetDirection(turned.GetDirection())
            middle = image.TransformContinuousIndexToPhysicalPoint([s / 2 for s in image.GetSize()])
            from_corner = grid.TransformContinuousIndexToPhysicalPoint([s / 2 for s in size])
            grid.SetOrigin(np.subtract(middle, from_corner).tolist())
            image = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
            brain = sitk.Resample(brain, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
        sitk.WriteImage(brain, str(tmp_path / f"{name}_brainmask.nii.gz"))
        record = tmp_path / f"{name}.json"
        outputs = [tmp_path / f"{name}_{n}.nii.gz" for n in ("i", "l")]
        assert (
            resect(tmp_path / f"{name}.nii.gz", *outputs, "-s", 2, "--preset", "paper", "--record", record)
            == 0
        )
        measured.append(json.loads(record.read_text())["measured"])
    distance = np.linalg.norm(np.subtract(measured[0]["centre_ras_mm"], measured[1]["centre_ras_mm"]))
    assert distance < 3
    assert measured[0]["volume_ml"] == pytest.approx(measured[1]["volume_ml"], rel=0.1)


def test_tumour_is_round_in_mm_on_thick_slices(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(spacing=(1.0, 1.0, 5.0))
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    options = [
        "--preset",
        "paper",
        "--shape",
        "ellipsoid",
        "--center-ras",
        -8,
        -1,
        66,
        "-miv",
        33510,
        "-mav",
        33510,
    ]
    extents = []
    for seed in range(6):
        assert resect(scan, *outputs, "--seed", seed, *options, "--task", "val") == 0
        extents.append([np.ptp(n) + 1 for n in np.nonzero(in_order(outputs[1]))])
    # V = 4/3 pi r^3 with r = 20 mm, and semi-axes (r, kr, r/k): the volume is that of the sphere
    voxels = in_order(outputs[1]).sum()
    assert voxels * 5.0 == pytest.approx(33510, rel=0.03)
    mean = np.mean(extents, axis=0) * (5.0, 1.0, 1.0)
    assert mean.max() / mean.min() < 1.6


def test_geometry_and_dtype_are_kept(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(oblique_deg=12.0, orientation="PIR", spacing=(1.1, 1.3, 2.7))
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *outputs) == 0
    source = sitk.ReadImage(str(scan))
    for path in outputs:
        image = sitk.ReadImage(str(path))
        assert image.GetSpacing() == source.GetSpacing()
        assert image.GetOrigin() == source.GetOrigin()
        assert image.GetDirection() == source.GetDirection()


def test_same_seed_same_bytes_other_seed_other_tumour(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head()
    made = []
    for seed in (4, 4, 5):
        outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
        assert resect(scan, *outputs, "--seed", seed) == 0
        made.append([p.read_bytes() for p in outputs])
    assert made[0] == made[1] and made[0] != made[2]


def test_without_a_seed_the_printed_one_makes_it_again(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head()
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *outputs) == 0
    seed = capsys.readouterr().out.split("seed ")[1].split(")")[0]
    first = [p.read_bytes() for p in outputs]
    assert resect(scan, *outputs, "--seed", seed) == 0
    assert [p.read_bytes() for p in outputs] == first


def test_record_makes_the_identical_case_again(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(skull=True)
    first = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    again = [tmp_path / f"{n}2.nii.gz" for n in ("i", "l")]
    record = tmp_path / "r.json"
    options = ["--num-tumours", 2, "--core-probability", 1, "--skull-strip", "--task", "val", *SMALL_VOLUMES]
    assert resect(scan, *first, "--record", record, *options) == 0
    assert resect(scan, *again, "--from-record", record, "--record", tmp_path / "r2.json") == 0
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in first]
    assert (tmp_path / "r2.json").read_text() == record.read_text()


def test_volume_options(made: Callable, tmp_path: Path) -> None:
    _, small, record = made(
        "--min-volume", 3000, "--max-volume", 3000, "--shape", "ellipsoid", "--task", "val"
    )
    assert record["tumours"][0]["shape"]["volume_mm3"] == 3000
    _, large, _ = made("--min-volume", 9000, "--max-volume", 9000, "--shape", "ellipsoid", "--task", "val")
    assert large.sum() > small.sum()
    csv = tmp_path / "volumes.csv"
    csv.write_text("Name,Volume\na,5123\nb,6234\n")
    _, _, record = made("--volumes-path", csv)
    assert record["tumours"][0]["shape"]["volume_mm3"] in (5123, 6234)


def test_shape_option(made: Callable) -> None:
    labels = {kind: made("--shape", kind)[1] for kind in ("noisy", "ellipsoid", "cuboid")}
    assert not np.array_equal(labels["noisy"], labels["ellipsoid"])
    assert not np.array_equal(labels["ellipsoid"], labels["cuboid"])


def test_center_option_places_the_tumour(made: Callable) -> None:
    _, _, record = made("--center-ras", -12, 6, 70, "--shape", "ellipsoid")
    assert np.allclose(record["measured"]["centre_ras_mm"], (-12, 6, 70), atol=2)


@pytest.mark.parametrize("how_many", [["3"], ["2", "4"]])
def test_several_tumours_do_not_merge(made: Callable, how_many: list[str]) -> None:
    for seed in range(5):
        _, label, record = made("--num-tumours", *how_many, "--seed", seed, "-miv", 500, "-mav", 4000)
        count = ndimage.label(label, structure=np.ones((3, 3, 3)))[1]
        assert count == len(record["tumours"])
        assert int(how_many[0]) <= count <= int(how_many[-1])


def test_core_intensity_and_buffer_options(made: Callable) -> None:
    image, label, record = made("--preset", "paper", "--core-probability", 0)
    assert record["tumours"][0]["core"] is None
    cored, _, record = made("--preset", "paper", "--core-probability", 1)
    assert record["tumours"][0]["core"] and cored[label > 0].mean() < image[label > 0].mean()
    bright, _, record = made("--preset", "paper", "--core-probability", 0, "--intensity-range", 4.9, 5)
    dim, _, _ = made("--preset", "paper", "--core-probability", 0, "--intensity-range", 1.5, 1.6)
    assert bright[label > 0].mean() > 2 * dim[label > 0].mean()
    _, wide, _ = made("--preset", "paper", "--buffer-sigma", 3)
    assert wide.sum() > label.sum()


def test_val_task_keeps_the_scans_texture(made: Callable, tmp_path: Path) -> None:
    before = in_order(tmp_path / "made" / "flair.nii.gz").astype(float)
    image, label, record = made("--preset", "paper", "--task", "val", "--core-probability", 0)
    factor = record["tumours"][0]["intensity"]["factor"]
    expected = np.where(label > 0, np.rint(np.float32(factor) * before.astype(np.float32)), before)
    assert np.abs(image - expected).max() <= 1
    assert np.array_equal(image[label == 0], before[label == 0])


def test_train_task_follows_the_formula(made: Callable, tmp_path: Path) -> None:
    """I' = (1 - a) I + a t G5(I), a = G1(M), both by scipy on the whole array; M is the val task's label."""
    before = in_order(tmp_path / "made" / "flair.nii.gz").astype(float)
    brain = in_order(tmp_path / "made" / "flair_brainmask.nii.gz") > 0
    _, mask, _ = made("--preset", "paper", "--task", "val", "--core-probability", 0)
    image, label, record = made("--preset", "paper", "--core-probability", 0)
    soft = ndimage.gaussian_filter(mask.astype(float), 1.0 / 2.0) * brain
    blurred = ndimage.gaussian_filter(before, 5.0 / 2.0, mode="nearest")
    factor = record["tumours"][0]["intensity"]["factor"]
    assert np.abs(image - ((1 - soft) * before + soft * factor * blurred)).max() < 1
    assert np.array_equal(label > 0, soft > 0.1)


def test_skull_strip_and_preview(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(skull=True)
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *outputs, "--skull-strip", "--preview", tmp_path / "p.png") == 0
    brain = in_order(scan.parent / "flair_brainmask.nii.gz") > 0
    assert not in_order(outputs[0])[~brain].any()
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png")))
    assert picture.ndim == 3 and min(picture.shape[:2]) > 200
    assert (picture == (240, 228, 66)).all(axis=-1).sum() > 50  # the outline


def _spoilt(path: Path, **how: object) -> Path:
    """Write a wrong scan or mask of the kind `how` beside the right one."""
    kind = how["kind"]
    image = sitk.ReadImage(str(path))
    other = path.with_name(f"{kind}.nii.gz")
    if kind == "truncated":
        other.write_bytes(path.read_bytes()[:-5000])
    elif kind == "text":
        other.write_text("not an image\n" * 100)
    elif kind == "flat":
        sitk.WriteImage(image[:, :, 5], str(other))
    elif kind == "series":
        sitk.WriteImage(sitk.JoinSeries([image, image]), str(other))
    elif kind == "nan":
        values = sitk.GetArrayFromImage(image).astype(np.float32)
        values[tuple(n // 2 for n in values.shape)] = np.nan
        spoilt = sitk.GetImageFromArray(values)
        spoilt.CopyInformation(image)
        sitk.WriteImage(spoilt, str(other))
    elif kind == "empty":
        sitk.WriteImage(image * 0, str(other))
    elif kind == "shifted":
        image.SetOrigin(np.add(image.GetOrigin(), (0, 7, 0)).tolist())
        sitk.WriteImage(image, str(other))
    elif kind == "smaller":
        sitk.WriteImage(image[:, :, 2:], str(other))
    elif kind == "grey":
        sitk.WriteImage(image * 3, str(other))
    return other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scan": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"scan": "truncated"}, ["truncated.nii.gz", "cut short"]),
        ({"scan": "text"}, ["text.nii.gz", "not an image"]),
        ({"scan": "flat"}, ["flat.nii.gz", "three-dimensional"]),
        ({"scan": "series"}, ["series.nii.gz", "three-dimensional"]),
        ({"scan": "nan"}, ["nan.nii.gz", "NaN"]),
        ({"mask": "shifted"}, ["shifted.nii.gz", "origin", "flair.nii.gz"]),
        ({"mask": "smaller"}, ["smaller.nii.gz", "size (60, 72, 52) against (60, 72, 54)"]),
        ({"mask": "empty"}, ["empty.nii.gz", "empty"]),
        ({"mask": "missing.nii.gz"}, ["missing.nii.gz", "no such file"]),
        ({"options": ["--min-volume", "9000", "--max-volume", "8000"]}, ["--min-volume 9000", "8000"]),
        ({"options": ["--min-volume", "260000"]}, ["--min-volume 260000", "250000"]),
        ({"options": ["--min-volume", "-5"]}, ["--min-volume -5", "1 to 10000000 mm^3"]),
        ({"options": ["--center-ras", "900", "0", "0"]}, ["900.0", "outside the brain"]),
        ({"options": ["--volumes-path", "wrong.csv"]}, ["wrong.csv", "Volume"]),
        ({"options": ["--volumes-path", "no.csv"]}, ["no.csv", "cannot be read"]),
        ({"options": ["--min-volume", "9e6", "--max-volume", "9e6"]}, ["fitted", "volumes"]),
        ({"options": ["--num-tumours", "60"]}, ["of 60 tumours"]),
        ({"options": ["--num-tumours", "3", "2"]}, ["--num-tumours 3 2"]),
        ({"options": ["--core-probability", "1.5"]}, ["--core-probability 1.5"]),
        ({"options": ["--intensity-range", "3", "2"]}, ["--intensity-range 3 2"]),
        ({"options": ["--buffer-sigma", "-1"]}, ["--buffer-sigma -1"]),
        ({"options": ["--preview", "picture.jpg"]}, ["picture.jpg", "PNG"]),
        ({"options": ["--from-record", "wrong.csv"]}, ["wrong.csv", "--case"]),
        ({"options": ["--from-record", "wrong.json", "--shape", "cuboid"]}, ["--shape", "--from-record"]),
        ({"options": ["--case", "A"]}, ["--case A", "--from-record"]),
        ({"image": "nowhere/i.nii.gz"}, ["nowhere", "does not exist"]),
        ({"options": ["--center-ras", "nan", "0", "0"]}, ["--center-ras nan 0 0", "10000 mm"]),
        ({"options": ["--center-ras", "1e308", "inf", "0"]}, ["--center-ras 1e+308 inf 0:", "10000 mm"]),
        ({"options": ["--min-volume", "1e-300", "--max-volume", "1e-300"]}, ["--min-volume 1e-300:"]),
        ({"options": ["--intensity-range", "1e38", "1e39"]}, ["--intensity-range"]),
        ({"image": "i.NII.GZ"}, ["i.NII.GZ", "extension"]),
        ({"image": "i.png"}, ["i.png", "extension"]),
        ({"image": "subject/flair.nii.gz"}, ["flair.nii.gz", "overwrite the input"]),
        ({"label": "subject/flair_brainmask.nii.gz"}, ["flair_brainmask.nii.gz", "overwrite the input"]),
        ({"label": "i.nii.gz"}, ["i.nii.gz", "same path"]),
    ],
    ids=lambda value: str(next(iter(value.values()))) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_exit_2_and_no_output(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, says: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = make_head()
    mask = scan.parent / "flair_brainmask.nii.gz"
    (tmp_path / "wrong.csv").write_text("case,Size\na,1\n")
    (tmp_path / "wrong.json").write_text('{"tumours": []}')
    options = list(change.get("options", []))
    options = ["--seed", "1", *options] if "--from-record" not in options else options
    if "scan" in change:
        options += ["--brain-mask", mask]
        scan = Path(change["scan"]) if "." in change["scan"] else _spoilt(scan, kind=change["scan"])
    if "mask" in change:
        options += [
            "--brain-mask",
            change["mask"] if "." in change["mask"] else _spoilt(mask, kind=change["mask"]),
        ]
    image, label = change.get("image", "i.nii.gz"), change.get("label", "l.nii.gz")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    command = [sys.executable, SCRIPT, scan, image, label, *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("resect_multi_tumor.py: error: ")
    for words in says:
        assert words in done.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_grey_mask_is_used_with_a_warning(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head()
    plain = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    assert resect(scan, *plain, "-s", 1) == 0
    expected = [p.read_bytes() for p in plain]
    grey = _spoilt(scan.parent / "flair_brainmask.nii.gz", kind="grey")
    capsys.readouterr()
    assert resect(scan, *plain, "-s", 1, "--brain-mask", grey) == 0
    said = capsys.readouterr().err
    assert "warning" in said and "grey.nii.gz" in said and said.count("\n") == 1
    assert [p.read_bytes() for p in plain] == expected


@pytest.mark.parametrize("when", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_leaves_no_half_written_output(
    make_head: MakeHead, tmp_path: Path, when: signal.Signals
) -> None:
    scan = make_head(spacing=(0.6, 0.6, 0.6))
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, str(SCRIPT), str(scan), str(out / "i.nii.gz"), str(out / "l.nii.gz")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.time() + 600
    while not any(out.iterdir()) and time.time() < deadline and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(when)
    process.communicate(timeout=600)
    left = sorted(p.name for p in out.iterdir())
    if process.returncode == 0:  # it was faster than the signal
        assert left == ["i.nii.gz", "l.nii.gz"]
    else:
        assert left == []
