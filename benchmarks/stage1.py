#!/usr/bin/env python3
"""How fast Stage 1 is, beside the bare reading and writing, and beside resector doing a case of its own.

Every figure is taken in this one run, on one scan, by processes held to one thread. CPU seconds count what
the process itself burns; peak memory is its resident set. The rate for 1 and 2 workers is the whole script
from start to finish, so it includes starting up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--scan", type=Path, help="scan with its <stem>_brainmask beside it (default: a DemoData scan)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        default=(176, 240, 142),
        metavar="N",
        help="voxels that the scan is resampled to (default: %(default)s)",
    )
    parser.add_argument("--cases", type=int, default=8, help="cases a measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.measure:  # in a process of its own, so that CPU time and memory are its alone
        print(json.dumps(MEASURES[args.measure](args.folder, args.cases)))
        return 0
    with tempfile.TemporaryDirectory(prefix="synthtumour-") as name:
        folder = Path(name)
        prepare(folder, args.scan, tuple(args.size))
        figures = {what: in_own_process(what, folder, args.cases) for what in MEASURES}
        rates = {workers: cases_per_second(folder, workers, 3 * args.cases) for workers in (1, 2)}
    floor = figures["read and write only"]["cpu_s"]
    print(f"{'x'.join(map(str, args.size))} voxels, {args.cases} cases each, CPU s a case and peak memory")
    for what, figure in figures.items():
        if "missing" in figure:
            print(f"  {what:34s} {figure['missing']}")
            continue
        times = figure["cpu_s"] / floor
        print(f"  {what:34s} {figure['cpu_s']:6.3f} s  {times:5.2f} x floor  {figure['peak_mb']:5.0f} MB")
    for workers, rate in rates.items():
        print(f"  prompt_multi_tumor.py, {workers} worker(s)   {rate:6.2f} cases/s")
    if args.json:
        args.json.write_text(json.dumps({"a case": figures, "cases_per_s": rates}, indent=2) + "\n")
    return 0


def prepare(folder: Path, scan: Path | None, size: tuple[int, ...]) -> None:
    """`scan` and its mask resampled to `size`, as subject folder `folder`/input/s."""
    import SimpleITK as sitk

    from synthtumour.stage1 import brain_mask_beside

    scan = scan or next((ROOT / "DemoData").glob("*/flair.nii.gz"))
    mask = brain_mask_beside(scan)
    if mask is None:
        sys.exit(f"{scan}: no brain mask beside it")
    (folder / "input/s").mkdir(parents=True)
    for source, name, how in (
        (scan, "flair.nii.gz", sitk.sitkLinear),
        (mask, "flair_brainmask.nii.gz", sitk.sitkNearestNeighbor),
    ):
        image = sitk.ReadImage(str(source))
        spacing = [n * s / m for n, s, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
        place = (image.GetOrigin(), spacing, image.GetDirection())
        resampled = sitk.Resample(image, size, sitk.Transform(), how, *place, 0, image.GetPixelID())
        sitk.WriteImage(resampled, str(folder / "input/s" / name), useCompression=True)


def in_own_process(what: str, folder: Path, cases: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder), "--cases", str(cases)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def cases_per_second(folder: Path, workers: int, cases: int) -> float:
    """The script on `cases` subjects (the same scan under other names), start to finish."""
    subjects = folder / f"subjects{workers}"
    for n in range(cases):
        (subjects / f"s{n}").mkdir(parents=True)
        for file in (folder / "input/s").iterdir():
            (subjects / f"s{n}" / file.name).symlink_to(file)
    output = folder / f"Dataset00{workers}_Benchmark"
    command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "-i", str(subjects), "-o", str(output)]
    begin = time.perf_counter()
    done = subprocess.run([*command, "--workers", str(workers)], capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return cases / seconds


# ---------------------------------------------------------------- in a process of its own


def repeated(case: Callable[[int], object], cases: int) -> dict[str, Any]:
    """CPU seconds a case, the first one (imports) left out, and the peak resident set in MB."""
    case(0)
    begin = time.process_time()
    for n in range(1, cases + 1):
        case(n)
    cpu = (time.process_time() - begin) / cases
    return {"cpu_s": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def read_and_write(folder: Path, cases: int) -> dict[str, Any]:
    import SimpleITK as sitk

    scan, mask = (str(folder / "input/s" / name) for name in ("flair.nii.gz", "flair_brainmask.nii.gz"))

    def case(_: int) -> None:
        image, label = sitk.ReadImage(scan), sitk.ReadImage(mask)
        sitk.WriteImage(image, str(folder / "image.nii.gz"), useCompression=True)
        sitk.WriteImage(label, str(folder / "label.nii.gz"), useCompression=True)

    return repeated(case, cases)


def synthetic(task: str, variants: int) -> Callable[[Path, int], dict[str, Any]]:
    """`variants` cases for each time that the scan is read; CPU seconds are those of one case."""

    def measure(folder: Path, cases: int) -> dict[str, Any]:
        from synthtumour.presets import PRESETS
        from synthtumour.stage1 import brain_mask_beside, prepare_brain, synthesise
        from synthtumour.volume import read_volume, write_volumes

        path = folder / "input/s/flair.nii.gz"

        def case(n: int) -> None:
            scan = read_volume(path)
            brain = prepare_brain(scan, path, brain_mask_beside(path))
            for variant in range(variants):
                made = synthesise(scan, brain, PRESETS["paper"], seed=n, task=task, case=f"v{variant}")
                write_volumes({folder / "i.nii.gz": made.image, folder / "l.nii.gz": made.label})

        figure = repeated(case, max(1, cases // variants))
        return {**figure, "cpu_s": figure["cpu_s"] / variants}

    return measure


def resector(folder: Path, cases: int) -> dict[str, Any]:
    """RandomResection as torchio users run it: read, draw and render through a mesh, write."""
    if importlib.util.find_spec("resector") is None:
        return {"missing": "not installed (requirements.txt)"}
    import resector as package
    import torch
    import torchio as tio

    torch.set_num_threads(1)
    scan, mask = folder / "input/s/flair.nii.gz", folder / "input/s/flair_brainmask.nii.gz"
    transform = package.RandomResection(
        volumes_range=(20_000, 80_000), texture="dark", wm_lesion_p=0, clot_p=0
    )

    def case(n: int) -> None:
        torch.manual_seed(n)
        regions = ("resectable_left", "resectable_right", "gray_matter_left", "gray_matter_right")
        subject = tio.Subject(
            image=tio.ScalarImage(scan), **{f"resection_{region}": tio.LabelMap(mask) for region in regions}
        )
        made = transform(subject)
        made["image"].save(folder / "image.nii.gz")
        made["label"].save(folder / "label.nii.gz")

    return repeated(case, cases)


MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "read and write only": read_and_write,
    "training task": synthetic("train", 1),
    "validation task": synthetic("val", 1),
    "training task, 8 variants a scan": synthetic("train", 8),
    "resector.RandomResection": resector,
}


if __name__ == "__main__":
    sys.exit(main())
