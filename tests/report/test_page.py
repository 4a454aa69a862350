"""report.html: true, whole in one file, harmless whatever the names are; and, in a real browser, usable."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from PIL import Image

import prompt_multi_tumor
import stage2_mixed_with_pseudo_label as stage2_script
from synthtumour.report.page import EMBEDDED_PICTURES, REPORT_FILE, write_report
from tests.conftest import ROOT, head_image, write, write_donor
from tests.report.conftest import HOSTILE, SMALL, Page, manifest, many, small_head


def test_names_are_shown_and_do_nothing(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 2 and "b" not in tags and "img" not in tags
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and re.search(r"script-src 'sha256-[\w+/=]+';", policy)
    assert page.text["h1"].strip() == "Dataset007_Names"
    subjects = {str(case["row"]["subject"]) for case in page.cases.values()}
    assert set(HOSTILE[:3]) <= subjects and "new\\nline & \\u202eolleh" in subjects
    assert "bytes\\udcff" in subjects and "42" not in subjects
    assert "<b>empty" in page.text["li"]


def test_one_file_that_fetches_nothing(page: Page) -> None:
    assert not re.search(r"https?:|@import|@font-face", page.html)
    assert not {"link", "iframe", "object", "embed", "base"} & {
        tag for tag, attributes in page.elements if attributes.get("href") != "data:,"
    }
    for _, attributes in page.elements:
        assert attributes.get("src", "data:").startswith("data:")
        assert re.match(r"#|data:|$", attributes.get("href", "")), attributes
    script = next(attributes for tag, attributes in page.elements if tag == "script")
    assert script["type"] == "application/json"


def test_its_numbers_are_the_manifests(dataset: Path, page: Page) -> None:
    rows = manifest(dataset)
    assert list(page.cases) == list(rows)
    for name, row in rows.items():
        case = page.cases[name]
        assert case["row"]["status"] == row["status"] and case["row"]["split"] == row["split"]
        for key, column in (("volume", "volume_ml"), ("contrast", "contrast"), ("tumours", "tumours")):
            assert case[key] == (float(row[column]) if row[column] else None), (name, key)
        if row["record"]:
            assert case["record"] == json.loads(row["record"])
    made = [row for row in rows.values() if row["status"] == "made"]
    failed = len(rows) - len(made)
    tiles = re.findall(r"<dt>(?:<span[^>]*></span>)?([\w ]+)</dt><dd>(\d+)</dd>", page.html)
    sides = [sum(row["split"] == side for row in made) for side in ("train", "val")]
    assert [int(n) for _, n in tiles[:5]] == [len(made), failed, *sides, 1] and failed == 4
    for reason in ("damaged or cut short", "the file or folder name is not valid UTF-8"):
        assert re.search(rf"failed</span> 2 × {reason}", page.html)
    volumes = sorted(
        float(row["volume_ml"]) for row in made if row["split"] == "train" and row["tumours"] != "0"
    )
    figure = next(a["aria-label"] for tag, a in page.elements if tag == "svg")
    assert figure.startswith(f"Volume, training: histogram of {len(volumes)} cases")
    options = json.loads((dataset / "run.json").read_text())["options"]
    given = re.search(r"<summary>options</summary>(.*?)</details>", page.html, re.S)[1]
    assert options["seed"] == 3 and "<dt>seed</dt><dd>3</dd>" in given
    not_given = re.search(r"Not given: (.*)\.</p>", given)[1].split(", ")
    assert not_given == [name for name, value in options.items() if value is None] != []
    assert all(f"<dt>{name}</dt>" not in given for name in not_given)


def test_same_run_same_bytes(dataset: Path, tmp_path: Path) -> None:
    """Made by other workers, in two sittings, elsewhere, with other settings of matplotlib."""
    options = [
        "--input",
        str(dataset.parent / "in"),
        "--variants",
        "2",
        *SMALL,
        "--add-untouched",
        "0.4",
    ]
    output = tmp_path / dataset.name
    again = [*options, "--output", str(output)]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert prompt_multi_tumor.main([*again, "--workers", "2"]) == 1
    expected = (dataset / REPORT_FILE).read_bytes()
    assert (output / REPORT_FILE).read_bytes() == expected
    next(iter((output / "labelsTr").iterdir())).unlink()
    (output / REPORT_FILE).unlink()
    assert prompt_multi_tumor.main(again) == 1
    assert (output / REPORT_FILE).read_bytes() == expected


def test_an_interrupted_run_has_a_report_that_says_so(tmp_path: Path) -> None:
    small_head(tmp_path / "in/s0", 1)
    for n in range(1, 60):
        shutil.copytree(tmp_path / "in/s0", tmp_path / f"in/s{n}")
    output = tmp_path / "Dataset008_Stopped"
    command = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "--input", str(tmp_path / "in")]
    process = subprocess.Popen(
        [*command, "--output", str(output), *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    give_up = time.monotonic() + 600
    while len(list(output.glob("labelsTr/s*"))) < 2:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 130 and f"{output / REPORT_FILE}" in said
    states = [row["status"] for row in manifest(output).values()]
    missing = states.count("not made")
    assert 0 < missing < 60 == len(states)
    html = (output / REPORT_FILE).read_text(encoding="utf-8")
    assert f"Not made yet: {missing} of 60 cases; the same command carries on" in html


def test_a_strangers_report_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_head(tmp_path / "in/one", 1)
    output = tmp_path / "Dataset008_Mine"
    output.mkdir()
    report = output / REPORT_FILE
    report.write_text("my own")
    run = ["--input", str(tmp_path / "in"), "--output", str(output), *SMALL]
    assert prompt_multi_tumor.main(run) == 2
    assert list(output.iterdir()) == [report] and f"{report}: exists" in capsys.readouterr().err
    report.unlink()
    assert prompt_multi_tumor.main(run) == 0
    before = report.stat().st_mtime_ns
    assert prompt_multi_tumor.main(run) == 0  # nothing to do
    assert report.stat().st_mtime_ns == before
    report.write_text("my own")  # put there after the run
    assert prompt_multi_tumor.main([*run, "--overwrite"]) == 2
    assert report.read_text() == "my own" and f"{report}: exists" in capsys.readouterr().err


def test_without_the_packages_one_line_says_what_to_install(tmp_path: Path) -> None:
    """In a Python that has every package of this one but those of the report."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in map(Path, sys.path):
        if folder.name == "site-packages":
            for entry in folder.iterdir():
                left_out = entry.name.lower().startswith(("jinja2", "matplotlib", "pil", "__pycache__"))
                if not left_out and not (packages / entry.name).exists():
                    (packages / entry.name).symlink_to(entry)
    small_head(tmp_path / "in/one", 1)
    output = tmp_path / "Dataset009_Bare"
    script = [sys.executable, "-S", str(ROOT / "prompt_multi_tumor.py")]
    done = subprocess.run(
        [*script, "--input", str(tmp_path / "in"), "--output", str(output), *SMALL],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert lines == ["no report: it needs jinja2, matplotlib, pillow (pip install jinja2 matplotlib pillow)"]
    assert not (output / REPORT_FILE).exists() and (output / "dataset.json").exists()


def test_so_many_pictures_are_embedded_and_the_others_linked(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    rows = many(folder, {"tumours": 1, "contrast": 2.0}, 2 * EMBEDDED_PICTURES)
    for n in range(2 * EMBEDDED_PICTURES):  # small ones will do
        (folder / f"previews/case-{n}.png").unlink()
        Image.new("RGB", (6, 4), (n % 256, 0, 0)).save(folder / f"previews/case-{n}.png")
    assert write_report(folder, rows).startswith("report")
    page = Page(folder / REPORT_FILE)
    assert len(page.data["pictures"]) == EMBEDDED_PICTURES
    assert {case["picture"] for case in page.data["cases"]} == {f"previews/{row['case']}.png" for row in rows}
    assert f"{EMBEDDED_PICTURES} of {2 * EMBEDDED_PICTURES} pictures" in page.html
    numbers = sorted(int(name.removeprefix("case-")) for name in page.data["pictures"])
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    assert max(gaps) <= 8 and numbers[-1] > 380  # chosen evenly


def test_stage_2_says_what_was_rejected(tmp_path: Path) -> None:
    """Beside the run's tables, with its pictures; and the senior's dataset has one too."""
    for n in range(3):
        write_donor(tmp_path / "D", f"donor{n}", seed=n, radius_mm=3.0 if n == 2 else 14.0)
        image, brain = head_image(seed=10 + n)
        write(image, tmp_path / f"H/h{n}_0000.nii.gz")
        write(brain, tmp_path / f"H/h{n}_brainmask.nii.gz")
    check, senior = tmp_path / "CHECK <i>", tmp_path / "Dataset010_Senior"
    options = ["--imagesTr_path", f"{tmp_path}/D/imagesTr", "--labelsTr_path", f"{tmp_path}/D/labelsTr"]
    options += ["--healthyimgTr", f"{tmp_path}/H", "--mask_check_path", str(check), "--combine", str(senior)]
    assert stage2_script.main([*options, "-num", "3", "--preview", "--workers", "1"]) == 0
    page = Page(check / REPORT_FILE)
    rows = manifest(check)
    assert {n: case["contrast"] for n, case in page.cases.items()} == {
        n: float(row["contrast_mixed"]) for n, row in rows.items()
    }
    assert "<dt>rejected donors</dt><dd>1</dd>" in page.html and "1 × too small" in page.html
    assert set(page.data["pictures"]) == set(rows) and page.text["h1"].strip() == "CHECK <i>"
    whole = Page(senior / REPORT_FILE)
    volumes = {case: float(row["volume_ml"]) for case, row in manifest(senior).items()}
    assert {name: case["volume"] for name, case in whole.cases.items()} == volumes
    assert all(volumes[name] == float(row["volume_ml"]) for name, row in rows.items())


def test_the_search_offers_only_what_the_rows_have(tmp_path: Path) -> None:
    row = {"split": "train", "mirrored": True, "contrast_mixed": 1.23456, "seed": 1234567.0}
    rows = many(tmp_path / "many", row, 2)
    write_report(tmp_path / "many", rows)
    page = Page(tmp_path / "many" / REPORT_FILE)
    orders = [a["value"] for tag, a in page.elements if tag == "option"]
    assert orders == ["", "volume", "contrast", "name"]  # no tumours
    words = re.findall(r"<code>(.*?)</code>", re.search(r'<p id="search-help".*', page.html)[0])
    assert words == ["training", "volume &gt; 50", "contrast &lt; 1.2", "mirrored = true"]
    assert "<dd>1.23</dd>" in page.html and "<dd>1234567</dd>" in page.html and "<dd>true</dd>" in page.html


def test_notes_are_part_of_the_outcome(tmp_path: Path) -> None:
    rows = many(tmp_path / "many", {"tumours": 1}, 2)
    write_report(tmp_path / "many", rows)
    assert "No failure, no warning" in (tmp_path / "many" / REPORT_FILE).read_text(encoding="utf-8")
    write_report(tmp_path / "many", rows, notes=["2 cases <repeat> another one"])
    html = (tmp_path / "many" / REPORT_FILE).read_text(encoding="utf-8")
    assert "No failure" not in html and "2 cases &lt;repeat&gt; another one" in html


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_enough() -> None:
    """WCAG AA in both colour schemes: 4.5 for text, 3 for graphics and focus."""
    style = (ROOT / "synthtumour/report/page.css").read_text()
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{.*?\}", style, re.S)
    ]
    assert len(schemes) == 3
    for scheme in schemes[:2]:
        for ground in ("ground", "panel", "bad-ground"):
            for colour, least in (
                *((text, 4.5) for text in ("ink", "soft", "link", "bad")),
                *((graphic, 3.0) for graphic in ("train", "val", "focus")),
            ):
                light, dark = sorted((luminance(scheme[colour]), luminance(scheme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= least, (colour, ground)


@pytest.fixture
def browse() -> Iterator[Callable[..., Any]]:
    """browse(file, width=1280, dark=False) opens a file in headless Chromium: its selenium driver."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    drivers = []
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        options.add_argument(f"--user-data-dir={profile}")
        for switch in (
            *("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync"),
            *("disable-background-networking", "disable-component-update"),
        ):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})

        def open_page(file: Path, width: int = 1280, dark: bool = False) -> Any:
            if not drivers:
                drivers.append(webdriver.Chrome(options, Service(shutil.which("chromedriver"))))
            driver = drivers[0]
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            driver.get(file.as_uri())
            return driver

        try:
            yield open_page
        finally:
            for driver in drivers:
                driver.quit()


def fetched(driver: Any) -> list[str]:
    """What the page has asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    by_page = [request for request in sent if request["documentURL"] == driver.current_url]
    return [url for request in by_page if not (url := request["request"]["url"]).startswith("data:")]


@pytest.fixture(scope="module")
def pictured(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run with pictures of all cases but one, in a folder of its own."""
    folder = tmp_path_factory.mktemp("pictured") / "Dataset <1> & ümlaut"
    (folder / "previews").mkdir(parents=True)
    shutil.copy(dataset / "run.json", folder)
    places = [f"{what}_{axis}_mm" for what in ("centre", "brain_low", "brain_high") for axis in "ras"]
    numbers = ("volume_ml", "contrast", "tumours", *places)
    rows = [
        {key: float(value) if key in numbers and value else value for key, value in row.items()}
        for row in manifest(dataset).values()
    ]
    for row in rows[1:]:
        Image.effect_noise((640, 400), 60).save(folder / f"previews/{row['case']}.png")
    Image.effect_noise((900, 700), 60).save(folder / "contact_sheet.png")
    inputs = [path.parent for path in sorted((dataset.parent / "in").glob("*/flair.nii.gz"))]
    brains = [(folder / "flair.nii.gz", folder / "flair_brainmask.nii.gz") for folder in inputs]
    assert write_report(folder, rows, brains=brains, left_out={"skipped": [("<b>", "hidden")]}).startswith(
        "report"
    )
    return folder / REPORT_FILE


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_from_disk_whatever_the_screen(
    browse: Callable[..., Any], pictured: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    driver = browse(pictured, width, dark)
    assert driver.title == "Dataset <1> & ümlaut: report"  # and not 'owned'
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    ground, ink = driver.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    bright = [sum(map(int, re.findall(r"\d+", colour))) > 384 for colour in (ground, ink)]
    assert bright == [not dark, dark]
    without, broken = driver.execute_script(
        "const nameless = s => s.getAttribute('role') !== 'img' || !s.getAttribute('aria-label');"
        "const images = [...document.images], drawings = [...document.querySelectorAll('svg')];"
        "return [images.filter(i => !i.alt).length + drawings.filter(nameless).length,"
        "images.filter(i => !i.naturalWidth).length]"
    )
    assert (without, broken) == (0, 0)
    driver.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as shot:
        assert len(shot.convert("RGB").getcolors(1 << 24)) > 50  # not an empty page
    assert driver.get_log("browser") == []
    assert fetched(driver) == [pictured.as_uri()]


@pytest.mark.browser
def test_the_search_finds_cases_by_words_and_numbers(browse: Callable[..., Any], pictured: Path) -> None:
    driver = browse(pictured)
    cases = list(Page(pictured).cases.values())
    search = driver.find_element("id", "search")

    def found(text: str) -> set[str]:
        search.clear()
        search.send_keys(text)
        return {element.text for element in driver.find_elements("css selector", "#list .name")}

    def said() -> str:
        return driver.find_element("id", "search-said").text

    def names(holds: Callable[[dict[str, Any]], bool]) -> set[str]:
        return {case["row"]["case"] for case in cases if holds(case)}

    assert found("") == names(lambda case: True)
    assert found("FAILED") == names(lambda case: case["row"]["status"] == "failed")
    assert found("<script>document") == names(lambda case: "<script>" in case["row"]["subject"]) != set()
    middle = sorted(case["volume"] for case in cases if case["volume"])[4]
    large = names(lambda case: case["row"]["split"] == "train" and (case["volume"] or 0) > middle)
    assert found(f"train volume>{middle}") == large != set()
    assert found(f"training volume > {middle}") == found(f"split = training  volume> {middle}0") == large
    assert found("split=val") == found("validation") == names(lambda case: case["row"]["split"] == "val")
    assert found("foo<bar") == set() and said().startswith('no column "foo"; columns: volume, contrast, ')
    assert found("volume > big") == set() and said() == 'volume > needs a number, not "big"'
    assert found("kind") == set() and said().endswith('"kind" is a column: kind = synthetic, say.')
    assert found("onerror=document.title") == names(lambda case: "onerror" in case["row"]["subject"])
    assert found('status = "failed"') and said() == ""
    assert found("tumours=0") == names(lambda case: case["tumours"] == 0) != set()
    assert found("nothing like this") == set()
    assert driver.find_element("id", "count").text == f"0 of {len(cases)} cases"
    assert said().startswith("Nothing found")
    link = driver.find_element("css selector", "#outcome ~ details.bad a")
    driver.execute_script("arguments[0].closest('details').open = true", link)
    name = link.text
    link.click()
    driver.implicitly_wait(5)  # what is inside comes when the entry has told that it opened
    assert driver.find_element("css selector", "#list details[open] dd").text == name
    assert len(driver.find_elements("css selector", "#list .name")) == 1 and said() == ""
    found("")
    driver.find_element("css selector", "#sort option[value=volume]").click()
    first = driver.find_element("css selector", "#list .name").text
    assert first == max(cases, key=lambda case: case["volume"] or 0)["row"]["case"]
    assert driver.get_log("browser") == []


@pytest.mark.browser
def test_a_case_is_opened_with_the_keyboard_alone(browse: Callable[..., Any], pictured: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    driver = browse(pictured)
    case = next(c for c in Page(pictured).cases.values() if c.get("picture") and c["tumours"])
    name = case["row"]["case"]

    def press(*keys: str) -> Any:
        ActionChains(driver).send_keys(*keys).perform()
        return driver.switch_to.active_element

    assert press(Keys.TAB).text == "Skip to the cases"
    assert press("/").get_attribute("id") == "search"
    assert press(name, Keys.TAB).get_attribute("id") == "sort"
    entry = press(Keys.TAB)
    assert entry.tag_name == "summary" and name in entry.text
    outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(Keys.ENTER)
    driver.implicitly_wait(5)  # what is inside comes when the entry has told that it opened
    picture = driver.find_element("css selector", "#list details[open] img")
    assert picture.is_displayed() and name in picture.get_attribute("alt")
    assert press(Keys.TAB).text == "full size"
    record = press(Keys.TAB)
    assert record.text == "Full record"
    press(Keys.ENTER)
    assert json.loads(driver.find_element("css selector", "#list pre").text) == case["record"]
    assert driver.get_log("browser") == []


@pytest.mark.browser
def test_five_thousand_cases(browse: Callable[..., Any], tmp_path: Path) -> None:
    """Less than 30 MB, made in less than 20 s, searched at once."""
    record = json.dumps({"drawn": [math.sqrt(n) for n in range(120)]})  # as long as the preset diverse's
    rows = many(tmp_path / "many", {"tumours": 2, "contrast": 1.5, "subject": "s", "record": record}, 5000)
    begin = time.process_time()
    assert write_report(tmp_path / "many", rows).startswith("report")
    assert time.process_time() - begin < 20
    report = tmp_path / "many" / REPORT_FILE
    assert report.stat().st_size < 30e6
    driver = browse(report)
    search = (
        "const search = document.getElementById('search'), begin = performance.now();"
        "search.value = arguments[0]; search.dispatchEvent(new Event('input'));"
        "return [performance.now() - begin, document.querySelectorAll('.case').length,"
        "document.getElementById('count').textContent]"
    )
    took_ms, shown, count = driver.execute_script(search, "val volume>=90")
    wanted = sum(row["split"] == "val" and row["volume_ml"] >= 90 for row in rows)
    assert (shown, count) == (min(50, wanted), f"{wanted} of 5000 cases") and took_ms < 500
    assert driver.execute_script(search, "")[1:] == [50, "5000 cases"]
    driver.find_element("id", "more").click()
    assert len(driver.find_elements("css selector", ".case")) == 100
    linked = next(n for n, row in enumerate(rows) if row["case"] not in Page(report).data["pictures"])
    driver.execute_script("document.querySelectorAll('.case')[arguments[0]].open = true", linked)
    driver.implicitly_wait(5)
    picture = driver.find_element("css selector", "#list details[open] img")
    assert picture.get_attribute("src").startswith("file:")
    assert driver.execute_async_script(
        "const [image, done] = arguments; if (image.complete) done(image.naturalWidth);"
        "else image.onload = image.onerror = () => done(image.naturalWidth)",
        picture,
    )
    assert driver.get_log("browser") == []
