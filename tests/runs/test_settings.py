"""run.json: somebody else's is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.runs.settings import RUN_FILE
from tests.runs.conftest import journal_in


@pytest.mark.parametrize("what", ["[1]", '"x"', "{", "[" * 10**5, '{"a": ' * 900 + "1" + "}" * 900, None])
def test_a_run_file_of_somebody_else_is_refused(what: str | None, tmp_path: Path) -> None:
    if what is None:
        os.mkfifo(tmp_path / RUN_FILE)
    else:
        (tmp_path / RUN_FILE).write_text(what)
    with pytest.raises(InputError, match="another folder"), journal_in(tmp_path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [RUN_FILE]
