"""What the figures share: a page measured in inches, planes of scans, files made for the README."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from synthtumour.brain.masks import prepare_brain
from synthtumour.files.names import brain_mask_beside
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume

ROOT = Path(__file__).resolve().parent.parent

# Shown 900 pixels wide, these figures keep their type sizes; they have more pixels, for dense screens.
WIDTH_IN = 9.0
# Okabe and Ito's palette, which colour-blind readers can tell apart
BLUE, GREEN, ORANGE, RED, PURPLE = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7"

STRIP_IN = 3.25  # height of a strip of cases


class Page:
    """A figure on which everything is placed in inches from the upper left corner."""

    def __init__(self, height_in: float) -> None:
        self.height_in = height_in
        self.figure = Figure((WIDTH_IN, height_in))
        self.canvas = self.figure.add_axes((0, 0, 1, 1))
        self.canvas.set(xlim=(0, WIDTH_IN), ylim=(height_in, 0))
        self.canvas.set_axis_off()

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        top = 1 - (y + height) / self.height_in
        return self.figure.add_axes((x / WIDTH_IN, top, width / WIDTH_IN, height / self.height_in))

    def plane(
        self,
        corner: tuple[float, float],
        size: tuple[float, float],
        plane: np.ndarray,
        white: float,
        label: np.ndarray | None = None,
    ) -> None:
        """A slice as `axial` gives it, from black (0) to `white`, with the outline of its `label`."""
        ax = self.axes(*corner, *size)
        ax.imshow(plane, cmap="gray", vmin=0, vmax=white, aspect="auto")
        ax.set_axis_off()
        if label is not None:
            self.outline(label)

    def outline(self, label: np.ndarray, colour: str = ORANGE) -> None:
        """The outline of `label` over the plane that was drawn last."""
        if label.any():
            self.figure.axes[-1].contour(label > 0, levels=[0.5], colors=[colour], linewidths=1.3)


class Case(NamedTuple):
    """A scan, its brain, where tumour is, and what the network marks there; bool, canonical."""

    scan: np.ndarray
    brain: np.ndarray
    tumour: np.ndarray
    marked: np.ndarray
    voxel_ml: float = 0.001


def dice(case: Case) -> float:
    return float(2 * (case.tumour & case.marked).sum() / (case.tumour.sum() + case.marked.sum()))


def fullest(label: np.ndarray) -> int:
    """The axial slice that holds most of `label`, a canonical array [i, j, k]."""
    return int(np.argmax(np.count_nonzero(label, axis=(0, 1))))


def axial(array: np.ndarray, k: int) -> np.ndarray:
    """Slice k of a canonical array: anterior is up, the patient's right on the left."""
    return array[:, :, k].T[::-1, ::-1]


def middle_of(plane: np.ndarray, size_mm: tuple[int, int]) -> np.ndarray:
    """`plane` cut or padded about its middle to a width and a height; voxels of DemoData have 1 mm."""
    width, height = size_mm
    padded = np.pad(plane, max(size_mm) // 2)
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    return padded[top : top + height, left : left + width]


def heads_of(demo: Path) -> dict[str, tuple[Volume, Volume]]:
    """The scans of `demo` and their brains, by subject."""
    heads = {}
    for source in sorted(demo.glob("sim-*/flair.nii.gz")):
        scan = read_volume(source)
        heads[source.parent.name] = scan, prepare_brain(scan, source, brain_mask_beside(source))
    return heads


def draw_strip(panels: Mapping[str, Case], path: Path) -> None:
    """Cases side by side under their titles."""
    page = Page(height_in=STRIP_IN)
    place_strip(page, panels, 0.0)
    save(page.figure, path, dpi=150)


def place_strip(page: Page, panels: Mapping[str, Case], top: float) -> None:
    """Cases side by side, each in the slice that holds most tumour, or most of what is marked."""
    width, height, gap = 2.12, 2.5, 0.1
    left = (WIDTH_IN - len(panels) * (width + gap) + gap) / 2
    for title, case in panels.items():
        page.canvas.text(left, top + 0.08, title, size=10, weight="bold", va="top")
        told = ", ".join(
            f"{what} {np.count_nonzero(mask) * case.voxel_ml:.0f} ml"
            for what, mask in (("tumour", case.tumour), ("marked", case.marked))
        )
        page.canvas.text(left, top + 0.3, told, size=9, va="top")
        k = fullest(case.tumour if case.tumour.any() else case.marked)
        i, j, _ = (slice(axis.min() - 2, axis.max() + 3) for axis in np.nonzero(case.brain))
        image = np.where(case.brain, case.scan, 0)[i, j]
        white = 1.3 * float(np.percentile(case.scan[case.brain], 99.5))
        page.plane((left, top + 0.55), (width, height), axial(image, k), white)
        page.outline(axial(case.tumour[i, j], k), ORANGE)
        page.outline(axial(case.marked[i, j], k), BLUE)
        left += width + gap


def run_script(script: str, *options: object) -> None:
    """Run one of this repository's scripts; CalledProcessError if it fails."""
    command = [sys.executable, ROOT / script, *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def save(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a PNG of 256 colours spread over those there: half the bytes, the same to the eye."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", facecolor="white")
    picture = Image.open(buffer).convert("RGB")
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
