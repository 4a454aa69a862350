"""Which donor goes with which recipient, and on which side of a split; decided by names and seed alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthtumour.dataset.sides import validation_subjects
from synthtumour.errors import InputError
from synthtumour.streams import case_generator

_NEVER = np.iinfo(np.int64).max


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
    if count < 1 or not donors or not recipients or len({*donors.values(), *recipients.values()}) == 1:
        return []
    cycle = _Cycle(donors, recipients)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < count:
        if not cycle.left.any():
            cycle.begin(*(list(map(str, rng.permutation(sorted(names)))) for names in (donors, recipients)))
        donor, recipient = cycle.next_pair()
        chosen.append((cycle.donors[donor], cycle.recipients[recipient]))
    return _with_spares(chosen, cycle, spares)


class _Cycle:
    """The cycle over donors and recipients, of whom it keeps whole numbers: their places in the drawn order.

    A step costs one look along each order, so the time grows with cases x recipients, and the memory with
    their sum.
    """

    def __init__(self, donors: Mapping[str, str], recipients: Mapping[str, str]) -> None:
        self._subjects = donors, recipients
        self.donors: list[str] = []
        self.recipients: list[str] = []
        self._used, self._uses = dict.fromkeys(donors, 0), dict.fromkeys(recipients, 0)
        self.left = np.zeros(len(donors), np.int64)  # pairs that each donor has left

    def begin(self, donors: list[str], recipients: list[str]) -> None:
        """Have all pairs again, in a new order."""
        self._keep_counts()
        self.donors, self.recipients = donors, recipients
        own, other = self._subjects
        places: dict[str, list[int]] = {}
        for place, name in enumerate(self.recipients):
            places.setdefault(other[name], []).append(place)
        self._own = [np.array(places.get(own[name], ()), np.int64) for name in self.donors]
        self._paired: list[list[int]] = [[] for _ in self.donors]
        self.left = np.array([len(self.recipients) - len(mine) for mine in self._own])
        self.used = np.array([self._used[name] for name in self.donors])
        self.uses = np.array([self._uses[name] for name in self.recipients])
        self._step = 0

    def _keep_counts(self) -> None:
        if self.donors:
            self._used.update(zip(self.donors, self.used.tolist(), strict=True))
            self._uses.update(zip(self.recipients, self.uses.tolist(), strict=True))

    def next_pair(self) -> tuple[int, int]:
        """The places of a donor and a recipient that are to be a pair, noted as one."""
        # The cycle over both lists shifts by one whenever it would come back to where it began, so that it
        # meets every pair once. Whoever had fewer turns goes first, which only shared subjects bring about.
        shift = self._step // math.lcm(len(self.donors), len(self.recipients))
        donor = _least(np.where(self.left > 0, self.used, _NEVER), self._step)
        uses = self.uses.copy()
        uses[self._own[donor]] = uses[self._paired[donor]] = _NEVER
        recipient = _least(uses, self._step + shift)
        self._paired[donor].append(recipient)
        self.left[donor] -= 1
        self.used[donor] += 1
        self.uses[recipient] += 1
        self._step += 1
        return donor, recipient

    def unused(self, donor: int) -> tuple[np.ndarray, np.ndarray]:
        """The recipients that a donor is not paired with, and those that it is; never his own subject's."""
        state = np.zeros(len(self.recipients), np.int8)
        state[self._paired[donor]] = 1
        state[self._own[donor]] = 2
        return np.flatnonzero(state == 0), np.flatnonzero(state == 1)


def _least(counts: np.ndarray, first: int) -> int:
    """Where the least of `counts` is: the first such place from `first` on, round the end."""
    first %= len(counts)
    after = first + int(counts[first:].argmin())
    if first and counts[(before := int(counts[:first].argmin()))] < counts[after]:
        return before
    return after


def _with_spares(chosen: list[tuple[str, str]], cycle: _Cycle, wanted: int) -> list[Pair]:
    """Deal each donor's unused recipients out to its cases; then, for want of any, the used ones again."""
    place = {name: n for n, name in enumerate(cycle.donors)}
    cases = Counter(donor for donor, _ in chosen)
    unused = {donor: cycle.unused(place[donor]) for donor in cases}
    turn: Counter[str] = Counter()
    pairs = []
    for donor, recipient in chosen:
        free, again = unused[donor]
        own = free[turn[donor] :: cases[donor]][: wanted + 1].tolist()
        more = [again[(turn[donor] + n) % len(again)] for n in range(min(wanted + 1, len(again)))]
        turn[donor] += 1
        names = (cycle.recipients[n] for n in (*own, *more))
        spares = [name for name in names if name != recipient]
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
