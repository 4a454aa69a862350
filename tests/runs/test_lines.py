"""Lines of a journal that mean nothing are passed over."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthtumour.runs.settings import JOURNAL_FILE
from tests.runs.conftest import case_in, journal_in

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=8,
)


KEYS = ("case", "started", "removed", "outputs", "status", "digest", "made", "inputs", "reserved", "staging")


LINES = st.dictionaries(
    st.sampled_from((*KEYS, "warnings", "reason")),
    st.one_of(JSON, st.just("made"), st.just({"made/a.txt": [1, 2, 3, 4]}), st.just({"a": {"b": None}})),
)


@settings(derandomize=True, max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, min_size=1, max_size=3))
def test_lines_of_a_journal_that_mean_nothing(
    lines: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    case = case_in(folder)
    with journal_in(folder) as journal:
        journal.admit({case.name: case}, {case.name: case})
        assert not journal.is_done(case)
        journal.row(case)
