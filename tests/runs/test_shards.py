"""A run shared out: parts, journals, finishing, and what cannot go together. The Slurm script of the docs."""

from __future__ import annotations

import collections
import csv
import json
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import prompt_multi_tumor
from synthtumour.errors import InputError
from synthtumour.runs.cases import Report
from synthtumour.runs.journal import Journal
from synthtumour.runs.run import Working
from synthtumour.runs.run import run as run_cases
from synthtumour.runs.shards import Shard, shard_from, shard_journals, shard_of_each
from tests.conftest import ROOT, MakeHead, images_in
from tests.runs.conftest import groups_in, load, logged, make


def run(folder: Path, groups: list, *, seed: int = 0, overwrite: bool = False, **sharing: object) -> Report:
    settings = {"program": "p", "options": {"seed": seed}}
    with Journal(folder, settings, overwrite=overwrite, **sharing) as journal:  # type: ignore[arg-type]
        return run_cases(groups, load, make, journal, Working(1))


def test_parts_are_whole_balanced_and_the_same_in_any_order(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 29, variants=4)
    shards = shard_of_each(groups, 4)
    assert len(shards) == 29 * 4
    for group in groups:
        assert len({shards[case.name] for case in group.cases}) == 1
    loads = collections.Counter(shards.values())
    assert set(loads) == {1, 2, 3, 4} and max(loads.values()) - min(loads.values()) <= 4
    shuffled = random.Random(0).sample(groups, len(groups))
    assert shard_of_each(shuffled, 4) == shards


def test_the_option() -> None:
    assert shard_from("2/8") == Shard(2, 8) and Shard(2, 8).journal == "journal.shard-02-of-08.jsonl"
    for text in ("0/8", "9/8", "1", "a/b", "-1/8", "1/0", "1/8/2"):
        with pytest.raises(InputError, match="SLURM_ARRAY_TASK_ID"):
            shard_from(text)


def test_shards_one_after_another_then_finalise(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 5, variants=2)
    for number in (3, 1):
        run(tmp_path, groups, shard=Shard(number, 3))
    assert not (tmp_path / "manifest.csv").exists() and len(shard_journals(tmp_path)) == 2
    report = run(tmp_path, groups, finalise=True)
    part = [name for name, number in shard_of_each(groups, 3).items() if number == 2]
    assert (report.exit_code, report.made, report.kept, report.missing) == (1, 0, 10 - len(part), len(part))
    assert f"{len(part)} cases missing" in report.notes[0] and "--shard 2/3 again" in report.notes[0]
    assert sorted(logged(tmp_path)) == sorted(c.name for g in groups for c in g.cases if c.name not in part)
    assert not shard_journals(tmp_path)
    again = run(tmp_path, groups, shard=Shard(2, 3))  # what is finalised says what is done
    assert (again.made, again.kept) == (len(part), 0)
    assert not (tmp_path / "manifest.csv").exists()  # it would not be true
    assert run(tmp_path, groups, shard=Shard(1, 3)).made == 0
    report = run(tmp_path, groups, finalise=True)
    assert (report.exit_code, report.kept, report.notes) == (0, 10, ())
    assert sorted(logged(tmp_path)) == sorted(c.name for g in groups for c in g.cases)
    with (tmp_path / "manifest.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == [c.name for g in groups for c in g.cases]
    assert not list(tmp_path.glob("*.lock"))


def test_finalise_tells_of_failed_and_damaged_cases(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 4, what={1: "fail"})
    for number in (1, 2):
        run(tmp_path, groups, shard=Shard(number, 2))
    (tmp_path / "made/c0_0.txt").write_text("damaged")
    report = run(tmp_path, groups, finalise=True)
    assert report.exit_code == 1 and report.missing == 1 and [name for name, _ in report.failed] == ["c1_0"]
    whose = shard_of_each(groups, 2)
    for name in ("c0_0", "c1_0"):
        assert any(f"{name}" in note and f"--shard {whose[name]}/2 again" in note for note in report.notes)


def test_a_plain_run_takes_up_what_shards_have_left(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 6)
    run(tmp_path, groups, shard=Shard(1, 2))
    with (tmp_path / "journal.shard-01-of-02.jsonl").open("a") as journal:
        journal.write('{"case": "c5_0", "sta')  # killed in the middle of a line
    report = run(tmp_path, groups)
    assert report.exit_code == 0 and report.made == report.kept == 3
    assert len(logged(tmp_path)) == 6 and not shard_journals(tmp_path)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 4)
    with pytest.raises(InputError, match="no run to finalise"):
        run(tmp_path / "new", groups, finalise=True)
    assert not (tmp_path / "new").exists()
    run(tmp_path, groups, shard=Shard(1, 2))
    with pytest.raises(InputError, match=r"shared out among 2 already; use --shard i/2, or --finalise"):
        run(tmp_path, groups, shard=Shard(1, 3))
    with pytest.raises(InputError, match="--seed was 0, now 1"):
        run(tmp_path, groups, seed=1, shard=Shard(2, 2))
    settings = json.loads((tmp_path / "run.json").read_text())
    settings["packages"]["numpy"] = "1.0"
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="the other shards have numpy 1.0"):
        run(tmp_path, groups, shard=Shard(2, 2))
    assert len(shard_journals(tmp_path)) == 1


def test_who_may_be_in_the_folder_at_once(tmp_path: Path) -> None:
    groups = groups_in(tmp_path, 4)
    settings = {"program": "p", "options": {"seed": 0}}
    with Journal(tmp_path, settings, shard=Shard(1, 2)) as journal:
        run_cases(groups, load, make, journal, Working(1))
        assert run(tmp_path, groups, shard=Shard(2, 2)).made == 2
        for other in ({"shard": Shard(1, 2)}, {"finalise": True}, {}):
            with pytest.raises(InputError, match=f"another run is writing here .*process {os.getpid()}"):
                run(tmp_path, groups, **other)
    assert run(tmp_path, groups, finalise=True).exit_code == 0


def test_shards_that_make_the_folder_at_once(tmp_path: Path) -> None:
    """Many times over, in threads: each holds its own locks."""
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        groups = groups_in(folder, 4)
        problems: list[BaseException] = []
        together = threading.Barrier(4)

        def part(number: int, folder=folder, groups=groups, problems=problems, together=together) -> None:
            settings = {"program": "p", "options": {"seed": number // 4}}  # the last one has another seed
            together.wait()
            try:
                with Journal(folder, settings, shard=Shard(number, 4)) as journal:
                    plan = {case.name: case for group in groups for case in group.cases}
                    journal.admit(plan, plan)
            except InputError as error:
                problems.append(error)

        threads = [threading.Thread(target=part, args=(number,)) for number in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seed = json.loads((folder / "run.json").read_text())["options"]["seed"]
        assert len(problems) == (1 if seed == 0 else 3) and all("--seed was" in str(e) for e in problems)
        assert [path.name for path in folder.iterdir()] == ["run.json"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def blocks(document: str) -> list[str]:
    return re.findall(r"```(?:bash)?\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
def test_slurm_array_of_the_docs(make_head: MakeHead, tmp_path: Path) -> None:
    """The script as printed, a task at a time as Slurm would start them; bytes as those of one run."""
    for n in range(5):
        make_head(f"SUBJECTS/s{n}", seed=n)
    script, submit = (
        next(b for b in blocks("docs/clusters.md") if what in b) for what in ("#SBATCH", "sbatch ")
    )
    assert "--array=1-8" in script and "afterany" in submit
    dataset = tmp_path / "nnUNet_raw/Dataset101_SynthTumour"
    (tmp_path / "synthtumour.sh").write_text(script.replace("python ", f"{sys.executable} {ROOT}/"))

    def bash(task: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": task, "SLURM_CPUS_PER_TASK": "1"}
        line = ["bash", "synthtumour.sh", *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    for task in range(1, 9):
        done = bash(str(task))
        assert done.returncode == 0 and f"shard {task}/8" in done.stdout, done.stderr
    assert not (dataset / "dataset.json").exists()
    done = bash("", "--finalise")
    assert done.returncode == 0, done.stdout + done.stderr

    whole = tmp_path / "whole/Dataset101_SynthTumour"
    arguments = ["--input", str(tmp_path / "SUBJECTS"), "--output", str(whole), "--workers", "1"]
    assert prompt_multi_tumor.main([*arguments, "--variants", "2"]) == 0
    assert len(images_in(whole)) == 20 and images_in(dataset) == images_in(whole)
    for name in ("dataset.json", "splits_final.json"):
        assert (dataset / name).read_bytes() == (whole / name).read_bytes()
    assert table(dataset / "manifest.csv") == table(whole / "manifest.csv")
    names = {path.name for path in dataset.iterdir()}
    assert names == {path.name for path in whole.iterdir()}
