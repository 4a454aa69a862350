"""Names of images, and of the brain mask that belongs to a scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.files.names import brain_mask_beside, extension_of, extension_to_read, is_image, stem_of


@pytest.mark.parametrize(
    ("name", "extension", "stem"),
    [
        ("a.nii.gz", ".nii.gz", "a"),
        ("a.nii", ".nii", "a"),
        ("a.b.mha", ".mha", "a.b"),
        ("sub-01 x.nrrd", ".nrrd", "sub-01 x"),
    ],
)
def test_an_image_has_an_extension_and_a_stem(name: str, extension: str, stem: str) -> None:
    assert extension_of(name) == extension_to_read(Path(name)) == extension
    assert stem_of(Path("some/where") / name) == stem and is_image(Path(name))


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "a.nii.gz.part", "nii.gz"])
def test_other_names_are_no_images(name: str) -> None:
    for ask in (extension_of, extension_to_read):
        with pytest.raises(
            InputError, match="unknown image extension; use one of .nii.gz, .nii, .mha, .nrrd"
        ):
            ask(Path(name))
    assert not is_image(Path(name))


def test_capitals_are_read_and_not_written() -> None:
    assert extension_to_read(Path("A.NII.GZ")) == ".nii.gz" and stem_of(Path("A.NII.GZ")) == "A"
    with pytest.raises(InputError):
        extension_of("A.NII.GZ")


def test_hidden_files_are_no_images() -> None:
    assert not is_image(Path("._scan.nii.gz"))
    with pytest.raises(InputError):
        extension_of(".nii.gz")  # an extension and no name


def test_the_mask_beside_a_scan(tmp_path: Path) -> None:
    """As .nii.gz first, then as the scan; a link that leads nowhere is there too, and reading it says so."""
    scan = tmp_path / "a.b.nrrd"
    assert brain_mask_beside(scan) is None
    own, usual = tmp_path / "a.b_brainmask.nrrd", tmp_path / "a.b_brainmask.nii.gz"
    own.symlink_to("nowhere")
    assert brain_mask_beside(scan) == own
    usual.touch()
    assert brain_mask_beside(scan) == usual
