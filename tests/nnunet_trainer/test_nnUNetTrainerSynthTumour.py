"""nnUNetTrainerSynthTumour in the hands of real nnU-Net v2: found, trained, predicted with, refused."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import prompt_multi_tumor
from tests.conftest import ROOT, NnUnet, head_image, with_tiny_network

pytestmark = pytest.mark.nnunet


TRAINERS = ROOT / "synthtumour" / "nnunet_trainer"


SHORT = """
from synthtumour.nnunet_trainer.nnUNetTrainerSynthTumour import nnUNetTrainerSynthTumour

class nnUNetTrainerSynthTumourShort(nnUNetTrainerSynthTumour):
    def initialize(self):
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 3, 8, 2
        super().initialize()
"""


@pytest.fixture(scope="module")
def nnunet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NnUnet]:
    """Dataset 101, made for the trainer, and 102, of whole heads; preprocessed, with a tiny network."""
    folder = tmp_path_factory.mktemp("nnunet")
    nnunet = NnUnet(folder / "raw", folder)
    (folder / "own").mkdir()
    (folder / "own" / "nnUNetTrainerSynthTumourShort.py").write_text(SHORT)
    new = {
        "nnUNet_extTrainer": f"{TRAINERS}{os.pathsep}{folder / 'own'}",
        "nnUNet_n_proc_DA": "2",
        "nnUNet_def_n_proc": "1",
        "nnUNet_compile": "F",
    }
    nnunet.environment.update(new)
    for dataset, subjects, skull in (("101_SynthTumour", 4, False), ("102_WholeHeads", 2, True)):
        heads = folder / f"heads{dataset}"
        for n in range(subjects):
            scan, brain = head_image((96.0, 112.0, 88.0), (3.0, 3.0, 3.0), seed=n, skull=skull)
            (heads / f"sub{n}").mkdir(parents=True)
            sitk.WriteImage(scan, str(heads / f"sub{n}" / "flair.nii.gz"))
            sitk.WriteImage(brain, str(heads / f"sub{n}" / "flair_brainmask.nii.gz"))
        command = ["-i", str(heads), "-o", str(folder / "raw" / f"Dataset{dataset}"), "--workers", "1"]
        command += ["--without-tumour", "1"] + ([] if skull else ["--skull-strip"])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert prompt_multi_tumor.main(command) == 0
        (plan,) = printed(said.getvalue(), "nnUNetv2_plan_and_preprocess")
        nnunet.shell(f"{plan} -c 3d_fullres -np 1 -npfp 1")
        plans = folder / "preprocessed" / f"Dataset{dataset}" / "nnUNetPlans.json"
        plans.write_text(json.dumps(with_tiny_network(json.loads(plans.read_text()))))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in nnunet.environment.items():
            patch.setenv(name, value)
        yield nnunet


def printed(summary: str, program: str) -> list[str]:
    """The commands of `program` that Stage 1 says come next."""
    return [line.strip() for line in summary.splitlines() if line.strip().startswith(program)]


def trainer(dataset: str, name: str = "nnUNetTrainerSynthTumour", **changes: Any) -> Any:
    """The trainer as nnUNetv2_train finds and makes it; `changes` of its plans or its dataset.json."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    made = get_trainer_from_args(dataset, "3d_fullres", 0, name, device=torch.device("cpu"))
    if not changes:
        return made
    plans = {**made.plans_manager.plans, "continue_training": False}
    configuration, about = plans["configurations"]["3d_fullres"], dict(made.dataset_json)
    for key, value in changes.items():
        (configuration if key in configuration else about)[key] = value
    return type(made)(plans, "3d_fullres", 0, about, torch.device("cpu"))


def test_training_prediction_and_the_split(nnunet: NnUnet) -> None:
    """No splits_final.json is copied; started in a folder that is not the project's."""
    name = "nnUNetTrainerSynthTumourShort"
    nnunet.shell(f"nnUNetv2_train 101 3d_fullres 0 -tr {name} -device cpu --val_best")
    fold = nnunet.folder / f"results/Dataset101_SynthTumour/{name}__nnUNetPlans__3d_fullres/fold_0"
    log = next(fold.glob("training_log*")).read_text()
    losses = [float(loss) for loss in re.findall(r"train_loss (\S+)", log)]
    assert len(losses) == 3 and losses[-1] < losses[0] - 0.1
    assert (fold / "checkpoint_best.pth").is_file() and (fold / "checkpoint_final.pth").is_file()
    predicted = {path.name for path in (fold / "validation").glob("*.nii.gz")}
    labels = nnunet.folder / "raw/Dataset101_SynthTumour/labelsTr"
    assert predicted == {path.name for path in labels.glob("*val.nii.gz")} and len(predicted) == 2

    scan = nnunet.folder / "raw/Dataset101_SynthTumour/imagesTr" / min(predicted).replace(".nii", "_0000.nii")
    (nnunet.folder / "scans").mkdir()
    shutil.copy(scan, nnunet.folder / "scans")
    predict = f"nnUNetv2_predict -d 101 -i scans -o predictions -tr {name} -c 3d_fullres -f 0 -device cpu"
    nnunet.shell(f"{predict} -chk checkpoint_best.pth -npp 1 -nps 1")
    prediction = sitk.ReadImage(str(nnunet.folder / "predictions" / min(predicted)))
    assert prediction.GetSize() == sitk.ReadImage(str(scan)).GetSize()
    assert set(np.unique(sitk.GetArrayFromImage(prediction))) <= {0, 1}


def test_patches_of_both_loaders(nnunet: NnUnet) -> None:
    """Training patches: fresh tumours in every worker. Validation patches: the files' cases, as they are."""
    made = trainer("101")
    made.initialize()
    training, validation = made.get_dataloaders()
    try:
        drawn = [next(training) for _ in range(8)]
        fixed = [next(validation) for _ in range(4)]
    finally:
        training._finish()
        validation._finish()
    targets = [target for batch in drawn for target in batch["target"][0].numpy()]
    assert len({target.tobytes() for target in targets}) == len(targets) == 16
    assert all((target == 1).any() for target in targets)
    assert {key for batch in drawn for key in batch["keys"]} == {"sub0", "sub1", "sub2", "sub3"} - {
        key.removesuffix("val") for key in made.do_split()[1]
    }
    _, cases = made.get_tr_and_val_datasets()
    for batch in fixed:
        for key, image, target in zip(batch["keys"], batch["data"], batch["target"][0], strict=True):
            data, seg, _, _ = cases.load_case(key)
            assert key.endswith("val") and 0 < (target > 0).sum() <= (seg[:] > 0).sum()
            assert np.isin(image[target == 1], data[:][seg[:] == 1]).all()
            assert np.isin(image[target == 0], [0, *data[:][seg[:] <= 0]]).all()


def test_the_split_is_the_datasets_own(
    nnunet: NnUnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stage 2's validation cases have no common ending, so its file of the split says which they are."""
    _, by_names = trainer("101").do_split()
    own = nnunet.folder / "raw/Dataset101_SynthTumour/splits_final.json"
    written = own.read_text()
    assert sorted(json.loads(written)[0]["val"]) == by_names
    other = [*by_names[1:], "sub0", "sub1"]
    own.write_text(json.dumps([{"train": [], "val": [*other, "a-case-that-was-never-made"]}]))
    training, validation = trainer("101").do_split()
    own.write_text(written)
    assert set(validation) & set(training) == set()
    assert validation == [case for case in sorted(other) if case in validation] and by_names[0] in training
    monkeypatch.delenv("nnUNet_raw")  # a machine that has the preprocessed cases only
    assert trainer("101").do_split()[1] == by_names
    copied = nnunet.folder / "preprocessed/Dataset101_SynthTumour/splits_final.json"
    copied.write_text(json.dumps([{"train": [], "val": other}]))
    assert trainer("101").do_split()[1] == validation
    copied.write_text(json.dumps([{"train": [], "val": other}] * 5))  # as nnU-Net itself writes them
    assert trainer("101").do_split()[1] == by_names
    copied.write_text("[{}]")
    assert "is no split" in refusal(trainer("101"), capsys)
    copied.unlink()


def test_a_case_twice(nnunet: NnUnet) -> None:
    """Another tumour each time, the brain z-scored with it, and nothing changed outside."""
    fresh, _ = trainer("101").get_tr_and_val_datasets()
    case = fresh.identifiers[0]
    before, seg_before, _, _ = fresh.dataset.load_case(case)
    brain = seg_before[:] >= 0
    assert not (seg_before[:] > 0).any()
    (first, seg, _, properties), (_, other, _, _) = fresh.load_case(case), fresh.load_case(case)
    assert not np.array_equal(seg, other)
    assert np.array_equal(first[~brain], before[:][~brain]) and np.array_equal(seg >= 0, brain)
    assert abs(first[brain].mean()) < 1e-4 and abs(first[brain].std() - 1) < 1e-4
    assert len(properties["class_locations"][1]) == (seg == 1).sum()
    far = brain & (seg == 0) & (before[:] > 0)
    assert np.corrcoef(first[far], before[:][far])[0, 1] > 0.9
    lifts = []
    for _ in range(7):  # one may be faint, or mostly a dark core
        image, marked, _, _ = fresh.load_case(case)
        lifts.append(image[marked == 1].mean() - image[brain & (marked == 0)].mean())
    assert np.median(lifts) > 1


def refusal(made: Any, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit:
        made.on_train_start()
    assert exit.value.code == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    return message


def test_whole_heads_are_refused(nnunet: NnUnet, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not skull-stripped" in refusal(trainer("102"), capsys)


def test_without_a_validation_task(nnunet: NnUnet, capsys: pytest.CaptureFixture[str]) -> None:
    made = trainer("101")
    folder = nnunet.folder / "without_val"
    shutil.copytree(made.preprocessed_dataset_folder, folder, ignore=shutil.ignore_patterns("*val*"))
    made.preprocessed_dataset_folder = str(folder)
    assert "2 training cases and 0 of the validation task" in refusal(made, capsys)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalization_schemes": ["ZScoreNormalization"] * 2}, "2 channels"),
        ({"normalization_schemes": ["NoNormalization"]}, "NoNormalization; name the channel FLAIR"),
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "labels other than Stage 1's"),
        (
            {
                "labels": {"background": 0, "whole": [1, 2, 3], "a": 1, "b": 3},
                "regions_class_order": [2, 1, 3],
            },
            "-tr nnUNetTrainerSynthTumourDiverse",
        ),
    ],
)
def test_other_datasets_are_refused(
    nnunet: NnUnet, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(trainer("101", **changes), capsys)
