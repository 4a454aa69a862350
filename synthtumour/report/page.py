"""report.html beside a run's manifest: what was asked for, what became of it, and a look at every case.

One file that fetches nothing, made from the run's folder (run.json, the manifest's rows, pictures) and a few
brain masks. It holds neither dates nor seconds: the same run gives the same bytes, in one sitting or many.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from synthtumour import __version__
from synthtumour.errors import InputError, reason_of
from synthtumour.files.staging import write_bytes
from synthtumour.report.rows import MEASURED, Brains, Names, Row, contrast, short, volume
from synthtumour.runs.settings import RUN_FILE
from synthtumour.text import counted, evenly, printable, without_names

if TYPE_CHECKING:
    import jinja2

REPORT_FILE, SHEET_FILE = "report.html", "contact_sheet.png"
EMBEDDED_PICTURES = 200  # the other cases link to theirs
EMBEDDED_RECORDS_BYTES = 14e6  # where there is more, the page has the manifest's main columns only
_PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}  # module, and what pip calls it
_GENERATOR = "SynthTumour report"
_SIDES = {"train": "Training", "val": "Validation", "": "Refined"}  # the last where there is no split
_STATIC_CASES = 30  # listed without JavaScript
_SIDE_BY_SIDE = 4  # pictures of each side
_LISTED = 200  # names under one reason
_EXAMPLES = {  # of a search, by the column that it is about
    "reason": "failed",
    "split": "training",
    "volume": "volume > 50",
    "contrast": "contrast < 1.2",
    "tumours": "tumours = 2",
    "mirrored": "mirrored = true",
}
_HERE = Path(__file__).parent
_PICTURE_PX, _SHEET_PX, _JPEG_QUALITY = 560, 1460, 65
_MAIN_COLUMNS = (  # the others are in the record too
    "case status reason kind subject session split task variant seed source mask id1 id2 donor_subject "
    "recipient_subject attempts mirrored pseudo_label_volume_ml refinement donor_volume_ml volume_ml "
    "volume_before_ml added_ml removed_ml parts left_as_it_was "
    "centre_r_mm centre_a_mm centre_s_mm contrast contrast_donor contrast_mixed tumours warnings"
).split()


def report_file(folder: Path) -> Path:
    """Where the report of the run in `folder` goes; InputError if a file is there that is no report."""
    path = folder / REPORT_FILE
    head = _head(path)
    if head is not None and _GENERATOR not in head:
        raise InputError(
            f"{path}: exists and is not of this program; move it, or choose another output folder"
        )
    return path


def write_report(
    folder: Path,
    rows: Sequence[Row],
    *,
    brains: Brains = (),
    left_out: Mapping[str, Names] | None = None,
    pictures: str | None = "previews",
    notes: Sequence[str] = (),
) -> str:
    """Write `folder`/report.html about the run there, and return one line that says so, or why there is none.

    `rows` are the manifest's; some of the `brains` are drawn; `left_out` has names and reasons by what became
    of them ('skipped'); `pictures` is the folder in `folder` with the <case>.png, None if there can be none.
    A report that says the same is left alone.
    """
    path = folder / REPORT_FILE
    if missing := [name for module, name in _PACKAGES.items() if find_spec(module) is None]:
        return f"no report: it needs {', '.join(missing)} (pip install {' '.join(missing)})"
    try:
        report_file(folder)
        content = _content(folder, rows, left_out or {}, pictures, notes)
        if content.digest not in (_head(path) or ""):
            write_bytes(_page(content, brains).encode(), path)
    except InputError as error:
        return f"no report: {error}"
    except OSError as error:
        return f"no report: {path}: cannot be written ({error.strerror or error})"
    except Exception as error:  # the cases are whole without it
        return f"no report: {path}: {reason_of(error)}"
    return f"report, for a browser: {path}"


@dataclass(frozen=True)
class _Content:
    folder: Path
    run: dict[str, Any]
    rows: list[dict[str, object]]  # what is empty left out
    pictures: dict[str, str]  # case, and the picture's path in `folder`
    may_have_pictures: bool
    has_sheet: bool
    left_out: dict[str, Names]
    notes: list[str]
    digest: str  # of all of this


def _content(
    folder: Path,
    rows: Sequence[Row],
    left_out: Mapping[str, Names],
    pictures: str | None,
    notes: Sequence[str],
) -> _Content:
    run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8", errors="surrogateescape"))
    told = [{k: v for k, v in row.items() if v not in ("", None) and k != "seconds"} for row in rows]
    files = {str(row["case"]): f"{pictures}/{row['case']}.png" for row in told if row["status"] == "made"}
    files = {case: file for case, file in files.items() if pictures and (folder / file).is_file()}
    sheet = folder / SHEET_FILE
    sizes = [path.stat().st_size for path in (*(folder / f for f in files.values()), sheet) if path.is_file()]
    parts = (run, told, files, pictures is not None, sheet.is_file(), dict(left_out), list(notes))
    shown = [__version__, folder.resolve().name, *parts, sizes]
    digest = hashlib.sha256()
    for piece in _as_json(shown):
        digest.update(piece.encode())
    return _Content(folder, *parts, digest.hexdigest())


def _as_json(value: object) -> Iterator[str]:
    """`json.dumps(value)` in pieces, one for each item of a list."""
    if not isinstance(value, list):
        yield json.dumps(value)
        return
    yield "["
    for number, item in enumerate(value):
        yield ", " if number else ""
        yield from _as_json(item)
    yield "]"


def _head(path: Path) -> str | None:
    """The beginning of a file, where a report says what it is; None if there is no file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for somebody to write
            return ""
        with path.open("rb") as file:
            return file.read(1000).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # something else: a folder, say
        return ""


def _page(content: _Content, brains: Brains) -> str:
    from markupsafe import Markup

    from synthtumour.report.figures import figures, in_numbers

    style, script = (Markup((_HERE / f"page.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    rows = content.rows
    made = [row for row in rows if row["status"] == "made"]
    sides = {title: [row for row in made if row.get("split", "") == side] for side, title in _SIDES.items()}
    sides = {title: of_side for title, of_side in sides.items() if of_side}
    side_by_side = {title: _with_pictures(of_side, content) for title, of_side in sides.items()}
    prominent = [str(row["case"]) for of_side in side_by_side.values() for row in of_side]
    others = [case for case in content.pictures if case not in prominent]
    embedded = [*prominent, *evenly(others, EMBEDDED_PICTURES - len(prominent))]
    thumbnails = {case: _jpeg(content.folder / content.pictures[case], _PICTURE_PX) for case in embedded}
    with_records = sum(len(str(row.get("record", ""))) for row in rows) <= EMBEDDED_RECORDS_BYTES
    entries = [_inert(_entry(row, content, with_records)) for row in rows]  # as text: a tenth of the memory
    measured = {name for name, of in MEASURED.items() if any(of(row) is not None for row in rows)}
    columns = {column for row in rows for column in row if column not in MEASURED} | measured
    return _template().render(
        generator=_GENERATOR,
        digest=content.digest,
        version=__version__,
        name=content.folder.resolve().name,
        run=content.run,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=Markup(f'{{"cases":[{",".join(entries)}],"pictures":{_inert(thumbnails)}}}'),
        total=len(rows),
        counts=Counter(str(row["status"]) for row in rows),
        sides=sides,
        failures=_grouped(_what_is_said(row, "reason") for row in rows),
        warnings=_grouped(_what_is_said(row, "warnings") for row in rows),
        left_out={what: _grouped(names) for what, names in content.left_out.items()},
        notes=content.notes,
        listed=_LISTED,
        may_have_pictures=content.may_have_pictures,
        pictures=content.pictures,
        thumbnails=thumbnails,
        sheet_file=SHEET_FILE,
        sheet=_jpeg(content.folder / SHEET_FILE, _SHEET_PX) if content.has_sheet else "",
        side_by_side={title: of_side for title, of_side in side_by_side.items() if of_side},
        figures=figures(sides, brains),
        numbers=in_numbers(sides),
        static=[_entry(row, content, False)["row"] for row in rows[:_STATIC_CASES]],
        with_records=with_records,
        columns=columns,
        examples=[example for column, example in _EXAMPLES.items() if column in columns],
    )


def _template() -> jinja2.Template:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
    )
    environment.filters.update(
        shown=_shown, described=_described, fact=_fact, volume=volume, contrast=contrast, counted=counted
    )
    return environment.get_template("page.html.jinja")


def _inert(data: object) -> str:
    """JSON to stand in a script element, which nothing but a '<' could end."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _entry(row: Row, content: _Content, with_record: bool) -> dict[str, object]:
    """What the page's search knows of a case."""
    record = row.get("record")
    columns = [column for column in _MAIN_COLUMNS if column in row] if record else list(row)
    entry: dict[str, object] = {
        "row": {
            column: row[column] if _is_json(row[column]) else printable(str(row[column]))
            for column in columns
        },
        **{name: of(row) for name, of in MEASURED.items()},
        "description": printable(_described(row)),
    }
    if picture := content.pictures.get(str(row["case"])):
        entry["picture"] = quote(picture)
    if record and with_record:
        entry["record"] = json.loads(str(record), parse_constant=str)
    return entry


def _is_json(value: object) -> bool:
    """Whether JSON has it as it is: a number that is one, or yes or no."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _described(row: Row) -> str:
    """A case's picture for those who cannot see it."""
    size = volume(row)
    what = "no tumour" if size == 0 else f"label of {size:.1f} ml" if size else "label"
    return f"{row['case']}: axial, coronal and sagittal slices, before, after and outlined: {what}"


def _shown(value: object) -> str:
    """An option's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value:
        return ", ".join(map(_shown, value[:12])) + (
            f", ... ({len(value)} in all)" if len(value) > 12 else ""
        )
    return "–" if value in (None, "", []) else str(value)


def _fact(value: object) -> str:
    """What a manifest says, as report.js shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else short(value) if isinstance(value, float) else str(value)


def _with_pictures(rows: Sequence[Row], content: _Content) -> list[Row]:
    """Some of `rows` to look at, with a tumour if there is any."""
    there = [row for row in rows if str(row["case"]) in content.pictures]
    return evenly([row for row in there if volume(row)] or there, _SIDE_BY_SIDE)


def _jpeg(path: Path, width: int) -> str:
    """A picture as base64 JPEG, at most `width` pixels wide."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((width, picture.height))
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _what_is_said(row: Row, column: str) -> tuple[str, str]:
    """The case and what `column` says of it, less its own files' names, so that like reasons are alike."""
    files = [str(row[key]) for key in ("source", "mask") if row.get(key)]
    return str(row["case"]), without_names(str(row.get(column, "")), files).removeprefix("…: ")


def _grouped(names: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Names by what is said of them, the most frequent first; without those of whom nothing is said."""
    groups: dict[str, list[str]] = {}
    for name, said in names:
        if said:
            groups.setdefault(said, []).append(name)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
