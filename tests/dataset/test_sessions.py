"""Who was scanned, by the names of public data; and names that look like sessions."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from synthtumour.dataset.sessions import (
    caution_of_sessions,
    of_one_spelling,
    session_of,
    subject_of,
    subject_of_case,
)
from synthtumour.errors import InputError


@pytest.mark.parametrize(
    ("name", "subject", "session"),
    [
        ("sub-07_ses-b", "sub-07", "ses-b"),
        ("sub-07", "sub-07", ""),
        ("002_S_0413", "002_S_0413", ""),
        ("136_S_10423_2011-03-04", "136_S_10423", "2011-03-04"),
        ("ADNI_941_S_1195_MR_FLAIR", "941_S_1195", "ADNI_MR_FLAIR"),
        ("OAS30412_MR_d0757", "OAS30412", "MR_d0757"),
        ("OAS2_0047_MR3", "OAS2_0047", "MR3"),
        ("BraTS-GLI-01234-001", "BraTS-GLI-01234", "001"),
        ("BraTS-MEN-RT-0042-1", "BraTS-MEN-RT-0042", "1"),
        ("ses-02_sub-07", "sub-07", "ses-02"),
        ("NACC123456_mri2", "NACC123456", "mri2"),
        ("ReMIND-001_Intraop", "ReMIND-001", "Intraop"),
        ("1234567_20252_3_0", "1234567", "20252_3_0"),
        ("BraTS20_Training_001", "BraTS20_Training_001", ""),
        ("IXI012-HH-1211", "IXI012-HH-1211", ""),
        ("sim-01", "sim-01", ""),
        ("Duval", "Duval", ""),
        ("P07_v02", "P07", "v02"),
    ],
)
def test_the_conventions(name: str, subject: str, session: str) -> None:
    assert subject_of(name) == subject
    assert session_of(name, subject) == session
    for ending in ("_v03", "_free", "_v03val", "val"):  # Stage 1's cases of it
        assert subject_of_case(name + ending) == subject


def test_a_pattern_says_otherwise() -> None:
    assert subject_of("OAS30412_MR_d0757", r"d(\d)\d+") == "0"
    assert subject_of("siteA_P01_2", r"P\d+") == "P01" and session_of("siteA_P01_2", "P01") == "siteA_2"
    assert subject_of("sub-1_ses-2", r"^sub-\d+$", "sub-1") == "sub-1"  # as BIDS's folder is called
    with pytest.raises(InputError, match="--subject-pattern 'x': does not match 'a'"):
        subject_of("a", "x")


def caution(*names: str) -> str:
    return caution_of_sessions({name: subject_of(name) for name in names})


QUIET = [
    ["IXI012-HH-1211", "IXI013-HH-1212", "IXI002-Guys-0828"],
    ["BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Training_010"],
    ["BraTS2021_00000", "BraTS2021_00002"],
    ["Brats18_2013_20_1", "Brats18_2013_3_1", "Brats18_TCIA01_378_1", "Brats18_TCIA01_499_1"],
    ["BRATS2013_pat0001", "BRATS2013_pat0002"],
    ["nichart_subj13", "nichart_subj02", "openms_patient07", "openms_patient20"],
    ["sim-01", "sim-02", "sim-03"],
    ["patient_01", "patient_02", "control_01"],
    ["UCSF-PDGM-0004", "UCSF-PDGM-0005"],
    ["BraTS-GLI-00001-000", "BraTS-GLI-00002-000"],
    ["1234567_20252_2_0", "1234568_20252_2_0"],
    ["NACC123456_mri1", "NACC654321_mri1"],
    ["ReMIND-001_Preop", "ReMIND-002_Preop"],
    ["ses-01_sub-01", "ses-01_sub-02"],
    ["training01_01", "training02_01", "training03_01"],
    ["training_01", "training_02"],
    ["train1_01", "train1_02"],
    ["ses-1_P01", "ses-1_P02"],
    ["baseline_001", "baseline_002"],
    ["20190102_001", "20190102_002"],
    ["study1_01", "study2_01"],
    ["MSSEG2_001", "MSSEG2_002"],
    ["scan_01", "scan_02"],
    ["P001", "P002"],
    ["UCSF-PDGM-0004_nifti", "UCSF-PDGM-0005_nifti"],
    ["UPENN-GBM-00001_11", "UPENN-GBM-00002_11"],
    ["TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222"],
    ["site1_01", "site1_02", "site2_01"],
    ["a", "a_free", "b"],
    ["s0", "s1", "s10"],
    ["001", "002", "100307"],
    ["OAS30001_MR_d0129", "OAS30001_MR_d0757", "sub-1_ses-1", "sub-1_ses-2"],  # a rule joins these
]


@pytest.mark.parametrize("names", QUIET, ids=lambda names: names[0])
def test_names_of_subjects_are_no_sessions(names: list[str]) -> None:
    assert caution(*names) == ""


SESSIONS = [
    ["UPENN-GBM-00001_11", "UPENN-GBM-00001_21"],
    ["TCGA_CS_4941_19960909", "TCGA_CS_4941_19970101"],
    ["P01_1", "P01_2"],
    ["P01", "P01_2"],
    ["subj3_baseline", "subj3_month12"],
    ["alice_baseline", "alice_followup1"],
    ["P01_ses-1", "P01_ses-2"],
    ["Patient-001__week-000", "Patient-001__week-044"],
    ["subj3-2019-01-02", "subj3-2020-01-02"],
    ["s3_visit1_20190102", "s3_visit2_20190301"],
    ["UCSF-PDGM-0409_nifti", "UCSF-PDGM-0409_FU001d_nifti"],
    ["P1_T1", "P1_T2"],
    ["P01a", "P01b"],
    ["training01_01", "training01_02"],
    ["P001_001", "P001_002"],
    ["patient01_study1", "patient01_study2"],
    ["P9_mri1", "P9_mri2"],
    ["P9_preop", "P9_intraop"],
    ["ses-01_P9", "ses-02_P9"],
    ["ses-1_0009", "ses-2_0009"],
    ["baseline_sub9", "followup_sub9"],
    ["20190102_9", "20200304_9"],
    ["V1_P009", "V2_P009"],
    ["sub09ses1", "sub09ses2"],
    ["P09_1", "p09_2"],
    ["ses-1", "ses-2"],
]


@pytest.mark.parametrize("names", SESSIONS, ids=lambda names: names[0])
@pytest.mark.parametrize("others", [[], ["patient_07", "patient_08"]], ids=["alone", "among others"])
def test_sessions_are_told_with_the_pattern_that_joins_them(names: list[str], others: list[str]) -> None:
    said = caution(*names, *others)
    assert "\n" not in said and all(name in said for name in names)
    assert len(caution_of_sessions(dict.fromkeys(names, "one"))) == 0  # joined
    pattern = shlex.split(re.search(r"--subject-pattern (.*) joins", said)[1])[0]  # type: ignore[index]
    joined = set(of_one_spelling(subject_of(name, pattern) for name in names).values())
    assert len(joined) == 1
    assert len({*joined, *(subject_of(name, pattern) for name in others)}) == 1 + len(others)
    assert caution_of_sessions({name: name for name in names}, pattern) == ""


def test_the_pattern_keeps_subjects_apart() -> None:
    names = [
        f"TCGA_{site}_{n}_{day}"
        for site in ("CS", "DU", "HT", "FG")
        for n in (4941, 5851)
        for day in ("19960909", "19970101")
    ]
    pattern = shlex.split(re.search(r"--subject-pattern (.*) joins", caution(*names))[1])[0]  # type: ignore[index]
    assert {subject_of(name, pattern) for name in names} == {name[:12] for name in names}


def test_of_one_spelling() -> None:
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    names = ["sub-01", "Sub-01", "sub-02", composed, decomposed, "a", "b"]
    spelt = of_one_spelling(names)
    assert [spelt[name] for name in names[:3]] == ["Sub-01", "Sub-01", "sub-02"]
    assert len(set(spelt.values())) == 5 and spelt[composed] == spelt[decomposed]
    assert set(spelt) == set(names)


def test_the_demo_has_no_sessions() -> None:
    demo = Path(__file__).resolve().parents[2] / "DemoData"
    assert caution(*(folder.name for folder in demo.iterdir() if folder.is_dir())) == ""
