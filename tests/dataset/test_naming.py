"""What a name or a pattern means, in folders and among files that lie side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.dataset.naming import (
    case_of,
    check_given,
    file_of_case,
    in_folder,
    usual_in_folder,
    whats_wrong,
)
from synthtumour.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("file", "name", "case"),
    [
        ("P1_0000.nii.gz", None, "P1"),
        ("P1_0000.mha", None, "P1"),
        ("P1_0001.nii.gz", None, None),
        ("P1_T2w.nii.gz", "T2w.nii.gz", "P1"),
        ("P1_T2w.nii", "T2w.nii.gz", "P1"),
        ("P1-T2w.nii.gz", "T2w.nii.gz", None),
        ("IXI012-HH-1211-FLAIR.nii.gz", "*-FLAIR.nii.gz", "IXI012-HH-1211"),
        ("IXI012-HH-1211-FLAIR.nii.gz", "IXI*FLAIR*", "IXI012-HH-1211"),
        ("IXI012-HH-1211-T1.nii.gz", "*-FLAIR.nii.gz", None),
        ("P1.nii.gz", "*.nii*", "P1"),
        ("P1.nii.gz", "P?.nii.gz", "P1"),
        ("P1_brainmask.nii.gz", "*.nii.gz", None),
        ("P1_bet.nii.gz", "*_bet.nii.gz", "P1"),
        ("._P1.nii.gz", "*.nii.gz", None),
    ],
)
def test_the_case_of_a_file(file: str, name: str | None, case: str | None) -> None:
    assert case_of(Path(file), name, "0000") == case


def test_the_file_of_a_case(tmp_path: Path) -> None:
    touch(tmp_path, "P1_seg.nii", "P10_seg.nii.gz", "P1-mask.nii.gz", "P2seg.nii.gz", "P2_x_seg.nii.gz")
    found = [
        file_of_case(tmp_path, case, name)
        for case, name in (
            ("P1", "*_seg.nii*"),
            ("P1", "seg.nii.gz"),
            ("P1", "*-mask.nii.gz"),
            ("P2", "*_seg.nii*"),
        )
    ]
    assert [file and file.name for file in found] == ["P1_seg.nii", "P1_seg.nii", "P1-mask.nii.gz", None]


def test_a_file_in_a_folder(tmp_path: Path) -> None:
    touch(
        tmp_path, "x_a.nii", "x_a.nii.gz", "y_a.nii.gz", "x_brainmask.nii.gz", "im[1].nii.gz", "s/z_a.nii.gz"
    )
    (tmp_path / "l_b.nii").symlink_to("nowhere")

    def names(name: str, masks: bool = False) -> list[str]:
        return [file.relative_to(tmp_path).as_posix() for file in in_folder(tmp_path, name, masks)]

    assert names("x_a.nii.gz") == names("x_a.nii*") == ["x_a.nii.gz"]
    assert names("*_a.nii.gz") == ["x_a.nii.gz", "y_a.nii.gz"]
    assert names("x_b*") == [] and names("x_b*", True) == ["x_brainmask.nii.gz"]
    assert names("im[1].nii.gz") == ["im[1].nii.gz"]
    assert names("s/*_a.nii.gz") == ["s/z_a.nii.gz"]
    assert (
        names("*_b.nii*") == ["l_b.nii"] and whats_wrong(tmp_path / "l_b.nii") == "broken link: datalad get"
    )
    assert whats_wrong(tmp_path / "s").startswith("not a file but a folder")


def test_the_usual_names(tmp_path: Path) -> None:
    touch(
        tmp_path, "P1/P1_flair.nii", "P1/P1_t2.nii", "P1/P12_flair.nii", "P2/P2-t2f.nii.gz", "P2/flair.nrrd"
    )
    touch(tmp_path, "P3/P4_flair.nii.gz", "P5/P5_FLAIR.nii.gz")
    found = [[file.name for file in usual_in_folder(tmp_path / f"P{n}")] for n in (1, 2, 3, 5)]
    assert found == [["P1_flair.nii"], ["flair.nrrd"], [], ["P5_FLAIR.nii.gz"]]


@pytest.mark.parametrize("name", ["", "/a.nii", "../a.nii", "a/../../b.nii", "**/a.nii"])
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(InputError, match="--label-name"):
        check_given("--label-name", name)
