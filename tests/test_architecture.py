"""The house as docs/architecture.md draws it: arrows run down only, files and functions stay short."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = [ROOT / f"{name}_multi_tumor.py" for name in ("resect", "prompt")]
SCRIPTS += [ROOT / f"{name}_pseudo_label.py" for name in ("stage2_mixed_with", "refine")]
SCRIPTS += [ROOT / "pilot_network.py"]
PACKAGE = sorted((ROOT / "synthtumour").rglob("*.py"))
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter with the contracts of the pyproject.toml in `folder`, over the package there."""
    pytest.importorskip("importlinter")
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "synthtumour", tmp_path / "synthtumour", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_no_arrow_runs_up_and_no_circle() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("stage1/record.py", "from synthtumour.stage2 import mix", "arrows run down only BROKEN"),
        ("volume/grid.py", "from synthtumour.tumour import shape", "arrows run down only BROKEN"),
        ("files/names.py", "from synthtumour.options import program", "arrows run down only BROKEN"),
        ("runs/cases.py", "from synthtumour.runs import journal", "no circle BROKEN"),
        ("cellar/boxes.py", "", "arrows run down only BROKEN"),  # a room that has no place
    ],
)
def test_an_arrow_that_runs_the_wrong_way_is_refused(file: str, line: str, broken: str, copy: Path) -> None:
    path = copy / "synthtumour" / file
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    with path.open("a") as source:
        source.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode == 1 and broken in done.stdout, done.stdout + done.stderr


def imported(tree: ast.AST) -> set[str]:
    """The first names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_only_options_know_the_command_line() -> None:
    knowing = {
        path.relative_to(ROOT / "synthtumour").as_posix()
        for path in PACKAGE
        if "argparse" in imported(ast.parse(path.read_text(encoding="utf-8")))
    }
    doors = {path for path in knowing if path.startswith("options/") or path == "__main__.py"}
    assert knowing == doors != set()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lengths_of_functions(path: Path) -> dict[str, int]:
    """By where a function begins and what it is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        f"{name_of(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno
    }


def is_parser(name: str) -> bool:
    return name == "build_parser" or name.startswith("add_") and name.endswith("_options")


@pytest.mark.parametrize(
    ("paths", "most_lines"), [(PACKAGE, 400), (SCRIPTS, 199)], ids=["package", "scripts"]
)
def test_files_are_short_and_so_are_their_functions(paths: list[Path], most_lines: int) -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert len(lengths) == len(paths) >= 3
    assert {name: length for name, length in lengths.items() if length > most_lines} == {}
    functions = {where: length for path in paths for where, length in lengths_of_functions(path).items()}
    assert len(functions) >= 6
    long = {where: n for where, n in functions.items() if n > 60 and not is_parser(where.split()[1])}
    assert long == {}


def test_every_room_has_its_tests() -> None:
    """A file of tests for each module of the package, in the folder of its room and named after it."""
    without = []
    for path in PACKAGE:
        module = path.relative_to(ROOT / "synthtumour")
        if path.name not in ("__init__.py", "__main__.py"):
            if not (ROOT / "tests" / module.with_name(f"test_{module.name}")).is_file():
                without.append(module.as_posix())
    assert without == []
