"""Whether a scan can be a FLAIR at all, as far as that is told cheaply."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthtumour.brain.measures import black_level, thinned
from synthtumour.errors import InputError
from synthtumour.volume.grid import Grid

# A CT in Hounsfield units has air round a brain of 20 to 40. Some MR scans are padded with such values.
_AIR, _CT_BRAIN = -500.0, (10.0, 100.0)
_RIM_MM = 4.0  # of a brain: sulci, which hold fluid
# Both must hold. Of 36 FLAIR scans, with tumours and without, the brightest rim has 1.0 times the brain's
# median, and the least share of dark voxels is 0.0125.
_BRIGHT_RIM = 1.1
_DARK, _LEAST_DARK = 0.5, 0.005


def check_flair(scan: np.ndarray, brain: np.ndarray, grid: Grid, path: Path) -> None:
    """Raise InputError for a CT, and for a scan whose fluid is brighter than its tissue, as on T2.

    `scan` and `brain` (bool) are [i, j, k] on `grid`, `path` is the scan's. T1 passes: its fluid is dark.
    """
    lowest, low, high = float(scan.min()), *_CT_BRAIN
    if lowest < _AIR and low <= float(np.median(scan[brain])) <= high:
        raise InputError(
            f"{path}: goes down to {lowest:g}, as a CT does in Hounsfield units; give a FLAIR scan"
        )
    part, depth = thinned(scan, brain, grid)
    rim, inner = part[(depth > 0) & (depth <= _RIM_MM)], part[depth > _RIM_MM]
    if not (rim.size and inner.size):
        return
    black = black_level(scan, brain)
    middle = float(np.median(inner)) - black
    bright = float(np.median(rim)) - black > _BRIGHT_RIM * middle
    if middle > 0 and bright and float((inner - black < _DARK * middle).mean()) < _LEAST_DARK:
        raise InputError(f"{path}: its fluid seems brighter than its tissue, as on T2; give a FLAIR scan")
