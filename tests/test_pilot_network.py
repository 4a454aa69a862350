"""pilot_network.py as users type it, without torch: what it says of itself, and what it refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

import pilot_network
from tests.conftest import ROOT, head_image, rows_of, with_tumour, write, write_head

SMALL = {"size_mm": (96.0, 114.0, 90.0), "spacing": (3.0, 3.0, 3.0)}
NO_TORCH = "import sys; sys.modules.update(torch=None, monai=None)\n"


def script(*options: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, after some lines of Python."""
    code = f"{before}import runpy, sys; sys.argv[0] = 'pilot_network.py'\n"
    code += "runpy.run_path('pilot_network.py', run_name='__main__')"
    command = [sys.executable, "-c", code, *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def refused(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The one line that the script says, with exit code 2, of what it cannot do."""
    assert pilot_network.main([str(option) for option in options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("pilot_network.py: error: "), err
    assert "Traceback" not in err and err.rstrip("\n").isprintable()
    return err


@pytest.fixture
def torch_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch and MONAI were installed: they are not imported before all options were looked at."""
    monkeypatch.setattr("synthtumour.pilot.scans.find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("", ["train", "predict", "score", "train junior.pt --healthy SUBJECTS"]),
        (
            "train",
            ["--healthy", "--dataset", "--real", "--minutes", "--init", "--resume", "--no-mirror-channel"],
        ),
        ("predict", ["--min-logit", "--save_probabilities", "--brain-mask", "--refine-mm", "--workers"]),
        ("score", ["--labels", "--tumour-free", "--images"]),
    ],
)
def test_help_imports_nothing_heavy(part: str, said: list[str]) -> None:
    lean = "import sys; sys.modules.update(torch=None, monai=None, numpy=None, SimpleITK=None, scipy=None)\n"
    done = script(*part.split(), "--help", before=lean)
    assert done.returncode == 0 and done.stderr == ""
    assert all(words in done.stdout for words in said), done.stdout


def test_a_part_must_be_named() -> None:
    done = script()
    assert done.returncode == 2 and "{train,predict,score}" in done.stderr


@pytest.mark.parametrize("part", ["train", "predict"])
def test_without_torch_one_line_says_what_to_install(part: str, tmp_path: Path) -> None:
    write_head(tmp_path / "H/h0", **SMALL)
    (tmp_path / "junior.pt").write_bytes(b"")
    options = {
        "train": ["--healthy", tmp_path / "H", "--overwrite"],
        "predict": ["--images", tmp_path / "H", "--output", tmp_path / "out"],
    }
    before = NO_TORCH if importlib.util.find_spec("torch") else ""
    done = script(part, tmp_path / "junior.pt", *options[part], before=before)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "needs torch" in done.stderr and "pip install -r requirements-pilot.txt" in done.stderr
    assert (ROOT / "requirements-pilot.txt").is_file() and not (tmp_path / "out").exists()


def test_scores_need_no_torch(tmp_path: Path) -> None:
    image, _ = head_image(**SMALL)  # type: ignore[arg-type]
    _, truth = with_tumour(image)
    for place in ("predicted", "experts"):
        write(truth, tmp_path / f"{place}/a.nii.gz")
    done = script("score", tmp_path / "predicted", "--labels", tmp_path / "experts", before=NO_TORCH)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "1 scans with expert's labels" in done.stdout
    assert rows_of(tmp_path / "predicted/scores/scores.csv")[0]["dice"] == "1.0"
    assert (tmp_path / "predicted/scores/scores.png").is_file()


def test_scores_of_nothing_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such folder" in refused(capsys, "score", tmp_path / "nowhere", "--labels", tmp_path)
    assert "holds no label CASE.nii.gz" in refused(capsys, "score", tmp_path, "--labels", tmp_path)


TRAIN = [
    (["--healthy", "{0}/nowhere"], "nowhere: no such folder; give the tumour-free scans with --healthy"),
    ([], "nothing to learn from: give tumour-free scans with --healthy"),
    (["--dataset", "{0}/H"], "no imagesTr in it; --dataset takes an nnU-Net dataset"),
    (["--real", "{0}/H", "{0}/nowhere"], "nowhere: no such folder; give the pseudo-labels with --real"),
    (["--real", "{0}/H", "{0}/empty"], "empty: no label of a scan in"),
    (["--real", "{0}/empty", "{0}/labels"], "--real is a folder of real tumour scans"),
    (["--init", "{0}/nowhere.pt"], "nowhere.pt: no such file"),
    (["--init", "{0}/junior.pt"], "output would overwrite the input"),
    (["--resume"], "junior.pt.unfinished: not there, so there is no training to carry on"),
    (["--fresh-share", "1.2"], "--fresh-share 1.2: needs 0 to 1"),
    (["--tumour-free-share", "nan"], "--tumour-free-share nan: needs 0 to 1"),
    (["--spacing", "0.5"], "--spacing 0.5: needs 1 to 6 mm"),
    (["--spacing", "nan"], "--spacing nan: needs 1 to 6 mm"),
    (["--iterations", "0"], "--iterations 0: needs 1 or more"),
    (["--minutes", "0"], "--minutes 0: needs more than 0"),
    (["--minutes", "inf"], "--minutes inf: needs more than 0"),
    (["--threads", "0"], "--threads 0: needs 1 or more"),
    (["--preset", "paper", "--nodules", "1"], "--nodules needs --preset diverse"),
    (["--min-volume", "500000"], "is above --max-volume"),
]


@pytest.mark.parametrize(
    ("options", "said"), TRAIN, ids=[" ".join(options) or "nothing" for options, _ in TRAIN]
)
def test_a_training_that_makes_no_sense_is_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], torch_found: None
) -> None:
    write_head(tmp_path / "H/h0", **SMALL)
    (tmp_path / "empty").mkdir()
    image = sitk.ReadImage(str(tmp_path / "H/h0/flair_brainmask.nii.gz"))
    write(image, tmp_path / "labels/h9.nii.gz")
    (tmp_path / "junior.pt").write_bytes(b"weights")
    before = sorted(tmp_path.rglob("*"))
    own = {"--healthy", "--dataset", "--real"} & set(options) or not options
    more = [] if own else ["--healthy", tmp_path / "H"]
    more += [] if "--resume" in options else ["--overwrite"]
    given = [option.format(tmp_path) for option in options]
    assert said in refused(capsys, "train", tmp_path / "junior.pt", *more, *given)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "junior.pt").read_bytes() == b"weights"


def test_what_is_there_is_not_trained_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], torch_found: None
) -> None:
    write_head(tmp_path / "H/h0", **SMALL)
    for name in ("junior.pt", "senior.pt.unfinished"):
        (tmp_path / name).write_bytes(b"")
        asked = tmp_path / name.removesuffix(".unfinished")
        said = refused(capsys, "train", asked, "--healthy", tmp_path / "H")
        assert f"{name}: exists; --overwrite trains anew, --resume carries" in said
    said = refused(capsys, "train", tmp_path / "no/junior.pt", "--healthy", tmp_path / "H")
    assert "no does not exist; create it first" in said


def test_only_unusable_scans_are_named_and_nothing_is_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], torch_found: None
) -> None:
    write_head(tmp_path / "H/h0", mask=False, skull=True, **SMALL)
    assert pilot_network.main(["train", str(tmp_path / "j.pt"), "--healthy", str(tmp_path / "H")]) == 2
    out, err = capsys.readouterr()
    assert "left out: " in out and "no brain mask beside it" in out
    assert "none of the scans can be used, see above" in err and not (tmp_path / "j.pt").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--min-logit", "nan"], "--min-logit nan: needs a number"),
        (["--images", "{0}/nowhere"], "nowhere: no such folder; give the scans with --images"),
        (["--output", "{0}/H"], "is read, and would be written to"),
        (["--refine-mm", "0"], "--refine-mm 0: needs more than 0"),
        (["--workers", "0"], "--workers 0: needs 1 or more"),
    ],
)
def test_a_prediction_that_makes_no_sense_is_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], torch_found: None
) -> None:
    write_head(tmp_path / "H/h0", **SMALL)
    usual = ["--images", tmp_path / "H", "--output", tmp_path / "out"]
    given = [option.format(tmp_path) for option in options]
    assert said in refused(capsys, "predict", tmp_path / "junior.pt", *usual, *given)
    assert not (tmp_path / "out").exists()
