"""benchmarks/scale.py runs, on few cases."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_few_cases() -> None:
    line = [sys.executable, str(ROOT / "benchmarks/scale.py"), "--cases", "40", "--workers", "1"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"40 cases +[\d.]+ s +parent +[\d.]+ MB", done.stdout)
    assert re.search(r"straight line: .* a case", done.stdout)
    assert "100000 scans of 1 mm, one case each, on 1000 cores" in done.stdout
