"""The figures of the report: what they say and where they put it."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from synthtumour.report.page import REPORT_FILE, write_report
from tests.conftest import head_image, write
from tests.report.conftest import Page, manifest, many


def test_figures_have_alternatives_and_headings_an_order(page: Page) -> None:
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(figures) == 12  # two sides of volume, contrast, number, and three projections of the centres
    assert all(a["role"] == "img" and len(a["aria-label"]) > 20 for a in figures)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', page.html)
    assert targets and set(targets) <= set(ids)


def test_the_brain_is_where_the_tumours_are(dataset: Path, page: Page) -> None:
    """A tumour's centre lies in its brain's box, which is the ellipsoid of head_image."""
    for row in manifest(dataset).values():
        if row["status"] == "made":
            sides = [float(row[f"brain_high_{a}_mm"]) - float(row[f"brain_low_{a}_mm"]) for a in "ras"]
            assert sides == pytest.approx([76.8, 89.6, 70.4], abs=6)
            for axis in "ras" if row["tumours"] != "0" else "":
                low, at, high = (float(row[f"{c}_{axis}_mm"]) for c in ("brain_low", "centre", "brain_high"))
                assert low < at < high
    assert "mean box is" in page.html and "The patient's right (R) is on the left" in page.html.replace(
        "&#39;", "'"
    )


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_the_patients_right_is_on_the_left(orientation: str, tmp_path: Path) -> None:
    """A brain without its right anterior quarter, a tumour in the left anterior one; however it is stored."""
    image, brain = head_image((96.0, 112.0, 88.0), (3.0, 3.0, 3.0))
    array = sitk.GetArrayFromImage(brain)  # of an image in LPS: z, y to the back, x to the left
    array[:, : array.shape[1] // 2, : array.shape[2] // 2] = 0
    cut = sitk.GetImageFromArray(array)
    cut.CopyInformation(brain)
    mask = write(cut, tmp_path / "mask.nii.gz", orientation)
    (tmp_path / "run.json").write_text(json.dumps({"program": "one.py", "version": "1", "options": {}}))
    row = {"case": "c", "status": "made", "split": "train", "volume_ml": 5.0, "tumours": 1}
    box = {f"brain_{end}_{axis}_mm": mm for end, mm in (("low", -40.0), ("high", 40.0)) for axis in "ras"}
    centre = {"centre_r_mm": -20.0, "centre_a_mm": 20.0, "centre_s_mm": 0.0}
    write_report(tmp_path, [{**row, **box, **centre}], brains=[(mask, mask)])
    html = (tmp_path / REPORT_FILE).read_text(encoding="utf-8")
    axial = re.search(r'axial projection" viewBox="0 0 ([\d.]+) ([\d.]+)">(.*?)</svg>', html, re.S)
    width, height = float(axial[1]), float(axial[2])
    x, y = map(float, re.search(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', axial[3]).groups())
    assert x > 0.6 * width and y < 0.4 * height
    outline = [
        (float(x) / width, float(y) / height)
        for path in re.findall(r'<path d="([^"]+)"', axial[3])
        if path.count("L") > 40
        for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)
    ]
    corners = [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]  # of the drawing: right and left anterior, right and left posterior
    away = [min(math.dist(corner, point) for point in outline) for corner in corners]
    assert away[0] > 1.5 * max(away[1:])


def test_the_volumes_axis_is_labelled_from_end_to_end(tmp_path: Path) -> None:
    rows = many(tmp_path / "many", {"tumours": 1}, 100)  # of 1 to 90 ml
    write_report(tmp_path / "many", rows)
    html = (tmp_path / "many" / REPORT_FILE).read_text(encoding="utf-8")
    drawing = re.search(r'aria-label="Volume, training.*?</svg>', html, re.S)[0]
    axis, _ = drawing.split("volume (ml)")
    assert re.findall(r">([\d.]+)</text>", axis) == ["1", "2", "5", "10", "20", "50", "100"]
    line, told = (
        float(re.search(pattern, drawing)[1])
        for pattern in (r'd="M ([\d.]+) [^"]*"[^>]*stroke-dasharray', r'x="([\d.]+)"[^>]*>median')
    )
    assert line == told


def test_places_do_not_depend_on_the_size_of_the_head() -> None:
    """Several tumours: where each was drawn is in the scan's own mm, the brain's box in the file's."""
    from synthtumour.report.figures import _places

    drawn = {"tumour1_shape_centre": (10.0, -20.0, 30.0), "tumour2_shape_centre": (-40.0, 5.0, 0.0)}
    box = {"brain_low": (-70.0, -100.0, -50.0), "brain_high": (70.0, 80.0, 90.0)}

    def places(scale: float) -> list[list[float]]:
        row: dict[str, object] = {"volume_ml": 20.0, "tumours": 2, "head_scale": scale}
        for factor, named in ((1.0, drawn), (scale, box)):
            for name, at in named.items():
                row |= {f"{name}_{axis}_mm": factor * mm for axis, mm in zip("ras", at, strict=True)}
        return _places(row)

    assert np.allclose(places(0.6), places(1.0)) and np.shape(places(1.0)) == (2, 3)
    assert places(1.0)[0] == pytest.approx([80 / 140 - 0.5, 80 / 180 - 0.5, 80 / 140 - 0.5])
