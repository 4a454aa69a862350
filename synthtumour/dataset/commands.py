"""What to type next, with nnU-Net."""

from __future__ import annotations

import shlex
from pathlib import Path

from synthtumour.dataset.nnunet import Dataset, absolute


def next_commands(dataset: Dataset, has_split: bool, trainer: str = "") -> list[str]:
    """What to type next, in a shell: nnU-Net uses the validation task only if it is told to.

    `trainer`: one of those in nnunet_trainer/ (nnU-Net v2), which know the split by themselves.
    """
    number, name = dataset.number, shlex.quote(absolute(dataset.folder).name)
    split = shlex.quote(str(absolute(dataset.files[1])))
    raw = shlex.quote(str(absolute(dataset.folder).parent))
    if dataset.version == 2:
        best, checkpoint = (" --val_best", " -chk checkpoint_best.pth") if has_split else ("", "")
        copy = [f'cp {split} "$nnUNet_preprocessed"/{name}/splits_final.json'] if has_split else []
        trainers = []
        if trainer:
            folder = shlex.quote(str(Path(__file__).resolve().parents[1] / "nnunet_trainer"))
            trainers, copy, trainer = [f"export nnUNet_extTrainer={folder}"], [], f" -tr {trainer}"
        return [
            f'export nnUNet_raw={raw} nnUNet_preprocessed="$PWD"/nnUNet_preprocessed',
            'export nnUNet_results="$PWD"/nnUNet_results',
            *trainers,
            f"nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity",
            *copy,
            f"nnUNetv2_train {number} 3d_fullres 0{trainer}{best} --npz",
            f"nnUNetv2_predict -d {number} -i SCANS -o PREDICTIONS{trainer} -c 3d_fullres -f 0{checkpoint}"
            " --save_probabilities",
        ]
    best, checkpoint = (" --valbest", " -chk model_best") if has_split else ("", "")
    copy = [f'cp {split} "$nnUNet_preprocessed"/{name}/splits_final.pkl'] if has_split else []
    return [
        "# nnU-Net v1 looks for the folder in $nnUNet_raw_data_base/nnUNet_raw_data",
        f'cp -rH {shlex.quote(str(absolute(dataset.folder)))} "$nnUNet_raw_data_base"/nnUNet_raw_data/',
        f"nnUNet_plan_and_preprocess -t {number} --verify_dataset_integrity",
        *copy,
        f"nnUNet_train 3d_fullres nnUNetTrainerV2 {number} 0{best}",
        f"nnUNet_predict -i SCANS -o PREDICTIONS -t {number} -m 3d_fullres -f 0{checkpoint}",
    ]
