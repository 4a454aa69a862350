"""The figure of scores: drawn whatever the table holds."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from synthtumour.pilot.figure import write_figure
from tests.conftest import ROOT

TUMOUR = {"case": "a", "kind": "tumour", "dice": 0.8, "expert_ml": 30.0}
FREE = {"case": "f", "kind": "tumour-free", "volume_ml": 0.0}


@pytest.mark.parametrize(
    "rows",
    [
        [TUMOUR, {**TUMOUR, "threshold_dice": 0.4}, FREE],
        [FREE],
        [{**TUMOUR, "dice": 0.0, "expert_ml": 0.0}],  # no place on an axis of logarithms
        [],
    ],
)
def test_a_picture_is_written_without_a_word(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "scores.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_figure(rows, path) == f"figure: {path}"
    with Image.open(path) as picture:
        assert picture.size == (960, 408) and len(set(picture.convert("L").tobytes())) > 10


def test_the_same_table_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    for name, rows in (("one", [TUMOUR]), ("again", [TUMOUR]), ("other", [{**TUMOUR, "dice": 0.1}])):
        write_figure(rows, tmp_path / name)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_without_matplotlib_a_line_says_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from pathlib import Path; from synthtumour.pilot.figure import write_figure\n"
        "print(write_figure([], Path(sys.argv[1])))"
    )
    path = tmp_path / "scores.png"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "no figure: it needs matplotlib (pip install matplotlib)\n", done.stderr
    assert not path.exists()
