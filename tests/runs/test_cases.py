"""What became of the cases of a run, counted, and its exit code."""

from __future__ import annotations

import signal

import pytest

from synthtumour.runs.cases import report_of


def rows(*states: str) -> list[dict[str, object]]:
    return [{"case": f"c{n}", "status": state, "reason": f"why {n}"} for n, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "kept", "counts", "code"),
    [
        (["made"] * 3, 2, (1, 2, 0, 0), 0),
        (["made", "failed", "made"], 0, (2, 0, 1, 0), 1),
        (["made", "not made"], 1, (0, 1, 0, 1), 1),
        ([], 0, (0, 0, 0, 0), 0),
    ],
)
def test_every_row_is_counted_once(states: list[str], kept: int, counts: tuple, code: int) -> None:
    report = report_of(rows(*states), kept)
    assert (report.made, report.kept, len(report.failed), report.missing) == counts
    assert report.exit_code == code
    assert report.failed == [(f"c{n}", f"why {n}") for n, state in enumerate(states) if state == "failed"]


def test_an_interrupted_run_ends_as_a_shell_has_it() -> None:
    assert report_of(rows("made", "failed"), 0, signal.SIGINT).exit_code == 130
    assert report_of(rows("made"), 0, signal.SIGTERM).exit_code == 143
