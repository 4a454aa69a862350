"""The contact sheet of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from synthtumour.pictures.case import columns_of, preview_picture
from synthtumour.pictures.sheet import contact_sheet
from tests.pictures.conftest import YELLOW, is_colour, panel, phantom, places, rgb


@pytest.mark.parametrize(
    "cases, shown",
    [((7, 3), (7, 3)), ((4000, 1000), (43, 11)), ((500, 1), (53, 1)), ((0, 1), (0, 1))],
)
def test_a_sheet_of_many_cases_opens_those_it_shows_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: tuple[int, int], shown: tuple[int, int]
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
    looked_at = []
    with monkeypatch.context() as patch:
        opened = Image.open
        patch.setattr(Image, "open", lambda path, *how: looked_at.append(path) or opened(path, *how))
        sheet = contact_sheet(rows, tmp_path, "many")
    assert len(looked_at) == sum(shown)  # however many cases there are
    assert max(sheet.size) < 3000
    outlines, outline = (is_colour(rgb(p), YELLOW) for p in (sheet, tmp_path / "case.png"))
    assert outlines.sum() / panel(outline[..., None], 0, 2).sum() == sum(shown)
    for side, count, part in zip(("training", "validation"), cases, shown, strict=True):
        heading = f"{side}: {part} of {count} cases"
        edge = rgb(sheet)[:, : int(ImageFont.load_default(15).getlength(heading)) + 8]
        assert len(places(edge, heading, 15)) == (count > 0)


def test_a_sheet_of_a_run_without_a_split_has_one_heading(tmp_path: Path) -> None:
    before, after, label, brain = phantom("RAS", 0.0)
    columns = columns_of("before", before, "after", after, label.array, brain.array)
    preview_picture(columns, ("case", "")).save(tmp_path / "case.png")
    sheet = contact_sheet([{"case": "case", "status": "made", "volume_ml": 7.0}], tmp_path, "one")
    assert len(places(rgb(sheet)[:, :240], "refined: 1 of 1 cases", 15)) == 1
    assert is_colour(rgb(sheet), YELLOW).any()
