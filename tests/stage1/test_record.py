"""Records make the identical case again; whatever else they hold is refused."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthtumour.stage1.record import resynthesise
from synthtumour.volume.volume import Volume
from tests.conftest import (
    DIVERSE,
    INF,
    NAN,
    SMALL_VOLUMES,
    TINY,
    TINY_VOLUMES,
    MakeHead,
    one_line,
    resect,
    synthesised,
)


def test_the_record_makes_the_identical_case_again(head: tuple[Volume, Volume]) -> None:
    preset = replace(
        DIVERSE, distractor_probability=1.0, several_probability=1.0, core_probability=1.0, labels="brats"
    )
    preset = replace(preset, mass_effect_mm=(3.0, 6.0), num_tumours=(2, 2))
    case = synthesised(head, preset, seed=5)
    again = resynthesise(*head, json.loads(json.dumps(case.record)))
    assert np.array_equal(case.image.array, again.image.array)
    assert np.array_equal(case.label.array, again.label.array)
    assert again.record == case.record


def leaves(nested: object, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(nested, (dict, list)):
        for key, value in nested.items() if isinstance(nested, dict) else enumerate(nested):
            yield (*path, key)
            yield from leaves(value, (*path, key))


def with_value(record: dict, path: tuple, value: object) -> dict:
    changed = copy.deepcopy(record)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


ODD_VALUES = (KeyError, None, "x", [], {}, [1] * 5, NAN, INF, -1, 0, 1e308, 10**30, -0.5, True, "../../x")


@pytest.mark.parametrize("preset", ["paper", "diverse", pytest.param("all of both", marks=pytest.mark.slow)])
def test_records_with_surprising_values(
    preset: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head(**TINY)
    outputs = [tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"]
    for name in ("paper", "diverse") if preset == "all of both" else (preset,):
        more = ["--core-probability", "1", *TINY_VOLUMES, "--preset", name]
        more += ["--distractors", "1", "--mass-effect", "3"] if name == "diverse" else []
        assert resect(scan, *outputs, "--seed", "4", "--record", tmp_path / "r.json", *more) == 0
        record = json.loads((tmp_path / "r.json").read_text())
        changes = [(path, value) for path in leaves(record) for value in ODD_VALUES]
        if preset != "all of both":
            chosen = np.random.default_rng(7).choice(len(changes), 60, replace=False)
            changes = [changes[n] for n in chosen]
        for path, value in changes:
            for output in outputs:
                output.unlink(missing_ok=True)
            (tmp_path / "changed.json").write_text(json.dumps(with_value(record, path, value)))
            capsys.readouterr()
            begin = time.process_time()
            code = resect(scan, *outputs, "--from-record", tmp_path / "changed.json")
            assert time.process_time() - begin < 20, (path, value)
            assert code in (0, 2), (path, value, capsys.readouterr())
            if code:
                one_line(capsys)
                assert not any(output.exists() for output in outputs)


@pytest.mark.parametrize("preset", ["paper", "diverse"])
def test_a_file_that_is_no_record_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    outputs = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")]
    wrong = tmp_path / "wrong.json"
    record = tmp_path / "right.json"
    assert resect(make_head(), *outputs, "--preset", preset, "--record", record, *SMALL_VOLUMES) == 0
    right = json.loads(record.read_text())
    first = right["tumours"][0]
    spoilt = [
        {**right, "rendering": {**right["rendering"], "task": "bogus"}},
        {**right, "rendering": {**right["rendering"], "val_task": "bogus"}},
        {**right, "rendering": 3},
        *(
            {**right, "tumours": [{**first, "shape": {**first["shape"], **change}}]}
            for change in ({"kind": "bogus"}, {"semi_axes_mm": [0, 1, 1]}, {"centre_ras_mm": "here"})
        ),
    ]
    for path in outputs:
        path.unlink()
    capsys.readouterr()
    for content in ("{}", '{"tumours": []}', "[1]", "{", *map(json.dumps, spoilt)):
        wrong.write_text(content)
        assert resect(make_head(), *outputs, "--from-record", wrong) == 2
        assert "not a record" in capsys.readouterr().err and not outputs[0].exists()


@pytest.mark.parametrize("preset", ["paper", "diverse"])
def test_a_record_of_another_scan_is_refused(
    make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str
) -> None:
    outputs, record = [tmp_path / f"{n}.nii.gz" for n in ("i", "l")], tmp_path / "r.json"
    assert resect(make_head(), *outputs, "--preset", preset, "--record", record, "--seed", 1) == 0
    other = make_head("other", size_mm=(112.0, 150.0, 100.0))
    assert resect(other, *outputs, "--from-record", record) == 2
    assert str(other) in capsys.readouterr().err
