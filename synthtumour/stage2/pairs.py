"""Which donor goes with which recipient, and on which side of a split; decided by names and seed alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from synthtumour.dataset.sides import validation_subjects
from synthtumour.errors import InputError
from synthtumour.streams import case_generator


@dataclass(frozen=True)
class Pair:
    """A donor and a recipient by name, and the `spares`: recipients to try where the first does not fit."""

    donor: str
    recipient: str
    spares: tuple[str, ...]


def pair_evenly(
    donors: Mapping[str, str], recipients: Mapping[str, str], count: int, seed: int, spares: int = 3
) -> list[Pair]:
    """`count` pairs of `donors` and `recipients`, both given as name: subject; nobody gets his own tumour.

    Donors and recipients are cycled in an order drawn from the seed, each as often as any other (within one,
    unless shared subjects forbid it), and no pair comes twice before all have been used. Spares are pairs
    that no case uses, as long as there are any. [] if every donor is every recipient's own subject.
    """
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
    return _with_spares(chosen, allowed, unused, recipient_place, spares)


def _with_spares(
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


def held_out_subjects(
    donors: Mapping[str, str], recipients: Mapping[str, str], fraction: float, seed: int
) -> set[str]:
    """The subjects of the validation side: that `fraction` of the donors', and of the other recipients'.

    Raises InputError if the donors are of one subject only: then there is nothing to validate on.
    """
    donor_subjects = set(donors.values())
    if len(donor_subjects) < 2:
        raise InputError(
            f"--combine needs donors of two subjects or more for a split, and there is only "
            f"{', '.join(sorted(donor_subjects))}; add donors, or leave --combine out"
        )
    others = set(recipients.values()) - donor_subjects
    return validation_subjects(donor_subjects, fraction, seed) | validation_subjects(others, fraction, seed)


def pair_within_sides(
    donors: Mapping[str, str], recipients: Mapping[str, str], count: int, seed: int, held_out: set[str]
) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and for validation, `count` in all: none joins subjects of two sides."""

    def on(side: bool, heads: Mapping[str, str]) -> dict[str, str]:
        return {name: subject for name, subject in heads.items() if (subject in held_out) == side}

    share = round(count * len(on(True, donors)) / len(donors))
    validation = pair_evenly(on(True, donors), on(True, recipients), share, seed)
    return pair_evenly(on(False, donors), on(False, recipients), count - len(validation), seed), validation
