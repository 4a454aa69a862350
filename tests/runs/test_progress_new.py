"""What is said of thousands of cases fits a screen."""

from __future__ import annotations

import pytest

from synthtumour.runs.cases import report_of
from synthtumour.runs.progress import tell_outcome


def rows(count: int, reason: str, warnings: str = "") -> list[dict[str, object]]:
    return [
        {
            "case": f"c{n}",
            "status": "failed" if reason else "made",
            "source": f"s{n}/flair.nii.gz",
            "mask": "",
            "reason": reason.format(n=n, ml=n / 10),
            "warnings": warnings.format(n=n),
        }
        for n in range(count)
    ]


def test_thousands_of_failures_are_a_line_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    said = [
        *rows(5000, "/in/s{n}/flair.nii.gz: a header that says nothing"),
        *rows(2000, "its brain of {ml} ml is too small"),
        *rows(2, "the disk is gone"),
        *rows(4000, "", "s{n}/flair.nii.gz: has 3 dark slices"),
    ]
    tell_outcome(report_of(said, 0), "usual")
    _, count, *lines = capsys.readouterr().out.splitlines()
    assert count == "cases: 4000 made, 0 kept from before, 7002 failed"
    assert lines == [
        "  FAILED c0, c1, c2, ... (5000 in all): a header that says nothing",
        "  FAILED c0, c1, c2, ... (2000 in all): its brain of 0.0 ml is too small (and the like)",
        "  FAILED c0, c1: the disk is gone",
        "  warning c0, c1, c2, ... (4000 in all): has 3 dark slices",
    ]


def test_one_failure_is_told_in_full_and_odd_ones_have_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    tell_outcome(report_of(rows(1, "/in/s0/flair.nii.gz: damaged"), 0), "quiet")
    assert "  FAILED c0: /in/s0/flair.nii.gz: damaged" in capsys.readouterr().out
    letters = ["".join(chr(97 + int(d)) for d in str(n)) for n in range(500)]
    odd = [row for letter in letters for row in rows(1, f"odd in its own way, {letter}")]
    tell_outcome(report_of(odd, 0), "usual")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 20 + 1 and "480 more reasons" in lines[-1]
