"""The picture of a Stage 2 case: recipient, mixture, and the donor's tumour where it grew."""

from __future__ import annotations

from pathlib import Path

from synthtumour.stage2.picture import write_picture
from tests.pictures.conftest import YELLOW, is_colour, panel, places, rgb
from tests.stage2.conftest import donor_of, head_of, mixed_of


def test_the_tumour_is_outlined_where_it_went_and_where_it_grew(tmp_path: Path) -> None:
    donor, recipient = donor_of(), head_of(seed=3)
    write_picture(tmp_path / "p.png", "a case", "11 ml", donor, recipient, mixed_of(donor, recipient))
    picture = rgb(tmp_path / "p.png")
    outlined = [is_colour(panel(picture, 0, column), YELLOW).sum() for column in range(3)]
    assert outlined[:2] == [0, 0] and outlined[2] > 40
    # A fourth column of the same width, where the donor's own tumour is outlined.
    home = picture[22 : 22 + 240, 732 : 732 + 240]
    assert home.shape == (240, 240, 3) and is_colour(home, YELLOW).sum() > 40
    for words in ("recipient", "mixed", "donor:"):
        assert len(places(picture[:22], words)) == 1, words
