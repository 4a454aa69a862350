"""What a worker says of a case that fails as nobody has thought of."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.runs.cases import Case, Group
from synthtumour.runs.run import Working, run
from synthtumour.runs.settings import JOURNAL_FILE
from tests.runs.conftest import case_in, journal_in


def load_nothing(source: object) -> object:
    return source


def make_oddly(loaded: object, case: Case) -> dict[str, object]:
    raise ZeroDivisionError("of things")


@pytest.mark.parametrize("debug", [False, True])
def test_a_case_that_fails_oddly(debug: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = case_in(tmp_path)
    groups = [Group("s", (case,))]
    with journal_in(tmp_path, overwrite=False) as journal:
        report = run(groups, load_nothing, make_oddly, journal, Working(1, debug=debug))
    ((name, reason),) = report.failed
    assert name == "a" and "unexpected ZeroDivisionError: of things (at test_worker.py:" in reason
    assert "--debug" in reason and "Traceback" not in (tmp_path / JOURNAL_FILE).read_text()
    err = capfd.readouterr().err
    assert ("Traceback" in err and "in make_oddly" in err) == debug
