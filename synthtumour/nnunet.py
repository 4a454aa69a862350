"""nnU-Net's folders: what they are called, what a case is called, dataset.json and the split.

`TaskNNN_Name` is nnU-Net v1 (dataset.json with a list of cases, splits_final.pkl), `DatasetNNN_Name` is v2
(dataset.json, splits_final.json). Both take a split only from their folder of preprocessed data.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import shlex
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtumour.journal import write_bytes, write_json
from synthtumour.volume import InputError

VAL_SUFFIX = "val"
FILE_ENDING = ".nii.gz"
_BRATS_VALUES = {"0": "background", "1": "necrosis and other core", "2": "oedema", "3": "enhancing tumour"}
_LONGEST_NAME = 180  # of 255 bytes, which also hold the suffixes and the name while being written


@dataclass(frozen=True)
class Dataset:
    """An nnU-Net dataset folder: its `version` (1 or 2) and `number` follow from its name."""

    folder: Path
    version: int
    number: str  # three digits

    @property
    def files(self) -> tuple[Path, Path]:
        """dataset.json and the split."""
        ending = "pkl" if self.version == 1 else "json"
        return self.folder / "dataset.json", self.folder / f"splits_final.{ending}"

    def image(self, case: str, channel: int = 0) -> Path:
        return self.folder / "imagesTr" / f"{case}_{channel:04d}{FILE_ENDING}"

    def label(self, case: str) -> Path:
        return self.folder / "labelsTr" / f"{case}{FILE_ENDING}"


def dataset_at(folder: Path) -> Dataset:
    """The dataset that `folder` is by its name; InputError if nnU-Net would not take it."""
    name = re.fullmatch(r"(Task|Dataset)(\d{3})_[A-Za-z0-9_.+-]+", _absolute(folder).name)
    if name is None:
        raise InputError(
            f"{folder}: nnU-Net does not take a folder of this name; call it DatasetNNN_Name (nnU-Net v2) or "
            "TaskNNN_Name (nnU-Net v1), NNN three digits, as in Dataset101_SynthTumour"
        )
    return Dataset(folder, 1 if name[1] == "Task" else 2, name[2])


def _absolute(path: Path) -> Path:
    """`path` in full, by the names of links: nnU-Net knows a dataset by the name it finds it under."""
    return Path(os.path.abspath(path))


def safe_name(name: str) -> str:
    """`name` as nnU-Net and a shell can take it: unchanged if it can stay, else in ASCII with a short hash.

    The hash is of the name as it was, so that 'a b' and 'a;b' stay apart whatever else is in the folder. A
    name that ends with 'val' is changed too: only the validation task may end so.
    """
    fits = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) and len(name) <= _LONGEST_NAME
    if fits and not name.endswith(VAL_SUFFIX):
        return name
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9_-]+", "_", ascii_only).strip("_-")[:_LONGEST_NAME]
    return f"{words or 'subject'}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def validation_subjects(subjects: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The `fraction` of `subjects`, rounded, that the validation task gets.

    Subjects are ranked by a hash of seed and name, and the first of that ranking are taken: neither the order
    in which a folder is listed nor the number of scans or variants matters. With two or more subjects and a
    fraction above 0, each side has at least one. A rank depends on the subjects beside it, so a subset of a
    folder keeps its sides only if the split is made over the whole folder (`--subjects` does that).
    """
    ranking = sorted(set(subjects), key=lambda name: (_hash(seed, name), name))
    count = round(fraction * len(ranking))
    if fraction > 0 and len(ranking) > 1:
        count = min(max(count, 1), len(ranking) - 1)
    return set(ranking[:count])


def tumour_free(scans: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The `fraction` of `scans`, rounded but at least one, that are also given to the network as they are."""
    ranking = sorted(set(scans), key=lambda name: (_hash(seed, f"tumour-free {name}"), name))
    return set(ranking[: max(round(fraction * len(ranking)), int(fraction > 0))])


def gets_no_tumour(drawn_for: str, probability: float, seed: int) -> bool:
    """Whether the training case `drawn_for` stays without a tumour; it depends on its name and seed only."""
    return _uniform(seed, f"no tumour {drawn_for}") < probability


def head_scale(drawn_for: str, bounds: tuple[float, float], seed: int) -> float:
    """By how much the head of the training case `drawn_for` is resized, by its name and seed only."""
    low, high = bounds
    return round(low + (high - low) * _uniform(seed, f"head {drawn_for}"), 3)


def write_dataset(
    dataset: Dataset,
    training: Sequence[str],
    validation: Sequence[str],
    description: str,
    channels: Sequence[str] = ("FLAIR",),
    regions: bool = False,
) -> None:
    """Write dataset.json and, if there are both kinds of cases, the split with its one fold.

    `regions`: labels hold BraTS's values; nnU-Net v2 then learns its three nested regions, v1 the values.
    """
    labels: dict[str, object] = {"background": 0, "tumour": 1}
    values: dict[str, object] = {}
    if regions:
        labels = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "enhancing tumour": [3]}
        values = {"regions_class_order": [2, 1, 3]}
    named_channels = {str(number): name for number, name in enumerate(channels)}
    about = {"name": _absolute(dataset.folder).name, "description": description}
    cases = sorted((*training, *validation))
    if dataset.version == 2:
        content = {
            **about,
            "channel_names": named_channels,
            "labels": labels,
            **values,
            "numTraining": len(cases),
            "file_ending": FILE_ENDING,
        }
    else:
        listed = [
            {"image": f"./imagesTr/{case}{FILE_ENDING}", "label": f"./labelsTr/{case}{FILE_ENDING}"}
            for case in cases
        ]
        content = {
            **about,
            "tensorImageSize": "4D",
            "reference": "",
            "licence": "",
            "release": "",
            "modality": named_channels,
            "labels": _BRATS_VALUES if regions else {"0": "background", "1": "tumour"},
            "numTraining": len(cases),
            "numTest": 0,
            "training": listed,
            "test": [],
        }
    dataset_json, split = dataset.files
    if training and validation:
        if dataset.version == 2:
            write_json([{"train": sorted(training), "val": sorted(validation)}], split)
        else:
            _write_pickled_split(sorted(training), sorted(validation), split)
    else:
        split.unlink(missing_ok=True)  # an earlier run's, for cases that are no longer there
    write_json(content, dataset_json)


def next_commands(dataset: Dataset, has_split: bool, trainer: str = "") -> list[str]:
    """What to type next, in a shell: nnU-Net uses the validation task only if it is told to.

    `trainer`: one of those in nnunet_trainer/ (nnU-Net v2), which know the split by themselves.
    """
    number, name = dataset.number, shlex.quote(_absolute(dataset.folder).name)
    split = shlex.quote(str(_absolute(dataset.files[1])))
    raw = shlex.quote(str(_absolute(dataset.folder).parent))
    if dataset.version == 2:
        best, checkpoint = (" --val_best", " -chk checkpoint_best.pth") if has_split else ("", "")
        copy = [f'cp {split} "$nnUNet_preprocessed"/{name}/splits_final.json'] if has_split else []
        trainers = []
        if trainer:
            folder = shlex.quote(str(Path(__file__).resolve().parent / "nnunet_trainer"))
            trainers, copy, trainer = [f"export nnUNet_extTrainer={folder}"], [], f" -tr {trainer}"
        return [
            f'export nnUNet_raw={raw} nnUNet_preprocessed="$PWD"/nnUNet_preprocessed',
            'export nnUNet_results="$PWD"/nnUNet_results',
            *trainers,
            f"nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity",
            *copy,
            f"nnUNetv2_train {number} 3d_fullres 0{trainer}{best}",
            f"nnUNetv2_predict -d {number} -i SCANS -o PREDICTIONS{trainer} -c 3d_fullres -f 0{checkpoint}",
        ]
    best, checkpoint = (" --valbest", " -chk model_best") if has_split else ("", "")
    copy = [f'cp {split} "$nnUNet_preprocessed"/{name}/splits_final.pkl'] if has_split else []
    return [
        "# nnU-Net v1 looks for the folder in $nnUNet_raw_data_base/nnUNet_raw_data",
        f'cp -r {shlex.quote(str(dataset.folder.resolve()))} "$nnUNet_raw_data_base"/nnUNet_raw_data/',
        f"nnUNet_plan_and_preprocess -t {number} --verify_dataset_integrity",
        *copy,
        f"nnUNet_train 3d_fullres nnUNetTrainerV2 {number} 0{best}",
        f"nnUNet_predict -i SCANS -o PREDICTIONS -t {number} -m 3d_fullres -f 0{checkpoint}",
    ]


def _write_pickled_split(training: list[str], validation: list[str], path: Path) -> None:
    import numpy as np

    class ForAnyNumpy(pickle.Pickler):
        """Arrays as a call of numpy.array: numpy 2 pickles them in a way that v1's numpy cannot read."""

        def reducer_override(self, value: object) -> Any:
            return (np.array, (value.tolist(),)) if isinstance(value, np.ndarray) else NotImplemented

    fold = OrderedDict(train=np.array(training), val=np.array(validation))
    pickled = io.BytesIO()
    ForAnyNumpy(pickled, protocol=4).dump([fold])
    write_bytes(pickled.getvalue(), path)


def _uniform(seed: int, name: str) -> float:
    """0 to 1, evenly spread over names."""
    return int.from_bytes(_hash(seed, name)[:8], "big") / 2**64


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(b"%d " % seed + os.fsencode(name)).digest()
