"""A run over hostile names, its report, and a parser for it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import prompt_multi_tumor
from synthtumour.report.page import REPORT_FILE
from tests.conftest import head_image, write

HOSTILE = (
    "<script>document.title='owned'<",
    "\"><img src=x onerror=document.title='owned'>",
    "{{ 7 * 6 }}{% raw %}",
    "new\nline & \u202eolleh",
)


SMALL = ("--min-volume", "2000", "--max-volume", "9000", "--workers", "1", "--seed", "3")


class Page(HTMLParser):
    """The elements of a report, its text and what its data element holds."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.html = file.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, str] = {}  # by the element it stands in
        self._open = ""
        self.feed(self.html)
        self.data = json.loads(self.text.pop("data"))
        self.cases = {case["row"]["case"]: case for case in self.data["cases"]}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.elements.append((tag, named))
        self._open = "data" if named.get("id") == "data" else tag

    def handle_data(self, data: str) -> None:
        self.text[self._open] = self.text.get(self._open, "") + data


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def small_head(folder: Path, seed: int) -> None:
    image, brain = head_image((96.0, 112.0, 88.0), (3.0, 3.0, 3.0), seed=seed)
    write(image, folder / "flair.nii.gz", "RAS" if seed % 2 else "LPS")
    write(brain, folder / "flair_brainmask.nii.gz", "RAS" if seed % 2 else "LPS")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over subjects of hostile names, one scan of which is cut short, with a folder that holds none."""
    work = tmp_path_factory.mktemp("report")
    for seed, name in enumerate((*HOSTILE, os.fsdecode(b"bytes\xff"), "plain", "cut short")):
        small_head(work / "head", seed)  # to write beside such a name is more than ITK can
        (work / "in").mkdir(exist_ok=True)
        (work / "head").rename(work / "in" / name)
    cut = work / "in/cut short/flair.nii.gz"
    cut.write_bytes(cut.read_bytes()[:5000])
    (work / "in/<b>empty").mkdir()
    output = work / "Dataset007_Names"
    options = ["--input", str(work / "in"), "--output", str(output), "--variants", "2", *SMALL]
    assert prompt_multi_tumor.main([*options, "--add-untouched", "0.4"]) == 1  # the one cut short
    return output


@pytest.fixture(scope="session")
def page(dataset: Path) -> Page:
    return Page(dataset / REPORT_FILE)


def many(folder: Path, template: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """A folder with a picture of each of `count` cases like `template`; their rows."""
    (folder / "previews").mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"program": "many.py", "version": "1", "options": {"seed": 0}})
    )
    picture = folder / "previews" / "case-0.png"
    Image.effect_noise((175, 107), 60).resize((700, 428), Image.Resampling.BICUBIC).save(picture)
    rows = []
    for n in range(count):
        side = "val" if n % 3 == 0 else "train"
        rows.append(
            {**template, "case": f"case-{n}", "split": side, "volume_ml": 1 + n % 90, "status": "made"}
        )
        if n:
            os.link(picture, folder / "previews" / f"case-{n}.png")
    return rows
