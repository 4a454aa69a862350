#!/usr/bin/env python3
"""What a tumour costs, beside bare reading and writing, resector and TorchIO, all in this one run.

scan    a case from file to file at 1 mm, and the whole script's rate with 1 and 2 workers
patch   a tumour in a 128^3 patch in memory, as a training loop draws it
cases   prompt_multi_tumor.py from start to finish on more and more small scans, and the line through that
voxels  a case from file to file, the same head at finer and finer spacing

Figures of scan, patch and voxels are CPU time and the largest resident set of a process of its own that is
held to one thread: the median over the cases, the first one (imports) left out. Those of cases, and rates,
are wall-clock. Scans are resampled from one of DemoData. A row that needs a package which is absent says so.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
    "1",
)
PATCH_VOXELS, PATCH_MM = 128, 1.0
FLOOR, TRAINING = "read and write only", "training task"
DEFORMATION = "tio.RandomElasticDeformation"
# Of a subject's folder, what makes case n there and says how many that were.
MakeCase = Callable[[Path], Callable[[int], int]]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("scan", "patch", "cases", "voxels"),
        default=("scan", "patch", "cases", "voxels"),
        help="what to measure (default: all, a few minutes)",
    )
    parser.add_argument(
        "--scan", type=Path, help="scan with its <stem>_brainmask beside it (default: a DemoData scan)"
    )
    parser.add_argument(
        "--cases", type=int, default=9, help="cases a median is taken over (default: %(default)s)"
    )
    parser.add_argument(
        "--numbers",
        type=int,
        nargs="+",
        default=(10, 100, 1000),
        metavar="N",
        help="numbers of cases that the script is run with (default: %(default)s)",
    )
    parser.add_argument(
        "--spacings", type=float, nargs="+", default=(2, 1, 0.7), metavar="MM", help="(default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--measure", nargs=2, metavar=("PART", "ROW"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.cases < 1 or len(set(args.numbers)) < 2 or min(args.numbers) < 1:
        parser.error("--cases needs 1 or more, --numbers two different ones or more for a line")
    if args.measure:
        part, row = args.measure
        print(json.dumps(measure(ROWS[part][row], args.folder, args.cases)))
        return 0
    scan = args.scan or ROOT / "DemoData/sim-01/flair.nii.gz"
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="synthtumour-") as folder:
        for part in dict.fromkeys(args.parts):
            print(flush=True)
            figures[part] = PARTS[part](Path(folder), scan, args)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


# ---------------------------------------------------------------- the four tables


def scan_table(folder: Path, scan: Path, args: argparse.Namespace) -> dict[str, Any]:
    subject = resampled(scan, folder / "scan", 1.0)
    print(f"scan: {size_of(subject)} voxels, file to file, CPU time (median of {args.cases}), peak memory")
    figures = rows("scan", subject, args.cases)
    for workers in (1, 2):
        rate = 24 / whole_script(folder / f"workers{workers}", subject, 24, workers)
        figures[f"{workers} workers"] = {"cases_per_s": rate}
        print(f"  prompt_multi_tumor.py, workers: {workers} {rate:8.2f} cases/s", flush=True)
    return figures


def patch_table(folder: Path, scan: Path, args: argparse.Namespace) -> dict[str, Any]:
    subject = resampled(scan, folder / "patch", PATCH_MM, PATCH_VOXELS)
    print(f"patch: {size_of(subject)} voxels, in memory, CPU time (median of {args.cases}), peak memory")
    return rows("patch", subject, args.cases)


def rows(part: str, subject: Path, cases: int) -> dict[str, Any]:
    """Measure and print the rows of `part`, each with its ratio to the first one."""
    figures: dict[str, Any] = {}
    for row in ROWS[part]:
        figures[row] = figure = in_own_process(part, row, subject, cases)
        if "missing" in figure:
            print(f"  {row:34s} missing: {figure['missing']}", flush=True)
            continue
        ratio = figure["cpu_s"] / figures[next(iter(ROWS[part]))]["cpu_s"]
        cpu_ms = 1000 * figure["cpu_s"]
        print(f"  {row:34s} {cpu_ms:8.0f} ms {ratio:7.2f} x {figure['peak_mb']:6.0f} MB", flush=True)
    return figures


def cases_table(folder: Path, scan: Path, args: argparse.Namespace) -> dict[str, Any]:
    subject = resampled(scan, folder / "small", 2.0)
    print(f"cases: prompt_multi_tumor.py, {size_of(subject)} voxels, 2 workers, wall-clock s")
    seconds = []
    for number in args.numbers:
        seconds.append(whole_script(folder / f"cases{number}", subject, number, workers=2))
        print(f"  {number:6d} cases {seconds[-1]:9.2f} s {seconds[-1] / number:9.4f} s a case", flush=True)
    # relative errors count, else the largest number alone would decide
    slope, start = np.polyfit(args.numbers, seconds, 1, w=1 / np.array(seconds))
    off = float(np.abs((start + slope * np.array(args.numbers)) / seconds - 1).max())
    print(f"  straight line: {start:.2f} s + {slope:.4f} s a case; furthest point {off:.1%} off")
    return {"numbers": list(args.numbers), "seconds": seconds, "start_s": start, "case_s": slope, "off": off}


def voxels_table(folder: Path, scan: Path, args: argparse.Namespace) -> dict[str, Any]:
    print(f"voxels: file to file, CPU s a case (median of {args.cases})")
    figures: dict[str, Any] = {}
    for spacing in dict.fromkeys(args.spacings):
        subject = resampled(scan, folder / f"at{spacing:g}mm", spacing)
        voxels = int(np.prod(read_image(subject / "flair.nii.gz").GetSize()))
        floor, case = (in_own_process("scan", row, subject, args.cases)["cpu_s"] for row in (FLOOR, TRAINING))
        figures[f"{spacing:g}"] = {"voxels": voxels, "cpu_s": case, "floor_cpu_s": floor}
        print(
            f"  {spacing:4g} mm {size_of(subject):>13s} {voxels / 1e6:6.2f} M voxels {case:7.3f} s "
            f"{1e9 * case / voxels:6.1f} ns a voxel {case / floor:5.1f} x floor",
            flush=True,
        )
    return figures


PARTS = {"scan": scan_table, "patch": patch_table, "cases": cases_table, "voxels": voxels_table}


def read_image(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path))


def size_of(subject: Path) -> str:
    return "x".join(map(str, read_image(subject / "flair.nii.gz").GetSize()))


def resampled(scan: Path, subject: Path, spacing_mm: float, size: int | None = None) -> Path:
    """`scan` and its mask at `spacing_mm`, all of it or the middle `size`^3, written to `subject`."""
    from synthtumour.files.names import brain_mask_beside

    mask = brain_mask_beside(scan)
    if mask is None:
        sys.exit(f"{scan}: no brain mask beside it")
    subject.mkdir()
    for source, name, how in (
        (scan, "flair.nii.gz", sitk.sitkLinear),
        (mask, "flair_brainmask.nii.gz", sitk.sitkNearestNeighbor),
    ):
        image = read_image(source)
        extent = np.array(image.GetSize()) * image.GetSpacing()
        shape = [size] * 3 if size else [int(n) for n in np.rint(extent / spacing_mm)]
        middle = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
        axes = np.array(image.GetDirection()).reshape(3, 3)
        origin = np.array(middle) - axes @ (np.array(shape) - 1) * spacing_mm / 2
        place = (origin.tolist(), [spacing_mm] * 3, image.GetDirection())
        made = sitk.Resample(image, shape, sitk.Transform(), how, *place, 0, image.GetPixelID())
        sitk.WriteImage(made, str(subject / name), useCompression=True)
    return subject


def whole_script(folder: Path, subject: Path, cases: int, workers: int) -> float:
    """Seconds of the script on `cases` subjects (copies of the same scan), start to finish."""
    for n in range(cases):
        (folder / f"input/s{n}").mkdir(parents=True)
        for file in subject.glob("flair*"):
            shutil.copyfile(file, folder / f"input/s{n}" / file.name)  # links to one scan would be one case
    command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "--input", str(folder / "input")]
    command += ["--output", str(folder / "Dataset001_Speed"), "--workers", str(workers), "--preset", "paper"]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode or f"cases: {cases} made" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return seconds


def in_own_process(part: str, row: str, subject: Path, cases: int) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--measure",
        part,
        row,
        "--folder",
        str(subject),
        "--cases",
        str(cases),
    ]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


# ---------------------------------------------------------------- in a process of its own


def measure(make_case: MakeCase, subject: Path, cases: int) -> dict[str, Any]:
    try:
        case = make_case(subject)
    except ModuleNotFoundError as error:
        return {"missing": f"{error.name} is not installed (requirements.txt)"}
    case(0)
    seconds = []
    for n in range(1, cases + 1):
        begin = time.process_time()
        made = case(n)
        seconds.append((time.process_time() - begin) / made)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": statistics.median(seconds), "all_cpu_s": seconds, "peak_mb": peak_mb}


def read_and_write(subject: Path) -> Callable[[int], int]:
    def case(_: int) -> int:
        image, label = (read_image(subject / name) for name in ("flair.nii.gz", "flair_brainmask.nii.gz"))
        sitk.WriteImage(image, str(subject / "image.nii.gz"), useCompression=True)
        sitk.WriteImage(label, str(subject / "label.nii.gz"), useCompression=True)
        return 1

    return case


def file_to_file(preset: str, task: str, variants: int = 1) -> MakeCase:
    """Cases as the scripts make them: `variants` of them share one reading."""

    def make(subject: Path) -> Callable[[int], int]:
        from synthtumour.brain.masks import prepare_brain
        from synthtumour.files.names import brain_mask_beside
        from synthtumour.presets import PRESETS
        from synthtumour.stage1.synthesis import synthesise
        from synthtumour.volume.reading import read_volume
        from synthtumour.volume.writing import write_volumes

        path = subject / "flair.nii.gz"

        def case(n: int) -> int:
            scan = read_volume(path)
            brain = prepare_brain(scan, path, brain_mask_beside(path))
            for variant in range(variants):
                made = synthesise(scan, brain, PRESETS[preset], seed=n, task=task, case=f"v{variant}")
                write_volumes({subject / "i.nii.gz": made.image, subject / "l.nii.gz": made.label})
            return variants

        return case

    return make


def picture_of_a_case(subject: Path) -> Callable[[int], int]:
    """What --preview adds to a case that has been made."""
    from synthtumour.stage1.picture import write_picture
    from synthtumour.stage1.synthesis import synthesise
    from synthtumour.volume.reading import read_volume

    scan, brain = (read_volume(subject / name) for name in ("flair.nii.gz", "flair_brainmask.nii.gz"))
    made = synthesise(scan, brain, seed=0)

    def case(n: int) -> int:
        write_picture(subject / "picture.png", f"case {n}", scan, brain, made)
        return 1

    return case


def in_memory(preset: str, task: str) -> MakeCase:
    def make(subject: Path) -> Callable[[int], int]:
        from synthtumour.presets import PRESETS
        from synthtumour.stage1.synthesis import synthesise_patch
        from synthtumour.volume.reading import read_volume

        image, brain = (read_volume(subject / name) for name in ("flair.nii.gz", "flair_brainmask.nii.gz"))
        patch = image.array.astype(np.float32), brain.array > 0, image.grid.spacing_mm

        def case(n: int) -> int:
            synthesise_patch(*patch, PRESETS[preset], seed=n, task=task)
            return 1

        return case

    return make


def random_tumour() -> Callable[[Any], Any]:
    from synthtumour.transforms import RandomTumour

    return RandomTumour()


def random_resection() -> Callable[[Any], Any]:
    from resector import RandomResection

    resect = RandomResection(volumes_range=(20_000, 80_000), texture="dark", wm_lesion_p=0, clot_p=0)
    return lambda subject: resect(copy.deepcopy(subject))  # unlike the others it writes into what it is given


def random_deformation() -> Callable[[Any], Any]:
    from torchio import RandomElasticDeformation

    return RandomElasticDeformation()


def torchio(
    transform: Callable[[], Callable[[Any], Any]], files: bool, masks: tuple[str, ...] = ("brain_mask",)
) -> MakeCase:
    """A transform on a subject of image and brain mask (as `masks`): read and written, or held in memory."""

    def make(subject: Path) -> Callable[[int], int]:
        import torch
        import torchio as tio

        torch.set_num_threads(1)
        apply = transform()

        def read() -> tio.Subject:
            brain = subject / "flair_brainmask.nii.gz"
            images = {name: tio.LabelMap(brain) for name in masks}
            return tio.Subject(image=tio.ScalarImage(subject / "flair.nii.gz"), **images)

        held = read()
        if not files:
            held.load()

        def case(n: int) -> int:
            torch.manual_seed(n)
            made = apply(read() if files else held)
            if files:
                label = next(name for name in ("tumour", "label", "brain_mask") if name in made)
                made["image"].save(subject / "image.nii.gz")
                made[label].save(subject / "label.nii.gz")
            return 1

        return case

    return make


RESECTABLE = tuple(
    f"resection_{what}_{side}" for what in ("resectable", "gray_matter") for side in ("left", "right")
)
ROWS: dict[str, dict[str, MakeCase]] = {
    "scan": {
        FLOOR: read_and_write,
        TRAINING: file_to_file("paper", "train"),
        "validation task": file_to_file("paper", "val"),
        "training task, 8 variants a scan": file_to_file("paper", "train", variants=8),
        "preset diverse": file_to_file("diverse", "train"),
        "a case's picture alone": picture_of_a_case,
        "RandomTumour": torchio(random_tumour, files=True),
        "resector.RandomResection": torchio(random_resection, True, RESECTABLE),
        DEFORMATION: torchio(random_deformation, files=True),
    },
    "patch": {
        "synthesise_patch": in_memory("paper", "train"),
        "synthesise_patch, validation task": in_memory("paper", "val"),
        "synthesise_patch, preset diverse": in_memory("diverse", "train"),
        "RandomTumour": torchio(random_tumour, files=False),
        "resector.RandomResection": torchio(random_resection, False, RESECTABLE),
        DEFORMATION: torchio(random_deformation, files=False),
    },
}


if __name__ == "__main__":
    sys.exit(main())
