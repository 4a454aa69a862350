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
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthtumour.errors import InputError
from synthtumour.files.staging import write_bytes, write_json

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
    name = re.fullmatch(r"(Task|Dataset)(\d{3})_[A-Za-z0-9_.+-]+", absolute(folder).name)
    if name is None:
        raise InputError(
            f"{folder}: nnU-Net does not take a folder of this name; call it DatasetNNN_Name (nnU-Net v2) or "
            "TaskNNN_Name (nnU-Net v1), NNN three digits, as in Dataset101_SynthTumour"
        )
    return Dataset(folder, 1 if name[1] == "Task" else 2, name[2])


def absolute(path: Path) -> Path:
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


def check_names(cases: Iterable[tuple[str, object, Path]]) -> None:
    """Raise InputError if two of `cases` have the same name; each with the scan it is of, and its folder."""
    scans: dict[str, object] = {}
    for name, scan, folder in cases:
        if name in scans:
            raise InputError(
                f"{scans[name]} and {scan} both give a case {name} of {folder}; rename one of the two scans"
            )
        scans[name] = scan


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
    about = {"name": absolute(dataset.folder).name, "description": description}
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
