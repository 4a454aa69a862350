"""The network, and the file that holds its weights.

The network is our own: MONAI's take 4 s of CPU to import, more than twice what a scan's prediction takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool3d

from synthtumour.errors import InputError
from synthtumour.files.checks import check_file
from synthtumour.files.staging import write_bytes
from synthtumour.pilot.canvas import Canvas, Head
from synthtumour.stage2.confidence import Gate

BOX = Path(__file__).parent / "weights/box.pt"  # the weights that come with the package
_FORMAT = "SynthTumour pilot network 2"


class _Block(nn.Sequential):
    """Two convolutions of 3 x 3 x 3, each with instance normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*self._layers(inputs, outputs), *self._layers(outputs, outputs))

    @staticmethod
    def _layers(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        convolution = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        return convolution, nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01, True)


class PilotNetwork(nn.Module):
    """A U-Net of whole brains: (n, channels, i, j, k) to logits (n, 1, i, j, k), sides multiples of 8.

    It works on blocks of 2 x 2 x 2 voxels and answers for each voxel of them: an eighth of the work.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.channels = channels
        inputs = (8 * channels, *widths)
        self.down = nn.ModuleList(_Block(i, o) for i, o in zip(inputs, widths, strict=False))
        pairs = zip(widths, widths[1:], strict=False)
        self.up = nn.ModuleList(_Block(fine + coarse, fine) for fine, coarse in pairs)
        self.head = nn.Conv3d(widths[0], 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _in_blocks(x)
        finer = []
        for level, block in enumerate(self.down):
            x = block(max_pool3d(x, 2) if level else x)
            finer.append(x)
        for level in reversed(range(len(self.up))):
            wide = interpolate(x, size=finer[level].shape[2:], mode="trilinear", align_corners=False)
            x = self.up[level](torch.cat([finer[level], wide], 1))
        return _out_of_blocks(self.head(x))


def _in_blocks(x: torch.Tensor) -> torch.Tensor:
    """(n, c, i, j, k) to (n, 8 c, i / 2, j / 2, k / 2)."""
    n, c, i, j, k = x.shape
    x = x.reshape(n, c, i // 2, 2, j // 2, 2, k // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
    return x.reshape(n, 8 * c, i // 2, j // 2, k // 2).contiguous(memory_format=torch.channels_last_3d)


def _out_of_blocks(x: torch.Tensor) -> torch.Tensor:
    """(n, 8, i, j, k) to (n, 1, 2 i, 2 j, 2 k)."""
    n, _, i, j, k = x.shape
    return x.reshape(n, 2, 2, 2, i, j, k).permute(0, 4, 1, 5, 2, 6, 3).reshape(n, 1, 2 * i, 2 * j, 2 * k)


def zscored(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """`image` in standard deviations of the brain from its mean (float32), 0 outside."""
    values = image[brain]
    return np.where(brain, (image - values.mean()) / (values.std() + 1e-6), 0).astype(np.float32)


def channels_of(image: np.ndarray, count: int) -> np.ndarray:
    """(count, i, j, k): `image` and, as the second, what is on the other side of the brain."""
    return np.stack([image, image[::-1]][:count])


def logits_of(network: PilotNetwork, head: Head) -> np.ndarray:
    """Logits (float32 [i, j, k]) of a head on its canvas: the mean of it and of its mirror image."""
    x = torch.from_numpy(channels_of(zscored(head.image, head.brain), network.channels))[None]
    with torch.inference_mode():
        found = (network(x) + network(x.flip(2)).flip(2)) / 2
    return found[0, 0].numpy()


@dataclass(frozen=True)
class Pilot:
    """What a file of weights holds, but for the weights."""

    canvas: Canvas
    channels: int
    gate: Gate | None  # what parts must satisfy; None: it could not be chosen
    about: Mapping[str, Any] = field(default_factory=dict)  # seed, preset, versions, what it learnt from


def save_weights(path: Path, pilot: Pilot, weights: Mapping[str, torch.Tensor]) -> None:
    """Write a file of weights (float16), whole or not at all."""
    content = io.BytesIO()
    halves = {name: tensor.detach().half().contiguous() for name, tensor in weights.items()}
    torch.save({"format": _FORMAT, "pilot": json.dumps(asdict(pilot)), "weights": halves}, content)
    write_bytes(content.getvalue(), path)


def stored_in(path: Path) -> Any:
    """What torch has saved in a file; any Exception for other files. Nothing in it is executed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about foreign files
        return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(path: Path) -> tuple[Pilot, PilotNetwork]:
    """What a file of weights says, and its network. Raises InputError for any other file."""
    check_file(path)
    try:
        found = stored_in(path)
        if found["format"] != _FORMAT:
            raise ValueError(found["format"])
        said = json.loads(found["pilot"])
        canvas = Canvas(tuple(said["canvas"]["shape"]), float(said["canvas"]["spacing_mm"]))
        gate = said["gate"] and Gate(**{**said["gate"], "weights": tuple(said["gate"]["weights"])})
        pilot = Pilot(canvas, int(said["channels"]), gate, said["about"])
        network = PilotNetwork(pilot.channels)
        network.load_state_dict({name: tensor.float() for name, tensor in found["weights"].items()})
    except Exception as error:  # whatever torch's unpickler makes of a file
        raise InputError(
            f"{path}: holds no weights of pilot_network.py, or is damaged; give a file that its train wrote"
        ) from error
    return pilot, network.eval().to(memory_format=torch.channels_last_3d)


def digest_of(path: Path) -> str:
    """SHA-256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
