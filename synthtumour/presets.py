"""Named parameter sets, the only place with default numbers. Lengths in mm, volumes in mm^3."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

SHAPES = ("noisy", "ellipsoid", "cuboid")
INFILTRATIVE = "infiltrative"  # the shape that grows through the scan's own tissue
TASKS = ("train", "val")
VAL_TASKS = ("scaled", "flat", "rings")
MIXED = "mixed"  # one of VAL_TASKS, drawn for each case
CONTRASTS = ("t1", "t1ce", "t2")  # of channels beside FLAIR


@dataclass(frozen=True)
class Preset:
    """Everything a tumour is drawn from and rendered with; override with `dataclasses.replace`."""

    name: str
    # shape model
    shape: str  # one of SHAPES or INFILTRATIVE
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
    # which rooms make the tumours: 'paper' (shape, intensity) or 'glioma' (growth, appearance, distractors)
    model: str = "paper"
    val_task: str = "scaled"  # one of VAL_TASKS, or MIXED
    # model 'glioma' only
    several_probability: float = 1.0  # how often num_tumours is drawn; else the least
    nodule_probability: float = 0.0  # how often a tumour is small and bright
    mass_probability: float = 0.0  # how often a tumour is a mass with oedema on one side
    texture: float = 1.0  # its strength, as a multiple of what is drawn
    distractor_probability: float = 0.0  # how often a scan is disturbed
    tumour_free_probability: float = 0.0  # how often a training case of a dataset gets no tumour
    head_scale: tuple[float, float] = (1.0, 1.0)  # size of a dataset's training heads, of the scan's own
    mass_effect_mm: tuple[float, float] = (0.0, 0.0)  # how far tissue is pushed at most
    labels: str = "whole"  # or 'brats'


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
    # Tumours meant to look like gliomas on FLAIR; benchmarks/REALISM.md has what they were chosen by.
    "diverse": Preset(
        name="diverse",
        model="glioma",
        shape="infiltrative",
        min_volume_mm3=8_000.0,
        max_volume_mm3=250_000.0,
        max_axis_ratio=2.0,
        noise_scale=1.0,
        noise_smoothness=3.0,
        noise_octaves=4,
        num_tumours=(1, 3),
        several_probability=0.3,
        core_probability=0.2,
        intensity_range=(2.5, 7.0),  # robust standard deviations of tissue above the brain's median
        core_intensity_range=(0.8, 1.2),  # this and the blur: model 'paper' only
        blur_sigma_mm=5.0,
        buffer_sigma_mm=0.7,
        label_threshold=0.5,
        val_task="scaled",
        distractor_probability=0.5,
        tumour_free_probability=0.2,
    ),
}
DEFAULT_PRESET = "diverse"  # of the scripts: networks learn more from it (benchmarks/REALISM.md)


def preset_of(preset: str | Preset) -> Preset:
    """The preset itself, or the one of that name; ValueError if there is none."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r}: must be one of {sorted(PRESETS)} or a Preset")
    return PRESETS[preset]


Range = tuple[float, float]


@dataclass(frozen=True)
class Margin:
    """How a front runs, relative to white matter, and how rough its speed is."""

    cortex_speed: Range
    csf_speed: Range
    roughness: Range


@dataclass(frozen=True)
class CoreKind:
    """One kind of core; `level` multiplies the tissue level or, if `relative`, the oedema's brightness."""

    name: str
    share: float
    level: Range
    relative: bool
    texture: Range
    edge_mm: Range
    ring_probability: float
    enhancing_probability: float


@dataclass(frozen=True)
class GliomaRanges:
    """What the model 'glioma' draws from, beside what a preset says. Uniform unless said otherwise."""

    # growth
    lobes: tuple[int, int] = (1, 5)
    elongation: Range = (0.0, 1.0)  # radii over which the lobes lie on a line
    noise_radii: Range = (0.4, 1.2)  # feature size of the noise, in radii
    circumscribed_probability: float = 0.4
    circumscribed: Margin = Margin(cortex_speed=(0.5, 1.0), csf_speed=(0.2, 0.7), roughness=(0.2, 0.7))
    infiltrative: Margin = Margin(cortex_speed=(0.15, 0.6), csf_speed=(0.03, 0.2), roughness=(0.3, 1.2))
    extra_volume: Range = (0.05, 0.4)  # of a further tumour, as a part of a drawn volume
    mass_fraction: Range = (0.1, 0.9)  # of the tumour
    # log of how much faster oedema grows to one side than at right angles to it
    mass_lean: Range = (0.3, 2.0)
    # nodules: from the least volume up to this many times it, their lift as parts of the highest
    nodule_volumes: float = 3.0
    nodule_lift: Range = (0.75, 1.25)
    # oedema
    edge_mm: Range = (2.0, 10.0)  # log-uniform
    falloff: Range = (0.0, 0.4)
    texture: Range = (0.02, 0.14)
    texture_mm: Range = (8.0, 30.0)
    grain: Range = (0.7, 1.0)
    # core
    core_offset: float = 0.26  # standard deviation along each axis, in radii
    core_fraction: Range = (0.1, 0.6)
    core_roughness: Range = (0.1, 0.6)
    rim_mm: Range = (2.0, 7.0)
    rim_level: Range = (0.95, 1.25)
    cores: tuple[CoreKind, ...] = (
        CoreKind("necrotic", 0.40, (0.3, 1.0), False, (0.03, 0.2), (1.0, 4.0), 0.85, 0.0),
        CoreKind("cyst", 0.20, (0.1, 0.7), False, (0.0, 0.05), (0.5, 1.5), 0.85, 0.0),
        CoreKind("solid", 0.25, (1.1, 1.5), False, (0.03, 0.2), (1.0, 5.0), 0.0, 0.5),
        CoreKind("bright", 0.15, (1.05, 1.5), True, (0.03, 0.2), (1.0, 6.0), 0.0, 0.5),
    )
    masses: tuple[CoreKind, ...] = (
        CoreKind("dark", 0.30, (0.35, 0.8), False, (0.03, 0.15), (1.0, 3.0), 0.5, 0.0),
        CoreKind("iso-intense", 0.35, (0.85, 1.2), False, (0.03, 0.12), (1.0, 4.0), 0.4, 0.3),
        CoreKind("bright", 0.20, (0.7, 1.2), True, (0.03, 0.15), (1.0, 5.0), 0.2, 0.5),
        CoreKind("patchy", 0.15, (0.7, 1.3), False, (0.1, 0.25), (1.0, 4.0), 0.5, 0.3),
    )
    # distractors
    contrast_probability: float = 0.6
    dark_contrast: Range = (0.5, 1.05)
    bright_contrast: Range = (0.7, 1.15)
    bias_probability: float = 0.5
    bias: Range = (0.0, 0.5)
    bias_mm: Range = (80.0, 200.0)
    surface_probability: float = 0.4
    surface: Range = (-0.2, 0.3)
    surface_mm: float = 15.0
    spots_probability: float = 0.5
    spots: tuple[int, int] = (1, 8)
    spot_radius_mm: Range = (1.5, 7.0)  # log-uniform
    spot_lift: Range = (1.3, 4.5)  # robust standard deviations of tissue
    caps_probability: float = 0.25
    caps_mm: Range = (2.0, 6.0)
    caps_lift: Range = (1.3, 4.0)
    caps_noise_mm: Range = (8.0, 30.0)
    spot_pair_probability: float = 0.6
    cortex_probability: float = 0.25
    cortex_radius_mm: Range = (8.0, 30.0)
    cortex_factor: Range = (1.1, 1.4)
    slice_probability: float = 0.12
    slice_width_mm: Range = (1.0, 3.0)
    slice_factor: Range = (0.75, 1.3)


GLIOMA = GliomaRanges()


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
class Refinement:
    """How a pseudo-label is refined by the scan's own contrast; chosen on half of 21 real gliomas."""

    smooth_mm: float = 1.5  # Gaussian sigma of the scan that is looked at
    reach_mm: float = 12.0  # how far from the label tumour is looked for
    level: float = 0.35  # where the border lies between the tissue's level (0) and the tumour's (1)
    percentile: float = 80.0  # of the intensities in the label: the tumour's level
    tissue_mm: float = 9.0  # further from the label than this is tissue
    core_mm: float = 6.0  # deeper in the label than this stays tumour, whatever its brightness
    least_ml: float = 0.25  # a smaller label stays as it is
    least_left: float = 0.3  # so much of a label must be left of it, or it stays as it is


@dataclass(frozen=True)
class GateLimits:
    """What a pseudo-label must satisfy to serve as a donor, and how it is cleaned and refined."""

    min_island_ml: float = 0.2
    max_components: int = 3
    max_hole_ml: float = 5.0
    min_volume_ml: float = 1.0
    max_brain_fraction: float = 0.35
    max_outside_fraction: float = 0.2
    min_contrast: float = 0.1
    min_confidence: float | None = None
    min_logit: float | None = None  # mean of a part's logits; parts below are dropped before they are refined
    refinement: Refinement | None = field(default_factory=Refinement)  # None: labels are used as they are

    @property
    def parameters(self) -> dict[str, object]:
        """As a run's settings have it; what the version before did not know is named only where it counts."""
        known_later = ("min_logit", "refinement")
        return {n: v for n, v in asdict(self).items() if v is not None or n not in known_later}
