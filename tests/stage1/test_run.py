"""Stage 1 from Python: what is asked for becomes a dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from synthtumour.runs.conduct import Conduct
from synthtumour.stage1.plan import Stage1Run
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
