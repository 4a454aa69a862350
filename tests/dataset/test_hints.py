"""What is said of a folder in which no scan was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.dataset.subjects import find_scans
from synthtumour.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a/x_flair.nii", "b/y_flair.nii", "c/z_flair.nii"], "3 folders with *_flair.nii: --image-name '*_"),
        (
            ["a/FLAIR.nii.gz", "b/FLAIR.nii.gz", "b/T1.nii.gz"],
            "2 folders with FLAIR.nii.gz: --image-name FLAIR",
        ),
        (
            ["a/t1.nii.gz", "a/seg.nii.gz", "b/t1.nii.gz", "b/seg.nii.gz"],
            "2 folders with t1.nii.gz: --image-name t1",
        ),
        (["HGG/a/flair.nii.gz"], "one folder deeper; give "),
        (["a/readme.txt"], "no image was seen"),
    ],
)
def test_what_was_seen_is_said(tmp_path: Path, files: list[str], said: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(InputError) as refusal:
        find_scans(tmp_path)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_bids_of_other_images(tmp_path: Path) -> None:
    touch(tmp_path, "dataset_description.json", *(f"sub-{n}/anat/sub-{n}_T2w.nii.gz" for n in (1, 2)))
    with pytest.raises(InputError, match=r"2 folders with \*_T2w\.nii\.gz: --image-name '\*_T2w\.nii\.gz'"):
        find_scans(tmp_path)
    for name in ("T2w.nii.gz", "*_T2w.nii*"):
        assert [scan.name for scan in find_scans(tmp_path, name).scans] == ["sub-1", "sub-2"]
