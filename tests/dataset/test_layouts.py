"""Folders as public data come, patterns for names, links that lead nowhere, masks of BIDS derivatives."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.dataset.subjects import Found, find_scans
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


def images_of(found: Found) -> dict[str, str]:
    return {scan.name: scan.image.name for scan in found.scans}


BRATS20 = [f"BraTS20_Training_00{n}" for n in (3, 4)]
BRATS23 = ["BraTS-GLI-00017-000", "BraTS-GLI-00017-001", "BraTS-PED-00003-000"]


def test_brats_is_known(tmp_path: Path) -> None:
    for case in BRATS20:
        touch(tmp_path, *(f"a/{case}/{case}_{what}.nii" for what in ("flair", "t1", "t1ce", "t2", "seg")))
    for case in BRATS23:
        touch(tmp_path, *(f"b/{case}/{case}-{what}.nii.gz" for what in ("t2f", "t1n", "t1c", "t2w", "seg")))
    assert images_of(find_scans(tmp_path / "a")) == {case: f"{case}_flair.nii" for case in BRATS20}
    found = find_scans(tmp_path / "b")
    assert images_of(found) == {case: f"{case}-t2f.nii.gz" for case in BRATS23}
    assert [(scan.subject, scan.session) for scan in found.scans] == [
        ("BraTS-GLI-00017", "000"),
        ("BraTS-GLI-00017", "001"),
        ("BraTS-PED-00003", "000"),
    ]
    assert found.skipped == ()


def test_nii_beside_nii_gz(tmp_path: Path) -> None:
    touch(tmp_path, "a/flair.nii", "b/flair.nii.gz", "c/flair.nii", "c/flair.nii.gz", "d/t2.nii")
    touch(tmp_path, "a/flair_brainmask.nii.gz", "b/flair_brainmask.nii")
    found = find_scans(tmp_path)
    assert images_of(found) == {"a": "flair.nii", "b": "flair.nii.gz", "c": "flair.nii.gz"}
    assert [scan.mask and scan.mask.name for scan in found.scans] == [
        "flair_brainmask.nii.gz",
        "flair_brainmask.nii",
        None,
    ]
    assert images_of(find_scans(tmp_path, "t2.nii.gz")) == {"d": "t2.nii"}


def test_patterns_in_folders(tmp_path: Path) -> None:
    for n in (4, 5, 6):
        case = f"UCSF-PDGM-000{n}"
        for what in ("FLAIR", "FLAIR_bias", "T1", "brain_segmentation", "FLAIR_brainmask"):
            touch(tmp_path, f"{case}_nifti/{case}_{what}.nii{'.gz' * (n < 6)}")
    touch(tmp_path, "UCSF-PDGM-0004_nifti/._UCSF-PDGM-0004_FLAIR.nii.gz")
    with pytest.raises(
        InputError, match=r"seen: 3 folders with \*_FLAIR\.nii\*: --image-name '\*_FLAIR\.nii\*'"
    ):
        find_scans(tmp_path)
    found = find_scans(tmp_path, "*_FLAIR.nii*")
    assert len(found.scans) == 3 and not found.skipped
    assert all(
        scan.mask == scan.image.with_name(scan.image.name.replace("FLAIR", "FLAIR_brainmask"))
        for scan in found.scans
    )
    found = find_scans(tmp_path, "*_FLAIR.nii*", "*_brain_segmentation.nii*")
    assert [scan.mask.name.split(".")[0][-18:] for scan in found.scans if scan.mask] == [
        "brain_segmentation"
    ] * 3
    with pytest.raises(InputError, match="several scans: .*FLAIR.*FLAIR_bias.*narrow --image-name"):
        find_scans(tmp_path, "*FLAIR*")


def test_a_pattern_finds_what_a_mask_is_called_like_if_it_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "a/x_bet.nii.gz", "a/x_bet_mask.nii.gz")
    assert images_of(find_scans(tmp_path, "*_bet.nii.gz")) == {"a": "x_bet.nii.gz"}


def test_flat_folders(tmp_path: Path) -> None:
    touch(tmp_path, *(f"IXI0{n}-{site}-FLAIR.nii.gz" for n, site in ((12, "HH-1211"), (25, "Guys-0852"))))
    touch(
        tmp_path,
        "IXI012-HH-1211-T1.nii.gz",
        "IXI012-HH-1211-FLAIR_brainmask.nii.gz",
        "IXI025-Guys-0852_brainmask.nii",
    )
    with pytest.raises(
        InputError, match=r"seen: 2 files \*-FLAIR\.nii\.gz: --image-name '\*-FLAIR\.nii\.gz'"
    ):
        find_scans(tmp_path)
    for pattern in ("*-FLAIR.nii.gz", "*FLAIR.nii*", "IXI*-FLAIR.nii.gz"):
        found = find_scans(tmp_path, pattern)
        assert [(scan.name, scan.mask and scan.mask.name) for scan in found.scans] == [
            ("IXI012-HH-1211", "IXI012-HH-1211-FLAIR_brainmask.nii.gz"),
            ("IXI025-Guys-0852", "IXI025-Guys-0852_brainmask.nii"),
        ]
        assert [name for name, _ in found.skipped] == ["IXI012-HH-1211-T1.nii.gz"]
    touch(tmp_path, "IXI012-HH-1211_bm.nii.gz", "IXI025-Guys-0852-FLAIR_bm.nii")
    for pattern in ("*_bm.nii*", "bm.nii.gz"):
        found = find_scans(tmp_path, "*-FLAIR.nii.gz", pattern)
        assert [scan.mask and scan.mask.name for scan in found.scans] == [
            "IXI012-HH-1211_bm.nii.gz",
            "IXI025-Guys-0852-FLAIR_bm.nii",
        ]
    assert find_scans(tmp_path, "*-FLAIR.nii.gz", "gone.nii.gz").scans[0].mask == (
        tmp_path / "IXI012-HH-1211_gone.nii.gz"
    )


def test_bids_tells_of_broken_links(tmp_path: Path) -> None:
    touch(tmp_path, "dataset_description.json", "sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii.gz")
    dangle(tmp_path, "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz", "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz")
    dangle(tmp_path, "sub-2", "sub-3/ses-1", "sub-4/anat")
    found = find_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["sub-1_ses-1"]
    assert found.skipped == tuple(
        (name, "broken link: datalad get")
        for name in ("sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz", "sub-2", "sub-3/ses-1", "sub-4/anat")
    )


def test_desc_and_rec_need_not_match(tmp_path: Path) -> None:
    touch(tmp_path, "dataset_description.json")
    for subject, *files in [
        ("1", "desc-preproc_FLAIR", "desc-brain_mask"),
        ("2", "rec-n_run-1_FLAIR", "run-1_desc-brain_mask"),
        ("3", "run-1_FLAIR", "run-2_desc-brain_mask"),  # another run is another scan
        ("4", "desc-preproc_FLAIR", "desc-lesion_mask"),
        ("5", "rec-a_FLAIR", "rec-b_FLAIR", "rec-a_desc-brain_mask", "rec-b_desc-brain_mask"),
    ]:
        touch(tmp_path, *(f"sub-{subject}/anat/sub-{subject}_{file}.nii.gz" for file in files))
    masks = {scan.name: scan.mask and scan.mask.name[:-7] for scan in find_scans(tmp_path).scans}
    assert masks == {
        "sub-1_desc-preproc": "sub-1_desc-brain_mask",
        "sub-2_rec-n_run-1": "sub-2_run-1_desc-brain_mask",
        "sub-3_run-1": None,
        "sub-4_desc-preproc": None,
        "sub-5_rec-a": "sub-5_rec-a_desc-brain_mask",
        "sub-5_rec-b": "sub-5_rec-b_desc-brain_mask",
    }
    named = find_scans(tmp_path, mask_name="desc-brain_mask.nii.gz").scans[0]
    assert named.mask and named.mask.name == "sub-1_desc-brain_mask.nii.gz"
