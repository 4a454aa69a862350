"""Pictures: what they show and where, whatever way a scan is stored; contact sheets of runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ROOT, MakeHead
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

import prompt_multi_tumor
from synthtumour.pictures.case import columns_of, preview_picture
from synthtumour.pictures.sheet import contact_sheet
from synthtumour.stage1.picture import write_picture
from synthtumour.stage1.synthesis import synthesise, untouched
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

YELLOW, SKY_BLUE, VERMILLION = (240, 228, 66), (86, 180, 233), (213, 94, 0)
OKABE_ITO = {(230, 159, 0), SKY_BLUE, (0, 158, 115), YELLOW, (0, 114, 178), VERMILLION, (204, 121, 167)}
# Panels of a picture: 240 wide with gaps of 4; rows 240, 200 and 200 high below the headings.
LEFT, TOP, HEIGHT = (0, 244, 488), (22, 266, 470), (240, 200, 200)


def rgb(picture: Path | Image.Image) -> np.ndarray:
    opened = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.array(opened.convert("RGB")).astype(int)


def panel(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    return picture[TOP[row] : TOP[row] + HEIGHT[row], LEFT[column] : LEFT[column] + 240]


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(axis=-1)


def phantom(orientation: str, oblique_deg: float) -> tuple[Volume, Volume, Volume, Volume]:
    """Scan, the same with a bright ball, ball, brain: the ball is right, in front of and above the middle."""
    size, spacing = np.array([70, 90, 50]), np.array([2.0, 1.8, 3.0])
    turn = Rotation.from_euler("xyz", [oblique_deg, -oblique_deg, oblique_deg / 2], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :3] @ (size / 2)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) - (size - 1) / 2
    mm = index * spacing
    brain = ((mm / [60, 72, 62]) ** 2).sum(axis=-1) < 1
    ball = ((mm - [25, 35, 20]) ** 2).sum(axis=-1) < 12**2
    scan = np.where(brain, 100.0 + 10 * np.sin(mm.sum(axis=-1) / 9), 0)
    volumes = []
    for array in (scan, np.where(ball, 160.0, scan), ball.astype(np.uint8), brain.astype(np.uint8)):
        image = Volume.from_array(array.astype(np.float32), affine).to_image()
        volumes.append(Volume.from_image(sitk.DICOMOrient(image, orientation)))
    return volumes[0], volumes[1], volumes[2], volumes[3]


def picture_of(volumes: tuple[Volume, Volume, Volume, Volume]) -> np.ndarray:
    before, after, label, brain = volumes
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    return rgb(preview_picture(columns, ("phantom", "")))


def places(image: np.ndarray, text: str, size: int = 13) -> np.ndarray:
    """Where (row, column) of its middle the text is written, as Pillow draws it by itself."""
    font = ImageFont.load_default(size)
    written = Image.new("L", (int(font.getlength(text)) + 12, 2 * size))
    ImageDraw.Draw(written).text((6, 2), text, 252, font)
    pattern = np.array(written) > 200
    rows, columns = np.nonzero(pattern)
    pattern = pattern[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    windows = np.lib.stride_tricks.sliding_window_view(image[..., 0] > 200, pattern.shape)
    found = np.argwhere((windows == pattern).mean(axis=(2, 3)) > 0.97)
    return found + np.array(pattern.shape) / 2


@pytest.mark.parametrize("oblique_deg", [0.0, 12.0])
def test_the_tumour_lies_towards_its_letters_however_the_scan_is_stored(oblique_deg: float) -> None:
    pictures = [picture_of(phantom(orientation, oblique_deg)) for orientation in ("RAS", "LPS", "LAS", "PIR")]
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).max() <= 1
    # right and anterior; right and superior; anterior and superior: all towards the upper left
    for row, (left, right, top, bottom) in enumerate(("RLAP", "RLSI", "APSI")):
        bright = panel(pictures[0], row, 1)[..., 0] > 240
        y, x = np.argwhere(is_colour(panel(pictures[0], row, 2), YELLOW)).mean(axis=0)
        shown = panel(pictures[0], row, 0)
        middle = np.array(shown.shape[:2]) / 2
        assert y < middle[0] - 15 and x < middle[1] - 15 and bright[int(y), int(x)]
        sides = ((left, (0, -1)), (right, (0, 1)), (top, (-1, 0)), (bottom, (1, 0)))
        for letter, towards in sides:
            offsets = [place - middle for place in places(shown, letter)]
            assert any(o @ towards > 80 and np.abs(o).min() < 12 for o in offsets), (letter, offsets)


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    before, after, label, brain = phantom("LPS", 0.0)
    picture = picture_of((before, after, label, brain))
    bar = (panel(picture, 0, 0)[231:233] == 255).all(axis=(0, 2))
    ball = is_colour(panel(picture, 0, 2), YELLOW)
    pixels, voxels = np.flatnonzero(ball.any(axis=0)), np.flatnonzero(label.array.any(axis=(1, 2)))
    ball_mm = 2.0 * (voxels[-1] - voxels[0] + 1)
    assert bar.sum() / 50 == pytest.approx((pixels[-1] - pixels[0] + 1) / ball_mm, rel=0.05)
    assert len(places(panel(picture, 0, 0), "50 mm", 12)) == 1


def test_before_after_and_outline_are_apart() -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    picture = picture_of((before, after, label, brain))
    for row in range(3):
        first, second, third = (panel(picture, row, column) for column in range(3))
        changed = np.abs(second - first).max(axis=-1) > 60
        assert changed.sum() > 500  # the ball of 24 mm at more than 1 pixel a mm
        assert not any(is_colour(p, YELLOW).any() for p in (first, second))
        outline = is_colour(third, YELLOW)
        assert outline.sum() > 80 and changed[outline].mean() > 0.9
        # dark on both sides of the outline, so that it shows on the bright ball too
        assert ((third == 0).all(axis=-1) & changed).sum() > 40


def test_brats_values_have_colours_that_the_colour_blind_tell_apart() -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    labels = label.array.astype(np.uint8) * 2
    i, j, k = (int(n) for n in np.argwhere(labels).mean(axis=0))
    labels[i - 3 : i + 3, j - 3 : j + 3, k - 2 : k + 2] = 3
    labels[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1
    columns = columns_of("before", before, "after", after, labels, brain.array)
    picture = panel(rgb(preview_picture(columns, ("phantom", ""), brats=True)), 0, 2)
    assert all(is_colour(picture, colour).sum() > 10 for colour in (YELLOW, SKY_BLUE, VERMILLION))
    assert {YELLOW, SKY_BLUE, VERMILLION} < OKABE_ITO


@pytest.mark.parametrize(
    "name", ["Žofie_腦瘤", "\udce9t\udce9", "a\nb\x1b[31m", "x" * 300, "", "-rf; *"], ids=ascii
)
def test_any_name_can_be_written(name: str) -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    picture = rgb(preview_picture(columns, (name, "1.0 ml")))
    assert picture.shape == (718, 728, 3)
    assert (picture[670:690].max() > 200) == bool(name)


def test_a_case_without_tumour_says_so_and_has_no_outline(tmp_path: Path) -> None:
    before, _, _, brain = phantom("LAS", 0.0)
    array = before.array.copy()
    array[brain.array == 0] = np.nan  # outside the brain it may be anything
    scan = before.with_array(array)
    made = untouched(scan, brain, seed=3, case="free")
    write_picture(tmp_path / "free.png", "free", scan, brain, made)
    picture = rgb(tmp_path / "free.png")
    assert not any(
        is_colour(panel(picture, row, column), YELLOW).any() for row in range(3) for column in range(3)
    )
    assert len(places(picture[:22], "no tumour")) == 1
    written = Image.new("L", (120, 20))
    ImageDraw.Draw(written).text((0, 0), "no tumour", 220, ImageFont.load_default(13))
    words = np.array(written)[:, : int(ImageFont.load_default(13).getlength("no tumour"))]
    bottom = picture[-22:-2, 4 : 4 + words.shape[1], 0]
    assert np.abs(bottom - words).max() < 40


def test_a_picture_costs_less_than_the_synthesis(make_head: MakeHead, tmp_path: Path) -> None:
    path = make_head(size_mm=(150.0, 180.0, 150.0), spacing=(1.0, 1.0, 1.0))
    scan, brain = (read_volume(path.parent / n) for n in ("flair.nii.gz", "flair_brainmask.nii.gz"))
    making, drawing = [], []
    for seed in range(6):
        begin = time.process_time()
        made = synthesise(scan, brain, seed=seed)
        between = time.process_time()
        write_picture(tmp_path / "p.png", "p", scan, brain, made)
        making.append(between - begin)
        drawing.append(time.process_time() - between)
    assert sorted(drawing)[2] < 0.8 * sorted(making)[2]


# ---------------------------------------------------------------- runs


def prompt(folder: Path, *options: object) -> int:
    where = ["--input", folder / "in", "--output", folder / "Dataset001_X"]
    return prompt_multi_tumor.main([str(o) for o in (*where, *options)])


def pictures_of(dataset: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted([*dataset.glob("previews/*"), *dataset.glob("*.png")])}


def test_a_run_has_a_picture_of_every_case_and_a_sheet(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [
        make_head(f"in/s{n}", orientation, seed=n) for n, orientation in enumerate(("RAS", "LPS", "PIR"))
    ]
    how = ("--variants", 2, "--add-untouched", 1, "--max-volume", 20000, "--min-volume", 2000)
    dataset = tmp_path / "Dataset001_X"
    assert prompt(tmp_path, *how, "--workers", 1) == 0  # without pictures
    assert pictures_of(dataset) == {}
    made = {p: p.read_bytes() for p in dataset.glob("*Tr/*")}
    assert prompt(tmp_path, *how, "--workers", 2, "--preview") == 0  # the same folder, now with them
    assert {p: p.read_bytes() for p in dataset.glob("*Tr/*")} == made
    pictures = pictures_of(dataset)
    cases = {p.name.removesuffix(".nii.gz") for p in dataset.glob("labelsTr/*")}
    assert set(pictures) == {f"{case}.png" for case in cases} | {"contact_sheet.png"}
    assert any(case.endswith("_free") for case in cases) and any(case.endswith("val") for case in cases)
    assert f"some of them on one sheet: {dataset / 'contact_sheet.png'}" in capsys.readouterr().out

    shutil.copytree(tmp_path / "in", tmp_path / "other/in")
    assert prompt(tmp_path / "other", *how, "--workers", 1, "--preview") == 0
    assert pictures_of(tmp_path / "other/Dataset001_X") == pictures  # to the byte

    written = (dataset / "contact_sheet.png").stat().st_mtime_ns
    assert prompt(tmp_path, *how, "--preview") == 0  # nothing to do
    assert (dataset / "contact_sheet.png").stat().st_mtime_ns == written
    # Another scan, and no pictures asked for: those of its cases are no longer true.
    shutil.copyfile(make_head("new", seed=9), scans[0])
    assert prompt(tmp_path, *how) == 0
    left = {name for name in pictures_of(dataset)}
    assert left == {name for name in pictures if not name.startswith("s0") and name != "contact_sheet.png"}
    assert prompt(tmp_path, *how, "--preview") == 0
    again = pictures_of(dataset)
    assert set(again) == set(pictures)
    assert {n for n in again if again[n] != pictures[n]} >= {n for n in pictures if n.startswith("s0")}


def test_without_pillow_a_preview_is_refused_before_any_work(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head("in/s0")
    (tmp_path / "without/PIL").mkdir(parents=True)
    (tmp_path / "without/PIL/__init__.py").write_text("raise ModuleNotFoundError('No module named PIL')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "without")}
    for script, *arguments in (
        (
            "resect_multi_tumor.py",
            scan,
            tmp_path / "i.nii",
            tmp_path / "l.nii",
            "--preview",
            tmp_path / "p.png",
        ),
        ("prompt_multi_tumor.py", "-i", tmp_path / "in", "-o", tmp_path / "Dataset001_X", "--preview"),
        ("stage2_mixed_with_pseudo_label.py", "--preview")
        + tuple(f"--{name}={tmp_path}" for name in ("imagesTr_path", "labelsTr_path", "healthyimgTr")),
    ):
        command = [sys.executable, str(ROOT / script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "pip install pillow" in done.stderr, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"in", "without"}


@pytest.mark.parametrize(
    "cases, shown",
    [((7, 3), (7, 3)), ((4000, 1000), (43, 11)), ((500, 1), (53, 1)), ((0, 1), (0, 1))],
)
def test_a_sheet_of_many_cases_is_small_quick_and_says_how_many(
    tmp_path: Path, cases: tuple[int, int], shown: tuple[int, int]
) -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    preview_picture(columns, ("case", "")).save(tmp_path / "case.png")
    rows = [
        {"case": f"{side}{n:04d}", "status": "made", "split": side, "volume_ml": 1.0 + n}
        for side, count in zip(("train", "val"), cases, strict=True)
        for n in range(count)
    ]
    for row in rows:
        (tmp_path / f"{row['case']}.png").symlink_to("case.png")
    rows.append({"case": "lost", "status": "failed", "split": "train"})
    begin = time.process_time()
    sheet = contact_sheet(rows, tmp_path, "many")
    assert time.process_time() - begin < 2
    assert max(sheet.size) < 3000
    outlines, outline = (is_colour(rgb(p), YELLOW) for p in (sheet, tmp_path / "case.png"))
    assert outlines.sum() / panel(outline[..., None], 0, 2).sum() == sum(shown)
    for side, count, part in zip(("training", "validation"), cases, shown, strict=True):
        heading = f"{side}: {part} of {count} cases"
        edge = rgb(sheet)[:, : int(ImageFont.load_default(15).getlength(heading)) + 8]
        assert len(places(edge, heading, 15)) == (count > 0)
