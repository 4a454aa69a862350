"""A folder of links that lead nowhere."""

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


def dangle(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("../.git/annex/objects/Xx/Yy/MD5E-s1--0")


@pytest.mark.parametrize(
    "names",
    [
        ["dataset_description.json", "sub-1/anat/sub-1_FLAIR.nii.gz", "sub-2/ses-a/anat/sub-2_FLAIR.nii.gz"],
        ["a/flair.nii.gz", "b/flair.nii.gz"],
        ["c/c_flair.nii", "d/d_flair.nii"],
        ["A_0000.nii.gz", "B_0000.nii.gz"],
    ],
)
def test_all_links_broken(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *(name for name in names if name.endswith("json")))
    dangle(tmp_path, *(name for name in names if not name.endswith("json")))
    with pytest.raises(InputError, match=r"holds no scan .*2 broken links \(.*\): datalad get"):
        find_scans(tmp_path)
