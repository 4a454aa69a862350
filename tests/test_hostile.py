"""Files and names that lie, hang, or mean harm: one clear line each, and nothing of anybody's is touched."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import prompt_multi_tumor
from synthtumour.runs.settings import JOURNAL_FILE, RUN_FILE
from tests.conftest import ROOT, TINY, TINY_VOLUMES, MakeHead, one_line, resect


@pytest.fixture(params=["folder", "pipe", "socket", "device", "circle of links"])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """no_file(path) puts something there that is no regular file."""
    held = []

    def make(path: Path) -> None:
        if request.param == "folder":
            path.mkdir()
        elif request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        elif request.param == "circle of links":
            path.symlink_to(path)
        else:
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].bind(os.path.relpath(path))

    yield make
    for one in held:
        one.close()


def test_what_is_no_file_is_refused_at_once(
    no_file: Callable[[Path], None],
    make_head: MakeHead,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = make_head(**TINY)
    monkeypatch.chdir(tmp_path)
    for name in ("x.nii.gz", "x.json", "x.csv"):
        no_file(tmp_path / name)
    outputs = ("i.nii.gz", "l.nii.gz")
    for arguments_ in (
        ("x.nii.gz", *outputs),
        (scan, *outputs, "--brain-mask", "x.nii.gz"),
        (scan, *outputs, "--location-prior", "x.nii.gz"),
        (scan, *outputs, "--from-record", "x.json"),
        (scan, *outputs, "--from-record", "x.csv", "--case", "c"),
        (scan, *outputs, "--volumes-path", "x.csv"),
    ):
        assert resect(*arguments_) == 2
        assert "x." in one_line(capsys)
    assert not any((tmp_path / name).exists() for name in outputs)


def test_a_brain_mask_or_prior_that_is_a_pipe_is_not_passed_over(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_head("in/a", mask=False, **TINY)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.nii.gz")
    how = ["--workers", "1", *TINY_VOLUMES]
    with_prior = ["--location-prior", "fifo.nii.gz"]
    assert prompt_multi_tumor.main(["--input", "in", "--output", "Dataset001_A", *how, *with_prior]) != 0
    assert "fifo.nii.gz: not a file but a folder, pipe" in capsys.readouterr().out
    os.mkfifo(scan.with_name("flair_brainmask.nii.gz"))
    assert resect(scan, "i.nii.gz", "l.nii.gz") == 2
    assert "flair_brainmask.nii.gz: not a file but a folder, pipe" in one_line(capsys)
    assert prompt_multi_tumor.main(["--input", "in", "--output", "Dataset002_B", *how]) != 0
    assert "flair_brainmask.nii.gz: not a file but a folder, pipe" in capsys.readouterr().out


NAMES = (
    ";rm -rf ~", "$(touch pwned)", "`touch pwned`", "a\nb", "-rf", "=1+1", "@x", "x" * 240, "Ünïcode 脑 🧠",
    "\x1b[31mred\x1b]0;title\x07", "'\"\\", "%s{0}", os.fsdecode(b"\xff\xfe"),
)  # fmt: skip


def test_names_of_subjects_are_only_names(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every subject is made or told why not, and no control character reaches the terminal."""
    first = make_head("first", **TINY)
    for name in NAMES:
        (tmp_path / "in" / name).mkdir(parents=True)
        for file in first.parent.iterdir():
            (tmp_path / "in" / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "in/pipe").mkdir()
    os.mkfifo(tmp_path / "in/pipe/flair.nii.gz")
    monkeypatch.chdir(tmp_path)
    code = prompt_multi_tumor.main(
        ["--input", "in", "--output", "Dataset001_A", "--workers", "1", "--shape", "ellipsoid", *TINY_VOLUMES]
    )
    out, err = capsys.readouterr()
    assert code == 1 and "skipped pipe: flair.nii.gz in it: not a file" in out
    assert "FAILED" in out and "not valid UTF-8" in out and f"{len(NAMES) - 1} made" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert "\x1b[31m" not in err and "\x07" not in err
    assert len(list((tmp_path / "Dataset001_A/imagesTr").iterdir())) == len(NAMES) - 1
    assert not [p for p in tmp_path.rglob("pwned")]


@pytest.mark.parametrize("name", [name for name in NAMES if name.isascii() and "\n" not in name])
def test_names_of_outputs_are_only_names(name: str, make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head(**TINY)
    folder = tmp_path / "made"
    folder.mkdir()
    outputs = [folder / f"{name}{n}.nii.gz" for n in "il"]
    code = resect(scan, *outputs, "--shape", "ellipsoid", *TINY_VOLUMES)
    assert code == 0 and sorted(folder.iterdir()) == outputs


@pytest.mark.parametrize(
    "name", [JOURNAL_FILE, RUN_FILE, "manifest.csv", "report.html", "dataset.json", "imagesTr"]
)
def test_pipes_where_a_run_would_write_are_refused(
    name: str, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_head("in/a", **TINY)
    folder = tmp_path / "Dataset001_A"
    folder.mkdir()
    os.mkfifo(folder / name)
    code = prompt_multi_tumor.main(["--input", str(tmp_path / "in"), "--output", str(folder), *TINY_VOLUMES])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1 and name in err
    assert (folder / name).is_fifo()


def test_no_pickle_is_loaded_no_shell_called_nothing_evaluated() -> None:
    files = [*ROOT.glob("*.py"), *(ROOT / "synthtumour").rglob("*.py")]
    assert len(files) > 20
    forbidden = {
        "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
        "pickle.Unpickler", "pd.read_pickle", "joblib.load", "marshal.loads", "shelve.open",
        "yaml.load", "sitk.ReadTransform", "subprocess.getoutput", "subprocess.getstatusoutput",
    }  # fmt: skip
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                where = f"{file.name}:{node.lineno}: {name}"
                assert name not in forbidden and not name.startswith(("os.exec", "os.spawn")), where
                assert "shell" not in options, where
                assert name != "torch.load" or options.get("weights_only") == "True", where
                assert options.get("allow_pickle", "False") == "False", where
                assert not (name.startswith("subprocess.") and not isinstance(node.args[0], ast.List)), where
