"""Stage 1 from Python: what is asked for becomes a dataset."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from synthtumour.dataset.nnunet import dataset_at
from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.report import page
from synthtumour.runs.cases import Report
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.journal import Journal
from synthtumour.runs.run import Working, run
from synthtumour.stage1.cases import load_scan, make_case
from synthtumour.stage1.plan import Stage1Run, plan
from synthtumour.stage1.run import make_dataset
from tests.conftest import TINY, MakeHead, array, rows_of


def test_a_dataset_without_the_command_line(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(2):
        make_head(f"in/s{n}", seed=n, **TINY)
    preset = replace(PRESETS["paper"], min_volume_mm3=2000.0, max_volume_mm3=8000.0)
    output = tmp_path / "Dataset001_A"
    asked = Stage1Run(tmp_path / "in", output, preset=preset, conduct=Conduct(seed=2, workers=1))
    assert make_dataset(asked) == 0
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert [len(fold[side]) for side in ("train", "val")] == [1, 1]
    for row in rows_of(output / "manifest.csv"):
        assert row["status"] == "made" and row["seed"] == "2"
        assert array(output / f"labelsTr/{row['case']}.nii.gz").sum() * 0.216 == pytest.approx(
            float(row["volume_ml"]), abs=1e-3
        )
    assert "2 made" in capsys.readouterr().out
    assert make_dataset(asked) == 0 and "nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="--seed was 2, now 3"):
        make_dataset(replace(asked, conduct=Conduct(seed=3, workers=1)))


PRESET = replace(PRESETS["paper"], min_volume_mm3=500.0, max_volume_mm3=2000.0)


@pytest.fixture
def asked(make_head: MakeHead, tmp_path: Path) -> Stage1Run:
    for n in range(2):
        make_head(f"in/s{n}", seed=n, orientation=("LPS", "RAI")[n], **TINY)
    conduct = Conduct(seed=2, workers=1)
    output = tmp_path / "Dataset001_A"
    return Stage1Run(tmp_path / "in", output, preset=PRESET, any_brain_volume=True, conduct=conduct)


def with_pictures(asked: Stage1Run) -> Stage1Run:
    return replace(asked, conduct=replace(asked.conduct, preview=True))


def images(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = [*folder.glob("imagesTr/*"), *folder.glob("labelsTr/*")]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def pictures(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("previews/*"), folder / "contact_sheet.png"]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize(
    "preset",
    [
        PRESET,
        replace(PRESET, head_scale=(0.6, 0.9), labels="brats"),
        replace(PRESET, tumour_free_probability=1.0),
    ],
)
def test_pictures_added_later_are_those_of_the_start_and_all_that_is_made(
    asked: Stage1Run, preset: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = replace(asked, preset=preset)
    assert make_dataset(asked) == 0
    before, split = images(asked.output), (asked.output / "dataset.json").stat().st_mtime_ns
    capsys.readouterr()
    assert make_dataset(with_pictures(asked)) == 0
    said = capsys.readouterr().out
    assert "0 made, 2 kept from before, 0 failed" in said and "pictures drawn of 2 of those kept" in said
    assert images(asked.output) == before
    assert (asked.output / "dataset.json").stat().st_mtime_ns == split
    other = replace(asked, output=tmp_path / "other/Dataset001_A")
    assert make_dataset(with_pictures(other)) == 0
    assert pictures(asked.output) == pictures(other.output) and len(pictures(other.output)) == 3
    for name in ("manifest.csv", "report.html"):
        one, two = (folder / name for folder in (asked.output, other.output))
        if name == "manifest.csv":
            rows = [[{**row, "seconds": ""} for row in rows_of(path)] for path in (one, two)]
            assert rows[0] == rows[1]
        else:
            assert one.read_bytes() == two.read_bytes()
    capsys.readouterr()
    assert make_dataset(with_pictures(asked)) == 0 and "nothing to do" in capsys.readouterr().out


def test_a_picture_that_is_lost_or_in_the_way(asked: Stage1Run, capsys: pytest.CaptureFixture[str]) -> None:
    asked = with_pictures(asked)
    assert make_dataset(asked) == 0
    before, drawn = images(asked.output), pictures(asked.output)
    (lost, taken) = sorted((asked.output / "previews").iterdir())
    lost.unlink()
    taken.unlink()
    taken.mkdir()
    assert make_dataset(asked) == 0
    said = capsys.readouterr().out
    assert images(asked.output) == before and lost.read_bytes() == drawn[lost.name]
    assert "its picture could not be drawn" in said and str(taken) in said
    taken.rmdir()
    assert make_dataset(asked) == 0 and pictures(asked.output) == drawn
    assert all(row["warnings"] == "" for row in rows_of(asked.output / "manifest.csv"))


def test_a_case_is_made_without_its_picture(asked: Stage1Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthtumour.stage1 import picture

    asked = with_pictures(asked)
    groups = plan(asked, find_scans(asked.input, None, None), dataset_at(asked.output))

    def made() -> Report:
        with Journal(asked.output, asked.settings) as journal, ThreadPoolExecutor(1) as here:
            return run(groups, load_scan, make_case, journal, Working(1, here))

    def fail(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half a pic")
        raise ValueError("no colours left")

    with monkeypatch.context() as patch:
        patch.setattr(picture, "write_picture", fail)
        report = made()
    assert (report.made, report.exit_code) == (2, 0) and not [*(asked.output / "previews").iterdir()]
    for row in report.rows:
        assert "its picture could not be drawn" in str(row["warnings"])
        assert "no colours left" in str(row["warnings"])
    before = images(asked.output)
    report = made()
    assert (report.made, report.kept, report.drawn) == (0, 2, 2) and len(before) == 4
    assert images(asked.output) == before and all(row["warnings"] == "" for row in report.rows)


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), KeyError("x"), OSError(5, "broken")])
@pytest.mark.parametrize("what", ["page", "sheet"])
def test_page_and_sheet_that_fail_are_one_line(
    asked: Stage1Run, what: str, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    import synthtumour.pictures.sheet

    place = {"page": (page, "_page"), "sheet": (synthtumour.pictures.sheet, "contact_sheet")}[what]
    monkeypatch.setattr(*place, fail)
    assert make_dataset(with_pictures(asked)) == 0
    said = [
        line for line in capsys.readouterr().out.splitlines() if "no report" in line or "no contact" in line
    ]
    assert len(said) == 1 and str(asked.output) in said[0]
    assert json.loads((asked.output / "dataset.json").read_text())["numTraining"] == 2
    assert (asked.output / "manifest.csv").is_file()


def test_a_report_of_somebody_else_that_came_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    assert "no report: " in page.write_report(tmp_path, [])
    assert (tmp_path / "report.html").read_text() == "mine"
