"""The senior's dataset: subjects on their side, nobody else's files; and real nnU-Net v2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import prompt_multi_tumor
import stage2_mixed_with_pseudo_label
from synthtumour.errors import InputError
from synthtumour.stage2.senior import find_stage1_cases
from tests.conftest import MakeHead, NnUnet, array, rows_of, run_stage2, write_donor


@pytest.mark.parametrize("case", ["../../x", "/etc/x", "", "a b", "-x", "a\nb"])
def test_names_in_a_stage_1_manifest_lead_nowhere_else(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "tumour": 1}}')
    cell = '"' + case + '"'
    table = f"case,subject,split,kind,status,volume_ml\n{cell},s,train,synthetic,made,1\n"
    (folder / "manifest.csv").write_text(table)
    with pytest.raises(InputError, match="not a finished dataset"):
        find_stage1_cases(folder, 1, None)


@pytest.mark.parametrize("labels", ["[]", '"tumour"', "null", "[" * 10**5, "{"])
def test_a_dataset_json_that_is_none(labels: str, tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"labels": ' + labels + "}")
    (folder / "manifest.csv").write_text("case,subject,split,kind,status,volume_ml\n")
    with pytest.raises(InputError, match="not a finished dataset"):
        find_stage1_cases(folder, 1, None)


@pytest.mark.nnunet
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


def test_combine_keeps_subjects_apart(folders: Path, make_head: MakeHead) -> None:
    for n in range(2, 5):
        make_head(f"H/h{n}", "LPS", seed=12 + n)
    write_donor(
        folders / "D", "patient0_v01val", "RAS", seed=0
    )  # a second scan of patient0, as Stage 1 names it
    output = folders / "raw/Dataset102_Senior"
    options = ["-num", "12", "--combine", str(output), "--val-fraction", "0.4", "--refine", "off"]
    assert run_stage2(folders, *options) == 0
    dataset = json.loads((output / "dataset.json").read_text())
    assert dataset["numTraining"] == 16 and dataset["labels"] == {"background": 0, "tumour": 1}
    (fold,) = json.loads((output / "splits_final.json").read_text())
    cases = {p.name.removesuffix(".nii.gz") for p in (output / "labelsTr").iterdir()}
    assert set(fold["train"]) | set(fold["val"]) == cases and len(cases) == 16
    subjects = {
        "patient0": {"patient0"},
        "patient0_v01val": {"patient0"},
        "patient1": {"patient1"},
        "patient2": {"patient2"},
    }
    for row in rows_of(folders / "CHECK/CarveMixID.csv"):
        subjects[row["id"]] = {row["id1"].removesuffix("_v01val"), row["id2"]}
        for kind, name in (("images", f"{row['id']}_0000.nii.gz"), ("labels", f"{row['id']}.nii.gz")):
            copied, made = output / f"{kind}Tr/{name}", folders / f"D/{kind}TrMix/{name}"
            assert copied.read_bytes() == made.read_bytes()
    sides = [set().union(*(subjects[case] for case in fold[side])) for side in ("train", "val")]
    assert not sides[0] & sides[1] and all(sides)
    assert any("CarveMix" in case for case in fold["val"])
    original = array(folders / "D/imagesTr/patient1_0000.nii.gz")
    assert np.array_equal(array(output / "imagesTr/patient1_0000.nii.gz"), original)
    assert np.array_equal(
        array(output / "labelsTr/patient1.nii.gz"), array(folders / "D/labelsTr/patient1.nii.gz")
    )
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.nii.gz")}
    assert run_stage2(folders, *options) == 0
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*.nii.gz")} == before


def test_stage_1_cases_stay_on_their_side(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never a validation task's case for training, nor a subject on both sides."""
    junior, output = folders / "raw/Dataset101_Junior", folders / "raw/Dataset102_Senior"
    options = ["--variants", "2", "--add-untouched", "1", "--max-volume", "30000", "--workers", "1"]
    assert prompt_multi_tumor.main(["-i", str(folders / "H"), "-o", str(junior), *options]) == 0
    options = ["-num", "9", "--val-fraction", "0.4", "--combine", str(output), "--stage1", str(junior)]
    assert run_stage2(folders, *options) == 0
    (fold,) = json.loads((output / "splits_final.json").read_text())
    (earlier,) = json.loads((junior / "splits_final.json").read_text())
    subject = {row["case"]: row["subject"] for row in rows_of(junior / "manifest.csv")}
    sides = {side: {subject[case] for case in fold[side] if case in subject} for side in ("train", "val")}
    assert sides["train"] and sides["val"]
    for row in rows_of(folders / "CHECK/CarveMixID.csv"):
        sides[row["split"]].add(row["id2"])
    assert not sides["train"] & sides["val"]
    for side in ("train", "val"):
        kept = set(earlier[side]) & set(fold[side])
        assert kept == {case for case in earlier[side] if subject[case] in sides[side]}
        for case in kept:
            for file in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
                assert (output / file).read_bytes() == (junior / file).read_bytes()
    assert not set(earlier["val"]) & set(fold["train"]) and not set(earlier["train"]) & set(fold["val"])
    assert any(case.endswith("_free") for case in fold["train"])

    capsys.readouterr()
    (junior / "labelsTr" / f"{earlier['train'][0]}.nii.gz").unlink()
    assert run_stage2(folders, *options) == 2 and "run Stage 1 again" in capsys.readouterr().err
    assert (
        run_stage2(folders, *options[:-1], str(folders / "H")) == 2
        and "DatasetNNN_Name" in capsys.readouterr().err
    )
    assert (
        run_stage2(folders, "-num", "9", "--stage1", str(junior)) == 2
        and "--combine" in capsys.readouterr().err
    )


def test_tumour_free_scans_come_with_an_empty_label(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folders / "raw/Dataset102_Senior"
    options = ["-num", "4", "--skull-strip", "--add-untouched", "1"]
    assert run_stage2(folders, *options) == 2 and "--combine" in capsys.readouterr().err
    assert run_stage2(folders, *options, "--combine", str(output), "--val-fraction", "0.4") == 0
    (fold,) = json.loads((output / "splits_final.json").read_text())
    sides = {row["id2"]: row["split"] for row in rows_of(folders / "CHECK/CarveMixID.csv")}
    assert set(sides) == {"h0", "h1"}
    for name, side in sides.items():
        assert f"{name}_free" in fold[side]
        scan, brain = (array(folders / f"H/{name}/{file}.nii.gz") for file in ("flair", "flair_brainmask"))
        assert np.array_equal(array(output / f"imagesTr/{name}_free_0000.nii.gz"), np.where(brain, scan, 0))
        assert not array(output / f"labelsTr/{name}_free.nii.gz").any()


def test_combine_refuses_what_it_cannot_split_or_does_not_own(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = folders / "raw/Dataset103_Other"
    foreign.mkdir(parents=True)
    (foreign / "dataset.json").write_text("{}")
    assert run_stage2(folders, "-num", "2", "--combine", str(foreign)) == 2
    assert "holds another dataset" in capsys.readouterr().err
    assert run_stage2(folders, "-num", "2", "--combine", str(folders / "senior")) == 2
    assert "DatasetNNN_Name" in capsys.readouterr().err
    everyone = ["--subject-pattern", "patient|h", "--combine", str(folders / "raw/Dataset104_One")]
    assert run_stage2(folders, "-num", "2", *everyone) == 2
    assert "two subjects or more" in capsys.readouterr().err
    assert not (folders / "D/imagesTrMix").exists()


@pytest.mark.parametrize("name", ["h0_free", "D_CarveMix_1"])
def test_a_donor_called_as_another_case(name: str, folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(folders / "D/imagesTr/patient0_0000.nii.gz", folders / f"D/imagesTr/{name}_0000.nii.gz")
    shutil.move(folders / "D/labelsTr/patient0.nii.gz", folders / f"D/labelsTr/{name}.nii.gz")
    senior = ["--combine", str(folders / "raw/Dataset102_Senior"), "--add-untouched", "1"]
    assert run_stage2(folders, "-num", "3", *senior) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}_0000.nii.gz" in line and f"both give a case {name} of" in line
    assert ("h0/flair.nii.gz" if name == "h0_free" else "a mixed case") in line
    assert not (folders / "CHECK").exists() and not (folders / "D/imagesTrMix").exists()
