"""What a run says: progress and each case on stderr while it works, a summary on stdout when it is done.

A terminal gets a bar and colours (not with NO_COLOR set), anything else, such as the log of a cluster's job,
a plain line now and then. `tell` is 'usual', 'verbose' (each case as it is made) or 'quiet' (of the summary
how many cases were made, and what failed).
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

from synthtumour.text import counted, printable, without_names

if TYPE_CHECKING:
    from synthtumour.runs.cases import Report
    from synthtumour.runs.shards import Shard

_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
_FIRST_WORDS = {"FAILED": _RED, "warning": _YELLOW, "interrupted:": _YELLOW, "next:": _BOLD}
_LINE_EVERY_S = 60.0
_NAMED, _REASONS = 3, 20  # names of one reason, and reasons, that are said of cases that failed
_NUMBER = re.compile(r"\d+(\.\d+)?")
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


class Progress:
    """How far a run is: counts its cases, those that failed too, from `kept` to `total`."""

    def __init__(self, total: int, kept: int, tell: str = "usual", unit: str = "cases") -> None:
        self._tell, self._unit, self._kept = tell, unit, kept
        self._done, self._failed = kept, 0
        self._begin = self._told = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=kept,
            unit=f" {unit}",
            file=sys.stderr,
            disable=tell == "quiet" or not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format=_BAR,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def count(self, name: str, entry: Mapping[str, Any]) -> None:
        """A case has come to its end: `entry` is what the journal says of it."""
        self._done += 1
        if failed := entry["status"] == "failed":
            self._failed += 1
            self._bar.set_postfix_str(coloured(f"{self._failed} failed", _RED, sys.stderr), refresh=False)
        self._bar.update()
        if self._tell == "verbose":
            self.write(_of_a_case(name, entry, failed))
        elif self._tell == "usual" and self._bar.disable:
            elapsed = time.monotonic() - self._begin
            # once a minute, later on more rarely: some hundred lines a day
            if time.monotonic() - self._told >= max(_LINE_EVERY_S, elapsed / 20):
                self._told = time.monotonic()
                rate = (self._done - self._kept) / elapsed
                count = f"{self._done} of {self._bar.total} {self._unit}, {self._failed} failed"
                self.write(f"{count}, {rate:.2f} {self._unit}/s")

    def stopping(self) -> None:
        self._bar.set_description("stopping")

    @staticmethod
    def write(text: str) -> None:
        """A line on stderr, above the bar."""
        tqdm.write(text, file=sys.stderr)


def _of_a_case(name: str, entry: Mapping[str, Any], failed: bool) -> str:
    if failed:
        return f"{coloured('FAILED', _RED, sys.stderr)} {printable(name)}: {printable(entry['reason'])}"
    volume_ml = entry["made"].get("volume_ml")
    volume = "" if volume_ml is None else f"{volume_ml:.1f} ml, "
    return f"{coloured('made', _GREEN, sys.stderr)} {printable(name)}: {volume}{entry['seconds']:.2f} s"


def speaker(tell: str) -> Callable[[str], None]:
    """What prints the lines of a summary, of names made safe: nothing if it is to be quiet."""

    def say(text: str) -> None:
        text = printable(text)
        for word, colour in _FIRST_WORDS.items():
            if text.lstrip().startswith(word):
                text = text.replace(word, coloured(word, colour, sys.stdout), 1)
        print(text)

    return say if tell != "quiet" else lambda _: None


def waiting(tell: str) -> Callable[[str], None]:
    """What tells on stderr that a run waits, and for what: nothing if it is to be quiet."""
    return (lambda text: Progress.write(printable(text))) if tell != "quiet" else lambda _: None


def tell_outcome(report: Report, tell: str, one: str = "case", of: str = "") -> None:
    """How many cases there are, each being `one` `of` something; what failed; warnings and notes."""
    say, always = speaker(tell), speaker("usual")
    if tell != "quiet":
        print()
    there = report.made + report.kept
    if report.interrupted:
        of_all = f"{there} of {counted(len(report.rows), one)}{of} made"
        always(f"interrupted: {of_all}; the same command carries on")
    elif report.kept and not (report.made or report.failed or report.missing or report.drawn):
        all_are = f"all {report.kept} {one}s{of} are" if report.kept != 1 else f"the one {one}{of} is"
        say(f"nothing to do: {all_are} there already")
    made, failed = f"{report.made} made", f"{len(report.failed)} failed"
    made = coloured(made, _GREEN, sys.stdout) if report.made else made
    failed = coloured(failed, _RED, sys.stdout) if report.failed else failed
    print(f"{one}s{of}: {made}, {report.kept} kept from before, {failed}")
    if report.drawn:
        say(f"pictures drawn of {report.drawn} of those kept")
    for line in by_reason(_told_of(report, "reason")):
        always(f"  FAILED {line}")
    for line in by_reason(_told_of(report, "warnings")):
        say(f"  warning {line}")
    for note in report.notes:
        (always if report.missing else say)(f"  note {note}")


def _told_of(report: Report, column: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Of the cases of which `column` says something: the name, what it says, their own files."""
    for row in report.rows:
        if said := row[column]:
            own = [str(row[key]) for key in ("source", "mask") if row.get(key)]
            yield str(row["case"]), str(said), own


def by_reason(told: Iterable[tuple[str, str, Sequence[str]]]) -> list[str]:
    """'a, b, c, ... (12 in all): reason' of (name, reason, files), the most frequent reason first.

    Reasons are one if they differ in a case's own name and files and in numbers: then the first is shown.
    """
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, reason, files in told:
        general = without_names(reason, (*files, name))
        groups.setdefault(_NUMBER.sub("#", general), []).append((name, reason, general))
    lines = []
    for alike in sorted(groups.values(), key=len, reverse=True):
        reasons, wordings = ({entry[n] for entry in alike} for n in (1, 2))
        names, (_, reason, first) = ", ".join(name for name, _, _ in alike[:_NAMED]), alike[0]
        more = f", ... ({len(alike)} in all)" if len(alike) > _NAMED else ""
        shown = reason if len(reasons) == 1 else first.removeprefix("…: ")
        lines.append(f"{names}{more}: {shown}{' (and the like)' if len(wordings) > 1 else ''}")
    if len(lines) > _REASONS:
        lines[_REASONS:] = [f"{counted(len(lines) - _REASONS, 'more reason')}; the tables have all of them"]
    return lines


def tell_shard(report: Report, shard: Shard, tell: str) -> None:
    """What there is of a shard; the rest is for --finalise."""
    tell_outcome(report, tell, of=f" of shard {shard}")
    say = speaker(tell)
    done = f"all {shard.count} shards are" if shard.count > 1 else "it is"
    say(f"when {done} made: the same command with --finalise, without --shard")


def typed(command: Sequence[str], *more: str) -> str:
    """The `command` that was typed, with `more` options, as a shell takes it; a call from Python has none."""
    if not command:
        return "the same call once more"
    program = ["python"] if Path(command[0]).suffix == ".py" else []
    return shlex.join([*program, *command, *more])


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour if `stream` is a terminal and NO_COLOR (no-color.org) does not forbid it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{colour}m{text}\033[0m"
