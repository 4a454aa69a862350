"""Which files in a folder are scans, which masks belong to them, and what is said of the rest."""

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


ODD_NAMES = ["with space", "quo'te\"d", "semi;colon", "Müller-日本", "-rf", "$(touch x)", "new\nline"]


def test_subject_folders_with_any_name(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        touch(tmp_path, f"{name}/flair.nii.gz", f"{name}/flair_brainmask.nii.gz")
    found = find_scans(tmp_path)
    assert found.layout == "subject folders"
    assert {scan.subject for scan in found.scans} == set(ODD_NAMES)
    for scan in found.scans:
        assert scan.image == tmp_path / scan.subject / "flair.nii.gz"
        assert scan.mask == tmp_path / scan.subject / "flair_brainmask.nii.gz"
    assert found.skipped == ()


def test_what_is_not_a_case_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "good/flair.nii.gz", ".hidden/flair.nii.gz", "t1only/t1.nii.gz", ".DS_Store")
    touch(tmp_path, "stray.nii.gz", "README.txt")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/flair.nii.gz").symlink_to(tmp_path / "nowhere")
    found = find_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["good"]
    assert found.scans[0].mask is None
    reasons = dict(found.skipped)
    assert set(reasons) == {".hidden", ".DS_Store", "t1only", "stray.nii.gz", "linked"}
    assert "hidden" in reasons[".hidden"]
    assert "t1.nii.gz" in reasons["t1only"]
    assert "broken link" in reasons["linked"]


def test_image_and_mask_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/t2.nii.gz", "a/t2_brainmask.nii.gz", "a/brain.nii.gz", "a/flair.nii.gz")
    assert find_scans(tmp_path, "t2.nii.gz").scans[0].mask == tmp_path / "a/t2_brainmask.nii.gz"
    named = find_scans(tmp_path, mask_name="brain.nii.gz").scans[0]
    assert (named.image.name, named.mask) == ("flair.nii.gz", tmp_path / "a/brain.nii.gz")
    # a mask asked for by name is not silently replaced by none: reading it will say that it is missing
    assert find_scans(tmp_path, mask_name="gone.nii.gz").scans[0].mask == tmp_path / "a/gone.nii.gz"
    for wrong in ("../flair.nii.gz", "/flair.nii.gz", ""):
        with pytest.raises(InputError, match="--image-name"):
            find_scans(tmp_path, wrong)


def test_bids_with_sessions_runs_and_derivatives(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dataset_description.json",
        "participants.tsv",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-1_FLAIR.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_run-2_FLAIR.nii.gz",
        "sub-02/ses-b/anat/._sub-02_ses-b_run-2_FLAIR.nii.gz",
        "derivatives/bet/sub-02/ses-a/anat/sub-02_ses-a_space-MNI152_desc-brain_mask.nii.gz",
        "derivatives/lesions/sub-02/ses-a/anat/sub-02_ses-a_desc-lesion_mask.nii.gz",
        "derivatives/synthstrip/sub-02/ses-a/anat/sub-02_ses-a_FLAIR_desc-brain_mask.nii.gz",
        "derivatives/sub-02/ses-b/anat/sub-02_ses-b_run-1_FLAIR_brainmask.nii.gz",
        "derivatives/sub-09/anat/sub-09_FLAIR.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
        "scripts/run.py",
    )
    found = find_scans(tmp_path)
    assert found.layout == "BIDS"
    masks = {s.name: s.mask and s.mask.relative_to(tmp_path).as_posix() for s in found.scans}
    derivative = "derivatives/synthstrip/sub-02/ses-a/anat/sub-02_ses-a_FLAIR_desc-brain_mask.nii.gz"
    assert masks == {
        "sub-01": "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-02_ses-a": derivative,
        "sub-02_ses-b_run-1": "derivatives/sub-02/ses-b/anat/sub-02_ses-b_run-1_FLAIR_brainmask.nii.gz",
        "sub-02_ses-b_run-2": None,
    }
    assert {(s.subject, s.session) for s in found.scans} == {
        ("sub-01", ""),
        ("sub-02", "ses-a"),
        ("sub-02", "ses-b"),
    }
    assert {name for name, _ in found.skipped} == {
        "sub-03",
        "scripts",
        "sub-02/ses-b/anat/._sub-02_ses-b_run-2_FLAIR.nii.gz",
    }


def test_flat_nnunet_folder(tmp_path: Path) -> None:
    touch(tmp_path, "A_0000.nii.gz", "A_0001.nii.gz", "A_brainmask.nii.gz", "b c_0000.nii.gz", "A_0000.nii")
    touch(tmp_path, "other.nii.gz", "dataset.json", ".x_0000.nii.gz")
    found = find_scans(tmp_path)
    assert found.layout == "nnU-Net"
    by_case = {scan.subject: scan for scan in found.scans}
    assert set(by_case) == {"A", "b c"}
    assert by_case["A"].mask == tmp_path / "A_brainmask.nii.gz"
    assert by_case["b c"].mask is None
    reasons = dict(found.skipped)
    assert set(reasons) == {"other.nii.gz", ".x_0000.nii.gz", "A_0000.nii.gz"}
    assert "the same case as A_0000.nii" in reasons["A_0000.nii.gz"]
    assert find_scans(tmp_path, "0001.nii.gz").scans[0].image == tmp_path / "A_0001.nii.gz"


@pytest.mark.parametrize("outer", ["ses", "sub"])
def test_folders_of_sessions(outer: str, tmp_path: Path) -> None:
    inner = {"ses": "sub", "sub": "ses"}[outer]
    touch(tmp_path, *(f"{outer}-{i}/{inner}-{j}/flair.nii.gz" for i, j in ("ab", "ac", "bb")))
    touch(tmp_path, f"{outer}-c/{inner}-b/t1.nii.gz", f"{outer}-a/notes.txt", "README", "code/run.py")
    touch(tmp_path, f"{outer}-a/{inner}-b/flair_brainmask.nii.gz", "stray.nii.gz")
    found = find_scans(tmp_path)
    assert found.layout == "folders of sessions"
    names = [f"{outer}-a_{inner}-b", f"{outer}-a_{inner}-c", f"{outer}-b_{inner}-b"]
    assert [scan.name for scan in found.scans] == names
    by_session = [("sub-b", "ses-a"), ("sub-c", "ses-a"), ("sub-b", "ses-b")]
    by_subject = [("sub-a", "ses-b"), ("sub-a", "ses-c"), ("sub-b", "ses-b")]
    of = by_session if outer == "ses" else by_subject
    assert [(scan.subject, scan.session) for scan in found.scans] == of
    assert found.scans[0].mask == tmp_path / f"{outer}-a/{inner}-b/flair_brainmask.nii.gz"
    assert {name for name, _ in found.skipped} == {"code", f"{outer}-c_{inner}-b", "stray.nii.gz"}
    with pytest.raises(InputError, match=r"4 folders with x_flair\.nii: --image-name"):
        touch(tmp_path / "other", *(f"{outer}-{i}/{inner}-{j}/x_flair.nii" for i in "ab" for j in "cd"))
        find_scans(tmp_path / "other")


def test_bids_without_its_description(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-1/ses-{n}/anat/sub-1_ses-{n}_FLAIR.nii.gz" for n in "ab"), "notes.txt")
    found = find_scans(tmp_path)
    assert found.layout == "BIDS"
    assert [(scan.name, scan.subject) for scan in found.scans] == [
        ("sub-1_ses-a", "sub-1"),
        ("sub-1_ses-b", "sub-1"),
    ]


def test_names_that_differ_in_case_are_one_subject(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/flair.nii.gz" for name in ("sub-01", "Sub-01", "sub-02", "alice", "Alice")))
    touch(tmp_path, "OAS30001_MR_d1/flair.nii.gz", "oas30001_MR_d2/flair.nii.gz")
    whose = {scan.name: scan.subject for scan in find_scans(tmp_path).scans}
    assert whose["sub-01"] == whose["Sub-01"] != whose["sub-02"]
    assert whose["alice"] == whose["Alice"]
    assert whose["OAS30001_MR_d1"] == whose["oas30001_MR_d2"] == "OAS30001"
    assert len(whose) == 7 and len(set(whose.values())) == 4


def test_a_folder_without_scans_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_scans(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no scan"):
        find_scans(tmp_path)
    touch(tmp_path, "flair.nii.gz")
    with pytest.raises(InputError, match="one subject's folder"):
        find_scans(tmp_path)
    touch(tmp_path, "dataset/imagesTr/A_0000.nii.gz")
    with pytest.raises(InputError, match="imagesTr"):
        find_scans(tmp_path / "dataset")
    touch(tmp_path, "bids/dataset_description.json", "bids/sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(InputError, match="holds no scan"):
        find_scans(tmp_path / "bids")


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
