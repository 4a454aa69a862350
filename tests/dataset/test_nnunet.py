"""nnU-Net's names, dataset.json and splits, against what both versions read; and real nnU-Net v2."""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import prompt_multi_tumor
from synthtumour.dataset.nnunet import dataset_at, safe_name, write_dataset
from synthtumour.errors import InputError
from tests.conftest import MakeHead, NnUnet


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


_HEADS = """
import sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args(sys.argv[1], "3d_fullres", 0, device=torch.device("cpu"))
trainer.initialize()
labels = trainer.label_manager
print(labels.foreground_regions, labels.num_segmentation_heads, trainer.num_input_channels)
"""


@pytest.mark.nnunet
def test_nnunet_takes_the_dataset_and_its_split(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, orientation in enumerate(["RAS", "LPS", "PIR", "LAS"]):
        make_head(f"in/subject {n}", orientation, seed=n, size_mm=(96.0, 112.0, 88.0))
    raw = tmp_path / "raw"
    output = raw / "Dataset123_SynthTumour"
    options = ["--variants", "2", "--add-untouched", "0.5", "--workers", "1", "--max-volume", "30000"]
    assert prompt_multi_tumor.main(["-i", str(tmp_path / "in"), "-o", str(output), *options]) == 0

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    nnunet = NnUnet(raw, tmp_path)
    training, validation = nnunet.split_after_preprocessing(printed, "123")
    cases = {path.name.removesuffix(".nii.gz") for path in (output / "labelsTr").iterdir()}
    assert len(cases) == 4 * 2 + 1
    assert set(validation) == {case for case in cases if case.endswith("val")} and len(validation) == 4
    assert set(training) == cases - set(validation)

    # What the summary says about the checkpoint are options that nnU-Net has.
    train_command = next(line for line in printed if line.startswith("nnUNetv2_train"))
    predict_command = next(line for line in printed if line.startswith("nnUNetv2_predict"))
    for command in (train_command, predict_command):
        known = nnunet.shell(f"{command.split()[0]} -h")
        for option in re.findall(r"(?<= )--?[a-z_]+", command):
            assert option in known


@pytest.mark.nnunet
def test_nnunet_takes_regions_and_channels(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BraTS's labels and two channels: nnU-Net checks every value and plans one output a region."""
    for n, orientation in enumerate(["RAS", "LPS", "PIR", "LAS"]):
        head = make_head(f"in/subject {n}", orientation, seed=n, size_mm=(96.0, 112.0, 88.0))
        (head.parent / "t1ce.nii.gz").write_bytes(head.read_bytes())
    raw = tmp_path / "raw"
    output = raw / "Dataset124_Regions"
    options = ["--preset", "diverse", "--labels", "brats", "--channels", "t1ce", "--variants", "2"]
    options += ["--core-probability", "1", "--workers", "1", "--max-volume", "30000", "--skull-strip"]
    assert prompt_multi_tumor.main(["-i", str(tmp_path / "in"), "-o", str(output), *options]) == 0

    printed = [line.strip() for line in capsys.readouterr().out.split("next:\n")[1].splitlines()]
    nnunet = NnUnet(raw, tmp_path)
    training, validation = nnunet.split_after_preprocessing(printed, "124")
    assert len(training) == len(validation) == 4
    said = nnunet.shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(_HEADS)} 124")
    assert said.splitlines()[-1] == "[(1, 2, 3), (1, 3), (3,)] 3 2"  # regions, outputs, channels
