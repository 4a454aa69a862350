"""nnU-Net's trainers for short trainings on a CPU; real nnU-Net v2 finds them through `nnUNet_extTrainer`.

Their numbers are in the plans (key `small` of the configuration), where two_stage.py puts them.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from synthtumour.nnunet_trainer.nnUNetTrainerBiasField import nnUNetTrainerBiasField  # noqa: E402
from synthtumour.nnunet_trainer.nnUNetTrainerSynthTumour import nnUNetTrainerSynthTumour  # noqa: E402
from synthtumour.presets import PRESETS, Preset  # noqa: E402

if "OMP_NUM_THREADS" in os.environ:  # nnU-Net's commands take all cores of a CPU just before they import this
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
AVERAGED_OVER = 200  # steps, about, as the pilot network's


class nnUNetTrainerSmall(nnUNetTrainer):
    """Few short epochs, seeded; AdamW, which gets further than momentum 0.99 in some hundred steps.

    Beside nnU-Net's checkpoints it writes checkpoint_averaged.pth, the last steps' averaged weights.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        small = self.configuration_manager.configuration["small"]
        self.num_epochs = small["num_epochs"]
        self.num_iterations_per_epoch = small["num_iterations_per_epoch"]
        self.num_val_iterations_per_epoch = small["num_val_iterations_per_epoch"]
        self.initial_lr = small["initial_lr"]
        self.save_every = 5
        self.keep_epochs = small.get("keep_epochs", [])  # selection_curve.py scores these checkpoints
        # This process itself makes the patches, between the steps: then a seed gives the same network.
        os.environ["nnUNet_n_proc_DA"] = "0"
        random.seed(small["seed"])
        np.random.seed(small["seed"])
        torch.manual_seed(small["seed"])

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=1e-3)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        """As nnU-Net's, but predictions are not averaged over mirror images: eight times the work."""
        configured = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return configured

    def on_train_start(self) -> None:
        super().on_train_start()
        averaging = get_ema_multi_avg_fn(1 - 1 / AVERAGED_OVER)
        # A training that is carried on begins a new average: it reaches back 200 steps only.
        self.averaged = AveragedModel(self.network, multi_avg_fn=averaging)

    def train_step(self, batch: dict) -> dict:
        said = super().train_step(batch)
        self.averaged.update_parameters(self.network)
        return said

    def on_train_end(self) -> None:
        if self.averaged.n_averaged:  # none in a finished training whose validation is carried on
            last, self.network = self.network, self.averaged.module
            self.save_checkpoint(str(Path(self.output_folder) / "checkpoint_averaged.pth"))
            self.network = last
        super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """Whole or not at all, so that a training killed here can be carried on."""
        super().save_checkpoint(f"{filename}.partial")
        os.replace(f"{filename}.partial", filename)

    def on_epoch_end(self) -> None:
        """As nnU-Net's, but its picture of the progress (2 s each) is drawn after the last epoch only."""
        draw = self.logger.plot_progress_png
        if self.current_epoch < self.num_epochs - 1:
            self.logger.plot_progress_png = lambda folder: None
        super().on_epoch_end()
        self.logger.plot_progress_png = draw
        if self.current_epoch in self.keep_epochs:
            folder = Path(self.output_folder)
            curves = {
                name: [float(value) for value in self.logger.get_value(name, step=None)]
                for name in ("train_losses", "ema_fg_dice")
            }
            (folder / "curves.json").write_text(json.dumps(curves), encoding="utf-8")
            self.save_checkpoint(str(folder / f"checkpoint_{self.current_epoch:04d}.pth"))


class nnUNetTrainerSmallFresh(nnUNetTrainerSmall, nnUNetTrainerSynthTumour):
    """The same with tumours drawn anew at every step, of the preset that the plans name."""

    @property
    def preset(self) -> Preset:
        return PRESETS[self.configuration_manager.configuration["small"]["preset"]]


class nnUNetTrainerSmallBiasField(nnUNetTrainerSmall, nnUNetTrainerBiasField):
    """A senior's, of fixed cases."""


class nnUNetTrainerSmallFreshBiasField(nnUNetTrainerSmallFresh, nnUNetTrainerBiasField):
    """A senior's, of fixed cases and of tumours drawn anew."""
