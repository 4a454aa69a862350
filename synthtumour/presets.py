"""Named parameter sets, the only place with default numbers. Lengths in mm, volumes in mm^3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Everything a tumour is drawn from and rendered with; override with `dataclasses.replace`."""

    name: str
    # shape model
    shape: str  # 'noisy', 'ellipsoid' or 'cuboid'
    min_volume_mm3: float
    max_volume_mm3: float
    max_axis_ratio: float
    noise_scale: float
    noise_smoothness: float
    noise_octaves: int
    # how many tumours, and how often one has a core
    num_tumours: tuple[int, int]
    core_probability: float
    # intensity model
    intensity_range: tuple[float, float]
    core_intensity_range: tuple[float, float]
    blur_sigma_mm: float
    # buffer layer and label
    buffer_sigma_mm: float
    label_threshold: float
    volumes_mm3: tuple[float, ...] = ()  # drawn from this list instead of the range, if any


PRESETS = {
    # The numbers of the published tool (Zhang et al., Medical Image Analysis 2025).
    "paper": Preset(
        name="paper",
        shape="noisy",
        min_volume_mm3=20_000.0,
        max_volume_mm3=80_000.0,
        max_axis_ratio=2.0,
        noise_scale=1.0,
        noise_smoothness=3.0,
        noise_octaves=4,
        num_tumours=(1, 1),
        core_probability=0.1,
        intensity_range=(1.5, 5.0),
        core_intensity_range=(0.8, 1.2),
        blur_sigma_mm=5.0,
        buffer_sigma_mm=1.0,
        label_threshold=0.1,
    ),
}


@dataclass(frozen=True)
class Mixing:
    """How Stage 2 places, carves and blends a real tumour; override with `dataclasses.replace`."""

    align: str = "brain"  # 'brain', 'affine' or 'none'
    scale_per_axis: bool = False
    mirror_probability: float = 0.5
    jitter_mm: float = 0.0  # standard deviation, along each axis, of a shift of the tumour
    carve: str = "label"  # or 'distance'
    blend: str = "buffer"  # or 'hard'
    buffer_sigma_mm: float = 1.0
    min_remaining: float = 0.7  # part of the tumour that must be left inside the recipient's brain


@dataclass(frozen=True)
class GateLimits:
    """What a pseudo-label must satisfy to serve as a donor, and how it is cleaned."""

    min_island_ml: float = 0.2
    max_components: int = 3
    max_hole_ml: float = 5.0
    min_volume_ml: float = 1.0
    max_brain_fraction: float = 0.35
    max_outside_fraction: float = 0.2
    min_contrast: float = 0.1
    min_confidence: float | None = None
