"""Training: steps with averaged weights, which can be interrupted and carried on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from synthtumour.errors import InputError
from synthtumour.pilot.augmentation import changed, drawn_change
from synthtumour.pilot.learning import Draw
from synthtumour.pilot.network import PilotNetwork
from synthtumour.signals import Interruption

BATCH = 2
_RATE, _DECAY, _WARM_UP = 3e-3, 1e-3, 0.1
_AVERAGED_OVER = 200  # steps, about
_SAVED_EVERY = 100  # steps
_STEPS_TIMED = 8


@dataclass(frozen=True)
class Steps:
    """How many steps are taken, from which seed, by which threads and device."""

    iterations: int
    seed: int
    device: str

    @property
    def precision(self) -> torch.dtype:
        """bfloat16 where the processor calculates with it, else float32."""
        return torch.bfloat16 if self.device != "cpu" or _has_bfloat16() else torch.float32


def _has_bfloat16() -> bool:
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


class Training:
    """A network on its way: `step` by step, to `averaged` weights."""

    def __init__(self, network: PilotNetwork, steps: Steps) -> None:
        torch.set_flush_denormal(True)
        self.steps = steps
        self.network = network.to(steps.device, memory_format=torch.channels_last_3d).train()
        self.optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        total = steps.iterations + 1
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            _RATE,
            total,
            pct_start=max(_WARM_UP, 2 / total),  # at least one step, or torch divides by 0
        )
        self.mean = AveragedModel(network, multi_avg_fn=_towards)
        self.loss = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
        self.done = 0

    def step(self, draw: Draw) -> float:
        """Take one step; the loss. What is drawn hangs on the seed and the step's number alone."""
        rng = np.random.default_rng([self.steps.seed, self.done])
        batch = [changed(draw(rng), drawn_change(rng), self.network.channels) for _ in range(BATCH)]
        images, labels = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
        device = self.steps.device
        with torch.autocast(device, self.steps.precision, enabled=self.steps.precision != torch.float32):
            logits = self.network(images.to(device))
        loss = self.loss(logits.float(), labels[:, None].to(device))
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5)
        self.optimiser.step()
        self.schedule.step()
        self.mean.update_parameters(self.network)
        self.done += 1
        return float(loss.detach())

    def averaged(self) -> dict[str, torch.Tensor]:
        """The averaged weights."""
        return {name: tensor.cpu() for name, tensor in self.mean.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that is needed to carry on."""
        parts = ("network", "optimiser", "schedule", "mean")
        return {"done": self.done, **{part: getattr(self, part).state_dict() for part in parts}}

    def carry_on(self, state: dict[str, Any]) -> None:
        """Be where `state` was taken."""
        self.done = state["done"]
        for part in ("network", "optimiser", "schedule", "mean"):
            getattr(self, part).load_state_dict(state[part])


def _towards(averaged: Any, current: Any, count: torch.Tensor) -> None:
    """Move the averages: over all steps at first, over the last _AVERAGED_OVER or so later."""
    keep = min(1 - 1 / _AVERAGED_OVER, float(count) / (float(count) + 10))
    for mean, value in zip(averaged, current, strict=True):
        mean.lerp_(value, 1 - keep)


def take_steps(
    training: Training, draw: Draw, keep: Callable[[], None], noted: Interruption, quiet: bool
) -> bool:
    """Take the steps that are left, `keep` what there is now and then; False if it was interrupted."""
    total = training.steps.iterations
    with tqdm(total=total, initial=training.done, unit="step", disable=quiet or None) as bar:
        while training.done < total:
            if noted.asked:
                keep()
                return False
            loss = training.step(draw)
            if not np.isfinite(loss):
                raise InputError(f"the loss is {loss} at step {training.done}: choose another --seed")
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()
            if training.done % _SAVED_EVERY == 0 and training.done < total:
                keep()
    return True


def steps_in(minutes: float, channels: int, draw: Draw, steps: Steps) -> int:
    """How many steps this machine takes in so many minutes, by the first few of a network that is dropped."""
    trial = Training(PilotNetwork(channels), replace(steps, iterations=_STEPS_TIMED + 1))
    trial.step(draw)
    began = time.monotonic()
    for _ in range(_STEPS_TIMED):
        trial.step(draw)
    return max(int(minutes * 60 / (time.monotonic() - began) * _STEPS_TIMED), 1)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """While it lasts torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
