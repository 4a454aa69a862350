"""What a run that refines labels is asked for, and the cases it plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from synthtumour.brain import hdbet
from synthtumour.errors import InputError
from synthtumour.presets import Refinement
from synthtumour.runs.cases import Report, report_of
from synthtumour.runs.conduct import Conduct
from synthtumour.runs.run import Working
from synthtumour.stage2.heads import HeadFiles, with_made_masks
from synthtumour.stage2.refine import RefineRun, plan, tell_summary
from synthtumour.stage2.refine_cases import RefineSource, load_for_refinement

ASKED = RefineRun(Path("images"), Path("labels"), Path("out"))
HEADS = [
    HeadFiles("a", "a", (Path("images/a_0000.nii.gz"),), None, Path("labels/a.nii.gz")),
    HeadFiles(
        "b.1", "b.1", (Path("images/b.1_0000.mha"),), Path("images/b.1_brainmask.mha"), Path("labels/b.1.MHA")
    ),
]


def test_outputs_are_called_as_the_labels_are() -> None:
    (a,), (b,) = (group.cases for group in plan(ASKED, HEADS))
    assert (a.name, b.name) == ("a", "b.1")
    assert a.outputs == (Path("out/a.nii.gz"),) and b.outputs == (Path("out/b.1.mha"),)
    with_pictures = replace(ASKED, conduct=Conduct(preview=True))
    (a,), _ = (group.cases for group in plan(with_pictures, HEADS))
    assert a.files == (Path("out/a.nii.gz"),) and a.drawn == (Path("out/pictures/a.png"),)


def test_settings_hold_what_the_labels_follow_from_and_no_more() -> None:
    same = replace(ASKED, output=Path("elsewhere"), conduct=Conduct(workers=3, preview=True, tell="quiet"))
    assert same.settings == ASKED.settings
    for other in (
        replace(ASKED, how=Refinement(level=0.4)),
        replace(ASKED, how=Refinement(reach_mm=6.0)),
        replace(ASKED, threshold=0.5),
        replace(ASKED, brain_masks=Path("masks")),
        replace(ASKED, labels=Path("others")),
    ):
        assert other.settings != ASKED.settings


def test_the_output_is_no_folder_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "link").symlink_to("labels")
    asked = RefineRun(tmp_path / "images", tmp_path / "labels", tmp_path / "link")
    with pytest.raises(InputError, match="give --output a folder of its own"):
        asked.check()


def test_masks_are_made_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {}

    def make_masks(scans: dict[str, Path], folder: Path, *_: object, **__: object) -> Report:
        wanted.update(scans)
        rows = [{"case": name, "status": "failed", "reason": "broken"} for name in scans if name == "b.1"]
        return report_of(rows, 0)

    monkeypatch.setattr(hdbet, "make_masks", make_masks)
    heads, report = with_made_masks(HEADS, ASKED.output, Working(), ASKED.conduct.sharing)
    assert set(wanted) == {"a", "b.1"}  # that mask is not there
    assert [head.mask for head in heads] == [hdbet.mask_in(Path("out/brain_masks"), "a"), HEADS[1].mask]
    assert report.failed == [("b.1", "broken")]
    sources = [cast(RefineSource, group.source) for group in plan(ASKED, heads, dict(report.failed))]
    assert [source.unmasked for source in sources] == ["", "broken"]
    with pytest.raises(InputError, match="broken"):
        load_for_refinement(sources[1])


def test_the_summary_tells_what_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("volume_before_ml", "volume_ml", "added_ml", "removed_ml", "left_as_it_was")
    rows: list[dict[str, object]] = [
        {
            "case": name,
            "status": "made",
            "reason": "",
            "warnings": "",
            **dict(zip(columns, said, strict=True)),
        }
        for name, said in {
            "a": (10.0, 13.0, 4.0, 1.0, ""),
            "b": (2.5, 2.5, 0.0, 0.0, "too small"),
            "c": (0.0, 0.0, 0.0, 0.0, "empty label"),
            "e": (5.0, 6.0, 1.0, 0.0, "1 of 2 parts: 1 too small"),
        }.items()
    ]
    tell_summary(ASKED, [("d", "no d.nii.gz in labels")], report_of(rows, 0), "no report")
    out = capsys.readouterr().out
    for line in (
        "labels: 4 made, 0 kept from before, 0 failed",
        "  FAILED d: no d.nii.gz in labels",
        "changed: 2 of 4; left as they were, all or some of their parts: 3",
        "  left b: too small",
        "  left c: empty label",
        "  left e: 1 of 2 parts: 1 too small",
        "volume of all: 17.5 ml before, 21.5 ml now",
    ):
        assert f"{line}\n" in out
    tell_summary(replace(ASKED, conduct=Conduct(tell="quiet")), [("d", "no label")], report_of(rows, 0), "")
    assert len(capsys.readouterr().out.splitlines()) == 2
