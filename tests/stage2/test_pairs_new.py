"""Pairs: the same as ever, in a time that does not grow with the square of the scans."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest

from synthtumour.stage2.pairs import Pair, pair_evenly
from synthtumour.streams import case_generator


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
