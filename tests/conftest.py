"""Helpers of several rooms: small heads, donors and recipients, scripts run in this process, nnU-Net."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

import resect_multi_tumor
import stage2_mixed_with_pseudo_label
from synthtumour.presets import PRESETS, Preset
from synthtumour.stage1.synthesis import Synthesis, synthesise
from synthtumour.volume.volume import Volume

ROOT = Path(__file__).resolve().parent.parent
MakeHead = Callable[..., Path]


def head_image(
    size_mm: tuple[float, float, float] = (120.0, 144.0, 108.0),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    oblique_deg: float = 0.0,
    seed: int = 0,
    skull: bool = False,
) -> tuple[sitk.Image, sitk.Image]:
    """A textured int16 'head' and its brain mask in LPS order: ellipsoid brain, dark ventricle, zero air."""
    image, brain = _head(tuple(size_mm), tuple(spacing), oblique_deg, seed, skull)
    return sitk.Image(image), sitk.Image(brain)


@lru_cache(maxsize=64)
def _head(
    size_mm: tuple[float, float, float],
    spacing: tuple[float, float, float],
    oblique_deg: float,
    seed: int,
    skull: bool,
) -> tuple[sitk.Image, sitk.Image]:
    size = np.rint(np.array(size_mm) / spacing).astype(int)
    rng = np.random.default_rng(seed)
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in size]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    brain = radius < 0.8
    texture = ndimage.gaussian_filter(rng.normal(size=size), 1.5)
    values = 300 + 60 * texture / texture.std() + rng.normal(0, 8, size)
    values = np.where(radius < 0.2, 80, values).clip(20, 600)
    if skull:
        values = np.where(brain | (radius < 0.95), values, rng.integers(1, 9, size))
    else:
        values = np.where(brain, values, 0)
    turn = Rotation.from_euler("xyz", [oblique_deg, -oblique_deg / 2, oblique_deg / 3], degrees=True)
    images = []
    for array in (values.astype(np.int16), brain.astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing([float(s) for s in spacing])
        image.SetDirection(turn.as_matrix().ravel().tolist())
        image.SetOrigin((-51.25, -70.5, 13.75))
        images.append(image)
    return images[0], images[1]


@pytest.fixture
def make_head(tmp_path: Path) -> MakeHead:
    """make_head('subject', orientation='RAS', ...) writes flair.nii.gz and its mask: the scan's path."""

    def make(name: str = "subject", orientation: str = "LPS", **how: Any) -> Path:
        return write_head(tmp_path / name, orientation, **how)

    return make


def write_head(
    folder: Path, orientation: str = "LPS", mask: bool = True, extension: str = ".nii.gz", **how: Any
) -> Path:
    """A scan in `folder`, with its mask beside it unless that is not wanted: the scan's path."""
    image, brain = head_image(**how)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"flair{extension}"
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))
    if mask:
        sitk.WriteImage(sitk.DICOMOrient(brain, orientation), str(folder / "flair_brainmask.nii.gz"))
    return path


def in_order(path: Path, orientation: str = "RAS") -> np.ndarray:
    """The voxels of an image file, re-oriented."""
    return sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), orientation))


_TRAINER = """
import json, sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
trainer = get_trainer_from_args(sys.argv[1], "3d_fullres", 0, device=torch.device("cpu"))
train, val = trainer.get_tr_and_val_datasets()
print("SPLIT", json.dumps([sorted(train.identifiers), sorted(val.identifiers)]))
"""


class NnUnet:
    """nnU-Net's three folders under `folder`, `raw` being where the dataset lies."""

    def __init__(self, raw: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "nnUNet_raw": str(raw),
            "nnUNet_preprocessed": str(folder / "preprocessed"),
            "nnUNet_results": str(folder / "results"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def split_after_preprocessing(self, printed: list[str], dataset: str) -> tuple[list[str], list[str]]:
        """Training and validation cases of fold 0 after the plan and copy commands among the `printed` lines.

        Only the number of processes is added to them.
        """
        plan = next(line for line in printed if line.startswith("nnUNetv2_plan_and_preprocess"))
        copy = next(line for line in printed if line.startswith("cp "))
        assert "verify_dataset_integrity Done" in self.shell(f"{plan} -c 3d_fullres -np 1 -npfp 1 --clean")
        self.shell(copy)
        said = self.shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(_TRAINER)} {dataset}")
        training, validation = json.loads(next(x for x in said.splitlines() if x.startswith("SPLIT"))[6:])
        return training, validation


def write_probabilities(path: Path, tumour: np.ndarray) -> None:
    """nnU-Net's .npz: (z, y, x) probabilities of background and tumour."""
    np.savez_compressed(path, probabilities=np.stack([1 - tumour, tumour]).astype(np.float32))


def write_validation(folder: Path, cases: int = 10) -> None:
    """`validation/` as nnU-Net leaves it, and `labelsTr/`: sure marks of tumours, and unsure false ones."""
    for n in range(cases):
        tumour, false = np.zeros((2, 20, 28, 24), bool)
        tumour[2 : 8 + n % 2, 2:8, 2:8] = True
        false[12 : 18 + n % 2, 12:18, 12:18] = True
        probability = np.where(tumour, 0.97, np.where(false, 0.6 + 0.01 * n, 0.01))
        for place, mask in (("validation", probability > 0.5), ("labelsTr", tumour)):
            (folder / place).mkdir(exist_ok=True)
            image = sitk.GetImageFromArray(mask.astype(np.uint8))
            image.SetSpacing((2.0, 2.0, 3.0))
            sitk.WriteImage(image, str(folder / place / f"c{n}_v00val.nii.gz"))
        write_probabilities(folder / f"validation/c{n}_v00val.npz", probability)


def with_tiny_network(plans: dict[str, Any]) -> dict[str, Any]:
    """nnU-Net's plans with a network that a CPU trains in seconds."""
    configuration = plans["configurations"]["3d_fullres"]
    configuration["patch_size"] = [32, 40, 32]  # holds a whole brain
    network = configuration["architecture"]["arch_kwargs"]
    network["n_stages"], network["features_per_stage"] = 3, [8, 16, 32]
    for per_stage in ("kernel_sizes", "strides", "n_conv_per_stage"):
        network[per_stage] = network[per_stage][:3]
    network["n_conv_per_stage_decoder"] = [1, 1]
    return plans


def world_of(image: sitk.Image) -> np.ndarray:
    """RAS mm (z, y, x, 3) of every voxel."""
    index = np.indices(image.GetSize()[::-1]).reshape(3, -1)[::-1]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps = direction @ (np.array(image.GetSpacing())[:, None] * index) + np.array(image.GetOrigin())[:, None]
    return (lps.T * [-1, -1, 1]).reshape(*image.GetSize()[::-1], 3)


def head_centre(image: sitk.Image) -> np.ndarray:
    """RAS mm of the middle of the scan, which is the middle of its brain."""
    middle = [(n - 1) / 2 for n in image.GetSize()]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle)) * [-1, -1, 1]


def with_tumour(
    image: sitk.Image,
    offset_ras_mm: tuple[float, float, float] = (18.0, 8.0, 10.0),
    radius_mm: float = 14.0,
    factor: float = 1.8,
) -> tuple[sitk.Image, sitk.Image]:
    """`image` with a brighter ellipsoid, longest from left to right, and its label."""
    world = world_of(image)
    away = (world - head_centre(image) - offset_ras_mm) / radius_mm / [1.2, 1.0, 0.8]
    inside = (away**2).sum(axis=-1) < 1
    array = sitk.GetArrayFromImage(image)
    bright = sitk.GetImageFromArray(np.where(inside, array * factor, array).astype(array.dtype))
    label = sitk.GetImageFromArray(inside.astype(np.uint8))
    for made in (bright, label):
        made.CopyInformation(image)
    return bright, label


def write(image: sitk.Image | Volume, path: Path, orientation: str = "LPS") -> Path:
    image = image.to_image() if isinstance(image, Volume) else sitk.DICOMOrient(image, orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_donor(
    folder: Path,
    name: str,
    orientation: str = "LPS",
    seed: int = 0,
    channels: int = 1,
    label: np.ndarray | None = None,
    **tumour: object,
) -> None:
    """`imagesTr/<name>_0000.nii.gz` (skull-stripped) and `labelsTr/<name>.nii.gz` under `folder`."""
    plain, _ = head_image(seed=seed)
    image, truth = with_tumour(plain, **tumour)  # type: ignore[arg-type]
    if label is not None:
        truth = sitk.GetImageFromArray(label)
        truth.CopyInformation(plain)
    for number in range(channels):
        shown = image if number == 0 else image * 2 + sitk.Cast(image > 0, sitk.sitkInt16) * 100
        write(shown, folder / f"imagesTr/{name}_{number:04d}.nii.gz", orientation)
    write(truth, folder / f"labelsTr/{name}.nii.gz", orientation)


DIVERSE = replace(PRESETS["diverse"], max_volume_mm3=40_000.0)
PLAIN = replace(DIVERSE, distractor_probability=0.0, num_tumours=(1, 1))


@pytest.fixture(scope="session")
def head() -> tuple[Volume, Volume]:
    image, brain = head_image((140.0, 170.0, 130.0), (1.0, 1.2, 2.0))
    return Volume.from_image(image), Volume.from_image(brain)


def synthesised(
    head: tuple[Volume, Volume], preset: Preset = PLAIN, seed: int = 1, **how: object
) -> Synthesis:
    return synthesise(*head, preset, seed=seed, **how)  # type: ignore[arg-type]


def integer_head() -> tuple[Volume, Volume]:
    """A head made of whole numbers only, so that no library's rounding is in it."""
    i, j, k = np.meshgrid(np.arange(70), np.arange(80), np.arange(60), indexing="ij")
    brain = ((i - 35) * 8) ** 2 + ((j - 40) * 7) ** 2 + ((k - 30) * 9) ** 2 < 240**2
    values = np.where(brain, 300 + (i * 7 + j * 13 + k * 29) % 41, 0).astype(np.int16)
    volumes = []
    for array in (values, brain.astype(np.uint8)):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing((2.0, 2.0, 2.0))
        volumes.append(Volume.from_image(image))
    return volumes[0], volumes[1]


NAN, INF = float("nan"), float("inf")
TINY = {"size_mm": (96.0, 114.0, 90.0), "spacing": (6.0, 6.0, 6.0)}  # a brain of 260 ml
TINY_VOLUMES = ["--min-volume", "2000", "--max-volume", "8000"]


def resect(*args: object) -> int:
    return resect_multi_tumor.main([str(a) for a in args])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("resect_multi_tumor.py: error: "), err
    assert err.rstrip("\n").isprintable() and "Traceback" not in err
    return err


SMALL_VOLUMES = ["--min-volume", "4000", "--max-volume", "12000"]


def images_in(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.nii.gz")}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `folders` holds; to be copied and not to be changed."""
    place = tmp_path_factory.mktemp("folders")
    for n, orientation in enumerate(["LPS", "RAS", "PIR"]):
        offset = (18.0 - 30 * (n == 1), 8.0, 10.0 * (n - 1))
        write_donor(place / "D", f"patient{n}", orientation, seed=n, offset_ras_mm=offset)
    write_head(place / "H/h0", "RAS", seed=10, spacing=(1.5, 1.8, 1.5), skull=True)
    write_head(place / "H/h1", "LAS", seed=11, spacing=(2.0, 2.0, 3.5), oblique_deg=10.0)
    return place


@pytest.fixture
def folders(made_once: Path, tmp_path: Path) -> Path:
    """Three donors under D, two healthy subjects under H, in several orientations and spacings."""
    for folder in ("D", "H"):
        shutil.copytree(made_once / folder, tmp_path / folder)
    return tmp_path


def stage2_command(folders: Path, *options: str) -> list[str]:
    """The published README's command, and more."""
    d, h = folders / "D", folders / "H"
    where = ["--mask_check_path", folders / "CHECK", "--imagesTr_path", d / "imagesTr"]
    where += ["--labelsTr_path", d / "labelsTr", "--healthyimgTr", h]
    return [*map(str, where), *options]


def run_stage2(folders: Path, *options: str) -> int:
    return stage2_mixed_with_pseudo_label.main(stage2_command(folders, "--workers", "1", *options))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mixed_files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.glob("*Mix/*"))}


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def torchio_subject(**how: Any) -> Any:
    """A subject of TorchIO with a FLAIR scan (int16) and its brain mask."""
    import torchio as tio

    image, brain = head_image(**how)
    return tio.Subject(flair=tio.ScalarImage.from_sitk(image), brain_mask=tio.LabelMap.from_sitk(brain))
