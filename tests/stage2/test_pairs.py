"""Which donor goes with which recipient."""

from __future__ import annotations

from collections import Counter

import pytest

from synthtumour.errors import InputError
from synthtumour.stage2.pairs import held_out_subjects, pair_evenly, pair_within_sides


@pytest.mark.parametrize(("donors", "recipients", "count"), [(4, 3, 40), (5, 10, 60), (6, 3, 18), (3, 1, 7)])
def test_pairs_are_even_from_the_first_to_the_last(donors: int, recipients: int, count: int) -> None:
    names = {f"d{n}": f"d{n}" for n in range(donors)}, {f"r{n}": f"r{n}" for n in range(recipients)}
    pairs = pair_evenly(*names, count, seed=5)
    assert len(pairs) == count
    for length in range(1, count + 1):
        begun = pairs[:length]
        for name, of in ((list(names[0]), "donor"), (list(names[1]), "recipient")):
            times = Counter(getattr(pair, of) for pair in begun)
            assert max(times.values()) - min(times[n] for n in name) <= 1
        if length <= donors * recipients:
            assert len({(pair.donor, pair.recipient) for pair in begun}) == length
    backwards = [dict(reversed(list(side.items()))) for side in names]
    assert pair_evenly(*backwards, count, seed=5) == pairs
    assert pair_evenly(*names, count, seed=6) != pairs or recipients == 1


def test_spares_are_pairs_that_no_case_uses() -> None:
    pairs = pair_evenly(
        {f"d{n}": f"d{n}" for n in range(4)}, {f"r{n}": f"r{n}" for n in range(9)}, 12, seed=0
    )
    used = {(pair.donor, pair.recipient) for pair in pairs}
    spare = [(pair.donor, name) for pair in pairs for name in pair.spares[:2]]
    assert len(spare) == 24 == len(set(spare)) and not used & set(spare)


def test_nobody_gets_his_own_tumour() -> None:
    donors = {f"{who}_v{n}": who for who in "ABC" for n in range(2)}
    recipients = {who: who for who in "ABC"}
    pairs = pair_evenly(donors, recipients, 12, seed=1)
    assert all(donors[p.donor] not in (p.recipient, *p.spares) for p in pairs)
    assert len({(p.donor, p.recipient) for p in pairs}) == 12  # all there are
    assert set(Counter(p.donor for p in pairs).values()) == {2}
    assert pair_evenly({"A_v0": "A"}, {"A": "A"}, 5, seed=0) == []


def test_sides_of_the_split_never_meet() -> None:
    donors = {f"d{n}_v{v}": f"d{n}" for n in range(5) for v in range(2)}
    recipients = {f"r{n}": f"r{n}" for n in range(6)} | {"d0": "d0"}
    held_out = held_out_subjects(donors, recipients, 0.25, seed=3)
    assert held_out & set(donors.values()) and held_out & set(recipients.values())
    training, validation = pair_within_sides(donors, recipients, 40, 3, held_out)
    assert len(training) + len(validation) == 40 and 4 <= len(validation) <= 16
    for side, pairs in ((False, training), (True, validation)):
        for pair in pairs:
            subjects = {donors[pair.donor], *(recipients[r] for r in (pair.recipient, *pair.spares))}
            assert all((subject in held_out) == side for subject in subjects)
    with pytest.raises(InputError, match="two subjects"):
        held_out_subjects({"a": "a", "a_v01": "a"}, recipients, 0.25, seed=3)
