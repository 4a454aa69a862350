"""Which files are donors and recipients, and whose they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.stage2.heads import find_donors, find_recipients
from tests.conftest import rows_of, run_stage2


def test_subjects_of_stage_1_are_taken_from_its_manifest(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["case,subject", "patient0,h0", "patient1,h0", "patient2,h1"]
    (folders / "D/manifest.csv").write_text("\n".join(lines) + "\n")
    assert run_stage2(folders, "-num", "3") == 0
    pairs = {(row["id1"], row["id2"]) for row in rows_of(folders / "CHECK/CarveMixID.csv")}
    assert pairs == {("patient0", "h1"), ("patient1", "h1"), ("patient2", "h0")}


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "mask",
    [
        "P1_0000_bet_mask",
        "P1_0000_bet",
        "P1_0000_mask",
        "P1_bet_mask",
        "P1_bet",
        "P1",
        "P1_brainmask",
        "P1_mask",
    ],
)
def test_masks_as_hdbet_calls_them(mask: str, tmp_path: Path) -> None:
    touch(tmp_path, "H/P1_0000.nii.gz", "H/P2_0000.nii.gz", "D/P1_0000.nii.gz", "L/P1.nii.gz")
    touch(tmp_path, f"M/{mask}.nii.gz")
    first, second = find_recipients(tmp_path / "H", 1, tmp_path / "M", None)
    (donor,), _ = find_donors(tmp_path / "D", tmp_path / "L", 1, tmp_path / "M", None)
    assert first.mask == donor.mask == tmp_path / f"M/{mask}.nii.gz"
    assert second.mask == tmp_path / "M/P2.nii.gz"  # which reading it says is not there


def test_hdbets_mask_goes_before_its_image(tmp_path: Path) -> None:
    touch(
        tmp_path, "H/P1_0000.nii.gz", "M/P1_0000_bet.nii.gz", "M/P1_0000_bet_mask.nii.gz", "M/P1_0000.nii.gz"
    )
    (head,) = find_recipients(tmp_path / "H", 1, tmp_path / "M", None)
    assert head.mask == tmp_path / "M/P1_0000_bet_mask.nii.gz"


def test_masks_of_subject_folders(tmp_path: Path) -> None:
    """All their images are called flair: that is nobody's name. BraTS's are."""
    touch(
        tmp_path, "H/P1/flair.nii.gz", "H/P2/flair.nii.gz", "M/flair_bet_mask.nii.gz", "M/P2_bet_mask.nii.gz"
    )
    touch(
        tmp_path, "H/BraTS2021_00005/BraTS2021_00005_flair.nii.gz", "M/BraTS2021_00005_flair_bet_mask.nii.gz"
    )
    heads = find_recipients(tmp_path / "H", 1, tmp_path / "M", None)
    assert [head.mask and head.mask.name for head in heads] == [
        "BraTS2021_00005_flair_bet_mask.nii.gz",
        "P1.nii.gz",
        "P2_bet_mask.nii.gz",
    ]


def test_a_run_with_masks_of_hdbet(folders: Path) -> None:
    (folders / "M").mkdir()
    for name in ("h0", "h1"):
        beside = folders / f"H/{name}/flair_brainmask.nii.gz"
        shutil.copy(folders / f"H/{name}/flair.nii.gz", folders / f"M/{name}_bet.nii.gz")
        beside.rename(folders / f"M/{name}_bet_mask.nii.gz")
    assert run_stage2(folders, "-num", "2", "--healthy-masks", str(folders / "M")) == 0


def test_more_channels_need_nnunets_names(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(folders, "S/P1/flair.nii.gz", "S/P2/flair.nii.gz", "L/P1.nii.gz", "L/P2.nii.gz")
    with pytest.raises(
        InputError, match="--modality_num 2 needs the scans in nnU-Net form .*subject folders"
    ):
        find_donors(folders / "S", folders / "L", 2, None, None)
    options = ["--imagesTr_path", str(folders / "S"), "--labelsTr_path", str(folders / "L"), "-mnum", "2"]
    assert run_stage2(folders, *options) == 2
    touch(folders, "F/P1-FLAIR.nii.gz")
    with pytest.raises(InputError, match="--modality_num 2 .*P1-FLAIR"):
        find_recipients(folders / "F", 2, None, None, "*-FLAIR.nii.gz")


def test_donors_as_brats_has_them(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scan and label in one folder; the tumour-free scans have the usual names."""
    for n in range(3):
        case = f"BraTS2021_0000{n}"
        place = folders / f"B/{case}"
        place.mkdir(parents=True)
        shutil.copy(folders / f"D/imagesTr/patient{n}_0000.nii.gz", place / f"{case}_flair.nii.gz")
        shutil.copy(folders / f"D/labelsTr/patient{n}.nii.gz", place / f"{case}_seg.nii.gz")
    where = ["--imagesTr_path", str(folders / "B"), "--labelsTr_path", str(folders / "B")]
    assert run_stage2(folders, *where, "-num", "3") == 2
    assert "there are 3 folders with *_seg.nii.gz: --label-name '*_seg.nii.gz'" in capsys.readouterr().err
    assert run_stage2(folders, *where, "-num", "3", "--label-name", "*_seg.nii*") == 0
    rows = rows_of(folders / "CHECK/CarveMixID.csv")
    assert {row["id1"] for row in rows} == {f"BraTS2021_0000{n}" for n in range(3)}


def test_image_and_label_names(tmp_path: Path) -> None:
    touch(tmp_path, "I/P1-FLAIR.nii.gz", "I/P2-FLAIR.nii.gz", "L/P1_seg.nii", "L/P1_seg.npz", "L/P3_seg.nii")
    donors, others = find_donors(
        tmp_path / "I", tmp_path / "L", 1, None, None, "*-FLAIR.nii.gz", "*_seg.nii*"
    )
    (donor,) = donors
    assert (donor.name, donor.label) == ("P1", tmp_path / "L/P1_seg.nii")
    assert donor.softmax == tmp_path / "L/P1_seg.npz"
    assert [(name, kind) for name, kind, _ in others] == [
        ("P2", "missing label"),
        ("P3", "label without a scan"),
    ]
    (donor,), _ = find_donors(tmp_path / "I", tmp_path / "L", 1, None, None, "*-FLAIR.nii.gz", "seg.nii.gz")
    assert donor.label == tmp_path / "L/P1_seg.nii"
    touch(tmp_path, "S/P1/t2.nii.gz", "S/P1/flair.nii.gz", "T/P1/tumour.nii.gz", "T/P1/other.nii.gz")
    (donor,), _ = find_donors(tmp_path / "S", tmp_path / "T", 1, None, None, "t2.nii.gz", "tumour.nii.gz")
    assert (donor.channels[0].name, donor.label) == ("t2.nii.gz", tmp_path / "T/P1/tumour.nii.gz")


def test_names_that_only_one_folder_has(tmp_path: Path) -> None:
    touch(tmp_path, "H/P1/flair.nii.gz", "void/x.txt", "S/a/b_fl.nii.gz")
    with pytest.warns(UserWarning, match="holds no .*read by the usual names .subject folders"):
        (head,) = find_recipients(tmp_path / "H", 1, None, None, "*-FLAIR.nii.gz")
    assert head.name == "P1"
    with pytest.raises(InputError, match=r"holds no scan .*\*-FLAIR.*--healthyimgTr is a folder of"):
        find_recipients(tmp_path / "void", 1, None, None, "*-FLAIR.nii.gz")
    with pytest.raises(InputError, match=r"1 folder with \*_fl\.nii\.gz: --image-name '\*_fl\.nii\.gz'"):
        find_recipients(tmp_path / "S", 1, None, None)


def test_broken_links_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "H/dataset_description.json", "H/sub-1/anat/sub-1_FLAIR.nii.gz")
    (tmp_path / "H/sub-2/anat").mkdir(parents=True)
    (tmp_path / "H/sub-2/anat/sub-2_FLAIR.nii.gz").symlink_to("nowhere")
    with pytest.warns(UserWarning, match=r"1 broken link \(sub-2/anat/sub-2_FLAIR.nii.gz\): datalad get"):
        find_recipients(tmp_path / "H", 1, None, None)


def subjects_of(folder: Path, pattern: str | None = None) -> dict[str, str]:
    donors, _ = find_donors(folder / "imagesTr", folder / "labelsTr", 1, None, pattern)
    return {donor.name: donor.subject for donor in donors}


def test_subjects_of_cases(tmp_path: Path) -> None:
    cases = ["OAS30001_MR_d0129_v00", "OAS30001_MR_d0757_v01val", "sub-01val", "sub-01_ses-2_free", "x_v01"]
    touch(
        tmp_path,
        *(f"imagesTr/{case}_0000.nii.gz" for case in cases),
        *(f"labelsTr/{case}.nii" for case in cases),
    )
    assert list(subjects_of(tmp_path).values()) == ["OAS30001", "OAS30001", "sub-01_ses-2"[:6], "sub-01", "x"]
    lines = ["case,subject", *(f"{case},OAS30001_MR_{n}" for n, case in enumerate(cases[:2]))]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))  # of the version before
    assert set(subjects_of(tmp_path).values()) == {"OAS30001", "sub-01", "x"}


def test_a_pattern_is_for_the_names_of_scans(tmp_path: Path) -> None:
    """Not for what the same pattern has made of them in Stage 1."""
    cases = {"T_A_1_v00": "T_A_1", "T_A_2_v00val": "T_A_2", "T_B_1_v00": "T_B_1"}
    touch(
        tmp_path,
        *(f"imagesTr/{case}_0000.nii.gz" for case in cases),
        *(f"labelsTr/{case}.nii" for case in cases),
    )
    lines = ["case,scan,subject", *(f"{case},{scan},{scan[:3]}" for case, scan in cases.items())]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    expected = dict(zip(cases, ["T_A", "T_A", "T_B"], strict=True))
    assert subjects_of(tmp_path, "(.+)_[^_]+") == expected == subjects_of(tmp_path)
    touch(tmp_path, "H/T_A_1/flair.nii.gz", "H/T_B_1/flair.nii.gz")
    heads = find_recipients(tmp_path / "H", 1, None, "(.+)_[^_]+")
    assert [head.subject for head in heads] == ["T_A", "T_B"]


def test_sessions_are_told(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "H/h0").rename(folders / "H/h1_month12")
    assert run_stage2(folders, "-num", "2") == 0
    err = capsys.readouterr().err
    assert r"h1 and h1_month12 look like sessions of one subject" in err and "--subject-pattern" in err
