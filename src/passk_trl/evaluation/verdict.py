"""What a band of differences over k says: where there is a gain, where a loss, and from which k on."""

from dataclasses import dataclass
from itertools import groupby

from .bands import Band


__all__ = ["Crossing", "KRange", "loss_crossing", "ranges_of_k", "verdict"]


@dataclass(frozen=True)
class KRange:
    """
    A range of k with one outcome.

    Args:
        outcome (`str`): `"gain"` if the whole band is above 0, `"loss"` if it is below, else `"undecided"`.
        first, last (`int`): its ends, both included.
    """

    outcome: str
    first: int
    last: int


@dataclass(frozen=True)
class Crossing:
    """
    The k from which on a curve of differences is negative, up to the largest k, and its confidence set.

    Args:
        k (`int`, *optional*): where the measured curve crosses; `None` if it is not negative at the largest k.
        possible (`list[tuple[int, int]]`): the k that the band allows, as ranges with both ends included.
        possibly_never (`bool`): whether the band allows a curve that is not negative at the largest k.
    """

    k: int | None
    possible: list[tuple[int, int]]
    possibly_never: bool


def ranges_of_k(band: Band) -> list[KRange]:
    """The outcome at every k from 1 to the largest, as the fewest ranges. Without a band, all k are undecided."""
    outcomes = ["gain" if low > 0 else "loss" if high < 0 else "undecided" for low, high in _ends(band)]
    return [KRange(outcome, first, last) for outcome, first, last in _runs(outcomes)]


def loss_crossing(band: Band) -> Crossing:
    """
    The k from which on the curve is negative, with all k that the band does not exclude.

    That k is the crossing if the curve is negative at k … K and not at k − 1. The band allows this if its low ends at
    k … K are below 0 and its high end at k − 1 is not. Wherever the band holds the whole curve, the set holds the true
    k, so it does so at least as often as the band.
    """
    ends = _ends(band)
    estimate = next((k for k in range(len(ends), 0, -1) if band.value[k - 1] >= 0), 0) + 1
    fewest = next((k for k in range(len(ends), 0, -1) if ends[k - 1][0] >= 0), 0) + 1
    allowed = [k >= fewest and (k == 1 or ends[k - 2][1] >= 0) for k in range(1, len(ends) + 1)]
    return Crossing(
        k=estimate if estimate <= len(ends) else None,
        possible=[(first, last) for is_allowed, first, last in _runs(allowed) if is_allowed],
        possibly_never=ends[-1][1] >= 0,
    )


def verdict(ranges: list[KRange], crossing: Crossing, confidence: float) -> str:
    """The outcome at every k, and the crossing if it is in doubt, in words."""
    level = f"{100 * confidence:.10g}%"
    parts = [f"{each.outcome} at {'' if i else 'k = '}{_span(each.first, each.last)}" for i, each in enumerate(ranges)]
    sentences = [f"{', '.join(parts)} ({level}, all k at once)."]
    if crossing.possible and len(ranges) > 1:
        largest = ranges[-1].last
        measured = f"it does not lose at k = {largest}" if crossing.k is None else f"it loses from k = {crossing.k} on"
        possible = " or ".join(_span(*each) for each in crossing.possible)
        never = f", or there is none up to {largest}" if crossing.possibly_never else ""
        sentences.append(f"Measured, {measured}; the true k from which on it loses is {possible}{never} ({level}).")
    return " ".join(sentences)


def _ends(band: Band) -> list[tuple[float, float]]:
    if band.low is None or band.high is None:
        return [(float("-inf"), float("inf"))] * len(band.value)
    return list(zip(band.low, band.high, strict=True))


def _runs(values: list) -> list[tuple]:
    """Each run of equal values, with the first and the last k at which it is."""
    runs = [(value, list(ks)) for value, ks in groupby(range(1, len(values) + 1), key=lambda k: values[k - 1])]
    return [(value, ks[0], ks[-1]) for value, ks in runs]


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
