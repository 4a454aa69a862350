"""Options of pilot_network.py become what is asked for, and each of them is heeded."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import pilot_network
from synthtumour.errors import InputError
from synthtumour.options.tumours import preset_from
from synthtumour.pilot.predict import Prediction
from synthtumour.pilot.score import Scoring
from synthtumour.pilot.train import PilotTraining
from synthtumour.presets import PRESETS, Refinement


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What train, predict and score were asked for, in place of doing it."""
    seen: list[Any] = []

    def note(what: Any) -> int:
        seen.append(what)
        return 0

    for part in ("train", "predict", "score"):
        monkeypatch.setattr(f"synthtumour.pilot.{part}.{part}", note)
    return seen


TRAIN = (
    "train j.pt --healthy A B --healthy C --dataset D --real I L --real I2 L2 --brain-masks M "
    "--fresh-share 0.5 --tumour-free-share 0.2 --spacing 2.5 --no-mirror-channel --iterations 7 "
    "--minutes 3 --threads 2 --device cpu --seed 4 --init i.pt --resume --overwrite --any-brain-volume "
    "--quiet --preset paper"
).split()
PREDICT = (
    "predict a.pt b.pt --images I --output O --brain-masks M --image-name *_f.nii --min-logit -0.5 "
    "--save_probabilities --any-brain-volume --refine-mm 9 --workers 2 --preview --quiet"
).split()
SCORE = "score P --labels L --tumour-free F --images I --brain-masks M --output O --quiet".split()


def test_without_options_all_is_as_the_records_say(asked: list[Any]) -> None:
    for line in ("train j.pt", "predict j.pt --images I --output O", "score P --labels L"):
        assert pilot_network.main(line.split()) == 0
    train, predict, score = asked
    assert train == PilotTraining(Path("j.pt"))
    assert predict.conduct.workers is None and predict.refinement == Refinement()
    assert predict == Prediction(Path("I"), Path("O"), (Path("j.pt"),), conduct=predict.conduct)
    assert score == Scoring(Path("P"), Path("L"), Path("P/scores"))


def test_every_option_is_heeded(asked: list[Any]) -> None:
    for line in (TRAIN, PREDICT, SCORE):
        assert pilot_network.main(line) == 0
    train, predict, score = asked
    assert train == PilotTraining(
        Path("j.pt"),
        healthy=(Path("A"), Path("B"), Path("C")),
        datasets=(Path("D"),),
        real=((Path("I"), Path("L")), (Path("I2"), Path("L2"))),
        brain_masks=Path("M"),
        preset=PRESETS["paper"],
        fresh_share=0.5,
        tumour_free_share=0.2,
        spacing_mm=2.5,
        mirror_channel=False,
        iterations=7,
        minutes=3.0,
        threads=2,
        device="cpu",
        seed=4,
        init=Path("i.pt"),
        resume=True,
        overwrite=True,
        any_brain_volume=True,
        tell="quiet",
    )
    assert predict == Prediction(
        Path("I"),
        Path("O"),
        (Path("a.pt"), Path("b.pt")),
        brain_masks=Path("M"),
        image_name="*_f.nii",
        refinement=Refinement(reach_mm=9.0),
        min_logit=-0.5,
        save_probabilities=True,
        any_brain_volume=True,
        conduct=predict.conduct,
    )
    conduct = predict.conduct
    assert (conduct.workers, conduct.preview, conduct.tell) == (2, True, "quiet")
    assert score == Scoring(Path("P"), Path("L"), Path("O"), Path("F"), Path("I"), Path("M"), "quiet")
    usual = PilotTraining(Path())
    same = {f.name for f in fields(train) if getattr(train, f.name) == getattr(usual, f.name)}
    assert same == set()  # so that none passes by its default


def test_refinement_can_be_left_out(asked: list[Any]) -> None:
    assert pilot_network.main("predict j.pt --images I --output O --refine off".split()) == 0
    assert asked[0].refinement is None


def test_tumours_are_those_of_the_other_scripts() -> None:
    def preset(*line: str) -> Any:
        return preset_from(parsed("train", "j.pt", *line))

    assert preset() == PRESETS["diverse"]
    assert preset("--max-volume", "9000", "--nodules", "0").max_volume_mm3 == 9000
    for line, said in (
        (("--preset", "paper", "--nodules", "0.5"), "--nodules needs --preset diverse"),
        (("--min-volume", "9e5"), "is above --max-volume"),
    ):
        with pytest.raises(InputError, match=said):
            preset(*line)


def parsed(*line: str) -> argparse.Namespace:
    return pilot_network.build_parser().parse_args(line)


@pytest.mark.parametrize(
    "line",
    [
        "train",
        "train j.pt --real I",
        "train j.pt --device tpu",
        "train j.pt --seed -1",
        "predict j.pt --images I",
        "score P",
        "guess",
        # what says how a case becomes a file means nothing to a network that draws its own
        *(f"train j.pt --{option}" for option in ("skull-strip", "labels whole", "val-task flat")),
        "train j.pt --location-prior map.nii.gz",
        "train j.pt --shape-engine formula",
    ],
)
def test_what_does_not_parse_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*line.split())
    assert ended.value.code == 2 and "error: " in capsys.readouterr().err
