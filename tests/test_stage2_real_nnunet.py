"""The senior's dataset in the hands of real nnU-Net v2: integrity, preprocessing, the split it trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import MakeHead
from nnunet_peer import NnUnet
from stage2_heads import write_donor

import stage2_mixed_with_pseudo_label

pytestmark = pytest.mark.nnunet


def test_nnunet_takes_the_combined_dataset_and_its_split(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "D", tmp_path / "raw/Dataset124_Senior"
    for n, orientation in enumerate(["LPS", "RAS", "PIR"]):
        write_donor(data, f"patient{n}", orientation, seed=n)
    make_head("H/fine", "RAS", seed=10, size_mm=(110.0, 130.0, 100.0), skull=True)
    make_head("H/thick", "LAS", seed=11, spacing=(2.0, 2.0, 3.5), oblique_deg=10.0)
    make_head("H/other", "LPS", seed=12)
    options = ["--imagesTr_path", data / "imagesTr", "--labelsTr_path", data / "labelsTr"]
    options += ["--healthyimgTr", tmp_path / "H", "--mask_check_path", tmp_path / "CHECK"]
    options += ["-num", "6", "--workers", "1", "--combine", output]
    assert stage2_mixed_with_pseudo_label.main([str(option) for option in options]) == 0

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    sides = NnUnet(output.parent, tmp_path).split_after_preprocessing(printed, "124")
    (fold,) = json.loads((output / "splits_final.json").read_text())
    assert sides == (fold["train"], fold["val"])
    assert len(sides[0]) + len(sides[1]) == 6 + 3 and sides[1]
