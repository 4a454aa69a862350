"""A run over cases: every case once, the manifest, what is there already, two runs at once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from synthtumour.errors import InputError
from tests.runs.conftest import groups_in, logged, manifest, run


def test_every_case_once_and_the_manifest_in_order(tmp_path: Path) -> None:
    report = run(tmp_path, groups_in(tmp_path, 5, variants=2), workers=2)
    names = [f"c{n}_{v}" for n in range(5) for v in range(2)]
    assert (report.made, report.kept, report.failed, report.exit_code) == (10, 0, [], 0)
    assert sorted(logged(tmp_path)) == sorted(names)
    rows = manifest(tmp_path)
    assert [row["case"] for row in rows] == names
    assert rows[3]["subject"] == "s1" and rows[3]["status"] == "made" and rows[3]["count"] == "3"
    assert {row["threads"] for row in rows} == {"1"}
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["options"] == {"seed": 0} and settings["packages"]["numpy"]


def test_failed_cases_are_tried_again_and_the_rest_kept(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 4, what={2: "fail"}), workers=1)
    report = run(tmp_path, groups_in(tmp_path, 4), workers=1)
    assert (report.made, report.kept, report.failed) == (1, 3, [])


def test_a_finished_folder_is_not_touched(tmp_path: Path) -> None:
    run(tmp_path, groups_in(tmp_path, 3), workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    report = run(tmp_path, groups_in(tmp_path, 3), workers=2)
    assert (report.made, report.kept, report.exit_code) == (0, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_two_runs_at_once_in_one_folder(tmp_path: Path) -> None:
    second: list[BaseException] = []

    def intrude() -> None:
        while not (tmp_path / "run.json").exists():
            time.sleep(0.02)
        try:
            run(tmp_path, groups_in(tmp_path, 3), workers=1)
        except InputError as error:
            second.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    run(tmp_path, groups_in(tmp_path, 3, sleep=0.4), workers=1)
    thread.join()
    assert "another run is writing here" in str(second[0])
