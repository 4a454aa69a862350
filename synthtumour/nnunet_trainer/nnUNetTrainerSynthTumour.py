"""Trainers for nnU-Net v2, which finds them by name in the folder that nnUNet_extTrainer names.

This folder holds trainers only: nnU-Net imports whatever lies in it.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:  # for good: nnU-Net's workers need the package too
    sys.path.append(ROOT)

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402

from synthtumour.dataset.nnunet import VAL_SUFFIX  # noqa: E402
from synthtumour.errors import InputError  # noqa: E402
from synthtumour.fresh_tumours import FreshTumours  # noqa: E402
from synthtumour.nnunet_trainer.nnUNetTrainerBiasField import nnUNetTrainerBiasField  # noqa: E402
from synthtumour.presets import PRESETS, Preset  # noqa: E402
from synthtumour.text import counted  # noqa: E402


class nnUNetTrainerSynthTumour(nnUNetTrainer):
    """Trains on tumours drawn anew each time a tumour-free case is loaded; validates on the shifted task.

    Other tumours: a subclass with another `preset`.
    """

    preset: Preset = PRESETS["paper"]

    def do_split(self):
        """The dataset's own split, whatever the fold, whether splits_final.json was copied or not.

        Both stages write it beside the dataset in nnUNet_raw. Where that is not at hand, a copy in
        nnUNet_preprocessed counts, and without one Stage 1's case names tell the sides.
        """
        self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        cases = sorted(self.dataset_class.get_identifiers(self.preprocessed_dataset_folder))
        held_out = self._held_out()
        if held_out is None:
            held_out = {case for case in cases if case.endswith(VAL_SUFFIX)}
        validation = [case for case in cases if case in held_out]
        training = [case for case in cases if case not in held_out]
        if not (training and validation):
            raise InputError(
                f"{self.plans_manager.dataset_name}: {counted(len(training), 'training case')} and "
                f"{len(validation)} of the validation task, whose names end in '{VAL_SUFFIX}'; make it "
                "with prompt_multi_tumor.py --skull-strip --without-tumour 1, from two subjects or more"
            )
        return training, validation

    def _held_out(self):
        """The validation cases by the split that either stage wrote; None if it is not there."""
        name, raw = self.plans_manager.dataset_name, os.environ.get("nnUNet_raw")
        folders = [Path(raw) / name] if raw else []
        for folder in (*folders, Path(self.preprocessed_dataset_folder_base)):
            file = folder / "splits_final.json"
            if not file.is_file():
                continue
            try:
                folds = json.loads(file.read_text(encoding="utf-8"))
                if len(folds) == 1:  # nnU-Net itself writes five
                    return {*folds[0]["val"]}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{file}: is no split ({error}); copy the dataset's own") from error
        return None

    def get_tr_and_val_datasets(self):
        training, validation = super().get_tr_and_val_datasets()
        preset = replace(self.preset, labels="brats") if self.label_manager.has_regions else self.preset
        fresh = FreshTumours(
            training,
            preset,
            self.configuration_manager.spacing,
            self.plans_manager.transpose_forward,
            self.configuration_manager.use_mask_for_norm[0],
        )
        return fresh, validation

    def on_train_start(self):
        try:
            self._check()
        except InputError as error:
            print(f"{type(self).__name__}: error: {error}", file=sys.stderr)
            sys.exit(2)
        super().on_train_start()

    def _check(self):
        """Raise InputError, before any work, for a dataset whose cases can get no tumours."""
        schemes = self.configuration_manager.normalization_schemes
        regions = self.label_manager.has_regions
        for wrong, what in (
            (self.is_cascaded, "a cascade is not supported; train 3d_fullres"),
            (len(schemes) > 1, f"{len(schemes)} channels; tumours are drawn into datasets of FLAIR alone"),
            (schemes[0] != "ZScoreNormalization", f"{schemes[0]}; name the channel FLAIR, for z-scores"),
            (
                self.label_manager.foreground_labels != ([1, 2, 3] if regions else [1]),
                "labels other than Stage 1's; make the dataset with prompt_multi_tumor.py",
            ),
            (regions and self.preset.model != "glioma", "regions need -tr nnUNetTrainerSynthTumourDiverse"),
        ):
            if wrong:
                raise InputError(f"{self.plans_manager.dataset_name}: {what}")
        training, _ = self.get_tr_and_val_datasets()
        training.check()


class nnUNetTrainerSynthTumourDiverse(nnUNetTrainerSynthTumour):
    """The same with the tumours of the preset diverse."""

    preset = PRESETS["diverse"]


class nnUNetTrainerSynthTumourBiasField(nnUNetTrainerSynthTumour, nnUNetTrainerBiasField):
    """For a senior, whose mixed cases have no bias field of their own."""


class nnUNetTrainerSynthTumourDiverseBiasField(nnUNetTrainerSynthTumourDiverse, nnUNetTrainerBiasField):
    """The same beside tumours of the preset diverse."""
