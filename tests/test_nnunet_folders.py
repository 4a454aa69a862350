"""nnU-Net's names, dataset.json and splits, against what both versions of nnU-Net are known to read."""

from __future__ import annotations

import json
import pickle
import pickletools
import shlex
from pathlib import Path

import numpy as np
import pytest

from synthtumour.dataset.commands import next_commands
from synthtumour.dataset.nnunet import dataset_at, safe_name, write_dataset
from synthtumour.dataset.sides import tumour_free, validation_subjects
from synthtumour.errors import InputError


@pytest.mark.parametrize(
    ("name", "version"), [("Task100_OASIS-PLBTS", 1), ("Dataset101_SynthTumour", 2), ("Dataset007_a.b", 2)]
)
def test_folder_names(tmp_path: Path, name: str, version: int) -> None:
    dataset = dataset_at(tmp_path / name)
    assert (dataset.version, dataset.number) == (version, name.split("_")[0][-3:])
    assert dataset.image("c1") == tmp_path / name / "imagesTr/c1_0000.nii.gz"
    assert dataset.label("c1") == tmp_path / name / "labelsTr/c1.nii.gz"


@pytest.mark.parametrize(
    "name", ["out", "Dataset1_X", "Task1000_X", "Dataset101", "Dataset101_a b", "task100_X"]
)
def test_other_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="DatasetNNN_Name"):
        dataset_at(tmp_path / name)


def test_safe_names_are_safe_stable_and_apart() -> None:
    assert safe_name("OAS30135_MR_d2931") == "OAS30135_MR_d2931"
    assert safe_name("sub-01_ses-2_run-1") == "sub-01_ses-2_run-1"
    odd = [
        "a b",
        "a;b",
        "a_b ",
        "-rf",
        ".x",
        "Müller",
        "Mu\u0308ller",
        "日本",
        "x/../y",
        "Xval",
        "val",
        "n\nl",
    ]
    odd += ["b\udce9d", "d.o.t", "_x", "x" * 250, "x" * 251]
    safe = [safe_name(name) for name in odd]
    assert len(set(safe)) == len(odd)
    for name in safe:
        assert name.isascii() and shlex.quote(name) == name and len(name) < 200
        assert name[0].isalnum() and not name.endswith("val")
    assert safe == [safe_name(name) for name in odd]


def test_split_by_rank_of_a_hash() -> None:
    subjects = [f"s{n}" for n in range(60)]
    held_out = validation_subjects(subjects, 0.5, seed=0)
    assert len(held_out) == 30
    assert held_out == validation_subjects(reversed(subjects * 3), 0.5, seed=0)
    assert held_out != validation_subjects(subjects, 0.5, seed=1)
    # a larger fraction only adds subjects
    assert held_out < validation_subjects(subjects, 0.7, seed=0)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(3, 0.5, 2), (2, 0.01, 1), (2, 0.99, 1), (10, 0.2, 2), (10, 0.0, 0), (1, 0.4, 0), (60, 0.25, 15)],
)
def test_size_of_the_validation_side(count: int, fraction: float, expected: int) -> None:
    assert len(validation_subjects([f"s{n}" for n in range(count)], fraction, seed=5)) == expected


def test_tumour_free_scans() -> None:
    scans = [f"s{n}" for n in range(10)]
    assert tumour_free(scans, 0.0, 0) == set()
    assert len(tumour_free(scans, 0.3, 0)) == 3
    assert len(tumour_free(scans, 0.01, 0)) == 1
    assert tumour_free(scans, 1.0, 0) == set(scans)


def test_version_2_files(tmp_path: Path) -> None:
    dataset = dataset_at(tmp_path / "Dataset101_X")
    dataset.folder.mkdir()
    write_dataset(dataset, ["b", "a"], ["cval"], "what it is")
    described = json.loads((dataset.folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "FLAIR"}
    assert described["labels"] == {"background": 0, "tumour": 1}
    assert (described["numTraining"], described["file_ending"]) == (3, ".nii.gz")
    split = json.loads((dataset.folder / "splits_final.json").read_text())
    assert split == [{"train": ["a", "b"], "val": ["cval"]}]


def test_version_1_files(tmp_path: Path) -> None:
    dataset = dataset_at(tmp_path / "Task100_X")
    dataset.folder.mkdir()
    write_dataset(dataset, ["b", "a"], ["cval"], "what it is")
    described = json.loads((dataset.folder / "dataset.json").read_text())
    assert described["modality"] == {"0": "FLAIR"}
    assert described["labels"] == {"0": "background", "1": "tumour"}
    assert (described["numTraining"], described["numTest"], described["test"]) == (3, 0, [])
    assert described["training"] == [
        {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in ("a", "b", "cval")
    ]
    content = (dataset.folder / "splits_final.pkl").read_bytes()
    (fold,) = pickle.loads(content)
    assert [type(keys) for keys in fold.values()] == [np.ndarray, np.ndarray]
    assert {side: list(keys) for side, keys in fold.items()} == {"train": ["a", "b"], "val": ["cval"]}
    # numpy 1, which nnU-Net v1 lives with, has no numpy._core
    strings = [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]
    assert "numpy" in strings and not any("core" in string for string in strings)


def test_a_split_needs_both_sides(tmp_path: Path) -> None:
    dataset = dataset_at(tmp_path / "Dataset101_X")
    dataset.folder.mkdir()
    write_dataset(dataset, ["a"], ["bval"], "")
    write_dataset(dataset, ["a", "b"], [], "")
    assert not (dataset.folder / "splits_final.json").exists()
    assert json.loads((dataset.folder / "dataset.json").read_text())["numTraining"] == 2


def test_next_commands_use_the_validation_task(tmp_path: Path) -> None:
    folder = tmp_path / "it's here" / "Dataset101_X"
    commands = "\n".join(next_commands(dataset_at(folder), has_split=True))
    assert "nnUNetv2_plan_and_preprocess -d 101 --verify_dataset_integrity" in commands
    assert "nnUNetv2_train 101 3d_fullres 0 --val_best" in commands
    assert "-chk checkpoint_best.pth" in commands
    assert f"cp {shlex.quote(str(folder))[:-1]}/splits_final.json" in commands
    assert commands.index("plan_and_preprocess") < commands.index("cp ") < commands.index("nnUNetv2_train")
    version_1 = "\n".join(next_commands(dataset_at(tmp_path / "Task100_X"), has_split=True))
    assert "splits_final.pkl" in version_1 and "-chk model_best" in version_1
    without = "\n".join(next_commands(dataset_at(folder), has_split=False))
    assert "splits_final" not in without and "best" not in without
