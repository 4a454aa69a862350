"""Words and numbers as people are shown them."""

from __future__ import annotations

import pytest

from synthtumour.text import counted, evenly, in_brackets, print_safely, printable, volume_text


def test_what_a_terminal_would_obey_is_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("Müller 日本 a'b") == "Müller 日本 a'b"
    assert printable("\x1b[31m\n\udcff\u202e") == "\\x1b[31m\\n\\udcff\\u202e"
    print_safely("a\tb")
    assert capsys.readouterr().out == "a\\tb\n"


def test_numbers() -> None:
    said = [counted(n, "case") for n in (0, 1, 2)] + [counted(n, "entry", "entries") for n in (1, 21)]
    assert said == ["0 cases", "1 case", "2 cases", "1 entry", "21 entries"]
    assert in_brackets((2.0, 2, 3.5)) == "(2, 2, 3.5)"
    assert [volume_text(ml) for ml in (12.34, 1.0, 0.9994, 0.0123)] == [
        "12.3 ml",
        "1.0 ml",
        "0.999 ml",
        "0.012 ml",
    ]
    assert volume_text(0.0) == "no tumour"


@pytest.mark.parametrize("count", [1, 3, 7, 10])
def test_some_of_many_are_spread_over_all(count: int) -> None:
    items = list(range(10))
    chosen = evenly(items, count)
    assert len(chosen) == count and chosen == sorted(set(chosen)) and chosen[0] == 0
    gaps = {after - before for before, after in zip(chosen, [*chosen[1:], 10], strict=True)}
    assert max(gaps) - min(gaps) <= 1
    assert evenly(items[:3], 5) == [0, 1, 2]
