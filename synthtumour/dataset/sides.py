"""The split: which subjects validate, and which scans or cases stay without a tumour."""

from __future__ import annotations

from collections.abc import Iterable

from synthtumour.streams import hashed, uniform


def validation_subjects(subjects: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The `fraction` of `subjects`, rounded, that the validation task gets.

    Subjects are ranked by a hash of seed and name, and the first of that ranking are taken: neither the order
    in which a folder is listed nor the number of scans or variants matters. With two or more subjects and a
    fraction above 0, each side has at least one. A rank depends on the subjects beside it, so a subset of a
    folder keeps its sides only if the split is made over the whole folder (`--subjects` does that).
    """
    ranking = sorted(set(subjects), key=lambda name: (hashed(seed, name), name))
    count = round(fraction * len(ranking))
    if fraction > 0 and len(ranking) > 1:
        count = min(max(count, 1), len(ranking) - 1)
    return set(ranking[:count])


def tumour_free(scans: Iterable[str], fraction: float, seed: int) -> set[str]:
    """The `fraction` of `scans`, rounded but at least one, that are also given to the network as they are."""
    ranking = sorted(set(scans), key=lambda name: (hashed(seed, f"tumour-free {name}"), name))
    return set(ranking[: max(round(fraction * len(ranking)), int(fraction > 0))])


def gets_no_tumour(drawn_for: str, probability: float, seed: int) -> bool:
    """Whether the training case `drawn_for` stays without a tumour; it depends on its name and seed only."""
    return uniform(seed, f"no tumour {drawn_for}") < probability


def head_scale(drawn_for: str, bounds: tuple[float, float], seed: int) -> float:
    """By how much the head of the training case `drawn_for` is resized, by its name and seed only."""
    low, high = bounds
    return round(low + (high - low) * uniform(seed, f"head {drawn_for}"), 3)
