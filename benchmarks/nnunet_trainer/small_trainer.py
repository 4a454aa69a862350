"""nnU-Net's trainer for short trainings on a CPU; real nnU-Net v2 finds it through `nnUNet_extTrainer`.

Its numbers are in the plans (key `small` of the configuration), where two_stage.py puts them.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

if "OMP_NUM_THREADS" in os.environ:  # nnU-Net's commands take all cores of a CPU just before they import this
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class nnUNetTrainerSmall(nnUNetTrainer):
    """Few short epochs, seeded; AdamW, which gets further than momentum 0.99 in some hundred steps."""

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

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Left out: it predicts every validation case eight times over, and nothing reads the result."""
