"""Which donor goes with which recipient."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from synthtumour.errors import InputError
from synthtumour.stage2.pairs import Pair, held_out_subjects, pair_evenly, pair_within_sides
from synthtumour.streams import case_generator


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


@pytest.mark.parametrize("seed", range(400))
def test_pairs_are_those_of_the_first_version(seed: int) -> None:
    rng = random.Random(seed)
    subjects = rng.randint(1, 12)
    donors = {f"d{n}": f"s{rng.randrange(subjects)}" for n in rng.sample(range(50), rng.randint(1, 8))}
    scans = {f"r{n}": f"s{rng.randrange(2 * subjects)}" for n in rng.sample(range(50), rng.randint(1, 12))}
    count, spares = rng.randint(0, 3 * len(donors) * len(scans)), rng.randint(0, 5)
    assert pair_evenly(donors, scans, count, seed, spares) == as_it_was(donors, scans, count, seed, spares)


@pytest.mark.parametrize("count", [200, 5000])
def test_twenty_thousand_scans_take_less_than_three_seconds(count: int) -> None:
    donors = {f"d{n}": f"s{n}" for n in range(50)}
    begin = time.process_time()
    pairs = pair_evenly(donors, {f"r{n}": f"t{n}" for n in range(20_000)}, count, seed=0)
    assert time.process_time() - begin < 3
    assert len({pair.recipient for pair in pairs}) == count


def as_it_was(
    donors: Mapping[str, str], recipients: Mapping[str, str], count: int, seed: int, spares: int = 3
) -> list[Pair]:
    """The function of the first version, which takes minutes for 20 000 recipients."""
    rng = case_generator(seed, "pairs")
    allowed = {
        donor: [name for name, subject in sorted(recipients.items()) if subject != own]
        for donor, own in sorted(donors.items())
    }
    if count < 1 or not any(allowed.values()):
        return []
    used: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    chosen: list[tuple[str, str]] = []
    unused: dict[str, set[str]] = {}
    while len(chosen) < count:
        if not any(unused.values()):
            unused = {donor: set(names) for donor, names in allowed.items()}
            donor_place = {str(name): n for n, name in enumerate(rng.permutation(sorted(donors)))}
            recipient_place = {str(name): n for n, name in enumerate(rng.permutation(sorted(recipients)))}
            step = 0
        # The cycle over both lists shifts by one whenever it would come back to where it began, so that it
        # meets every pair once. Whoever had fewer turns goes first, which only shared subjects bring about.
        shift = step // math.lcm(len(donors), len(recipients))
        donor = min(
            (name for name in unused if unused[name]),
            key=lambda name: (used[name], (donor_place[name] - step) % len(donors)),
        )
        recipient = min(
            unused[donor],
            key=lambda name: (uses[name], (recipient_place[name] - step - shift) % len(recipients)),
        )
        unused[donor].remove(recipient)
        used[donor] += 1
        uses[recipient] += 1
        chosen.append((donor, recipient))
        step += 1
    return with_spares(chosen, allowed, unused, recipient_place, spares)


def with_spares(
    chosen: list[tuple[str, str]],
    allowed: Mapping[str, list[str]],
    unused: Mapping[str, set[str]],
    place: Mapping[str, int],
    wanted: int,
) -> list[Pair]:
    """Deal each donor's unused recipients out to its cases; then, for want of any, the used ones again."""
    free = {donor: sorted(names, key=place.__getitem__) for donor, names in unused.items()}
    cases = Counter(donor for donor, _ in chosen)
    turn: Counter[str] = Counter()
    pairs = []
    for donor, recipient in chosen:
        own = free[donor][turn[donor] :: cases[donor]]
        again = [name for name in sorted(allowed[donor], key=place.__getitem__) if name not in free[donor]]
        again = again[turn[donor] % max(len(again), 1) :] + again[: turn[donor] % max(len(again), 1)]
        turn[donor] += 1
        spares = [name for name in (*own, *again) if name != recipient]
        pairs.append(Pair(donor, recipient, tuple(spares[:wanted])))
    return pairs
