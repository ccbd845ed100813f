"""Ranges of k, the crossing and its set follow from the band, and the sentence from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passk_trl.evaluation import Band, Crossing, KRange, loss_crossing, ranges_of_k, verdict


GAIN_THEN_LOSS = Band(
    value=[0.3, 0.1, -0.1, -0.2, -0.3, -0.3],
    low=[0.2, -0.1, -0.2, -0.3, -0.4, -0.5],
    high=[0.4, 0.2, 0.1, 0.0, -0.1, -0.2],
)


@st.composite
def bands(draw) -> Band:
    value = draw(st.lists(st.integers(-3, 3), min_size=1, max_size=6))
    widths = draw(st.lists(st.integers(0, 3), min_size=len(value), max_size=len(value)))
    low, high = ([v + side * w for v, w in zip(value, widths, strict=True)] for side in (-1, 1))
    return Band(value, low, high)


def crossing_of(curve: list[float]) -> int | None:
    """By its definition: the smallest k at which the difference is negative."""
    return next((k for k, value in enumerate(curve, start=1) if value < 0), None)


def test_each_k_has_one_outcome():
    assert ranges_of_k(GAIN_THEN_LOSS) == [KRange("gain", 1, 1), KRange("undecided", 2, 4), KRange("loss", 5, 6)]
    assert ranges_of_k(Band([0.1, 0.2], None, None)) == [KRange("undecided", 1, 2)]


def test_the_crossing_and_its_set():
    assert loss_crossing(GAIN_THEN_LOSS) == Crossing(3, [(2, 5)], possibly_never=False)
    assert loss_crossing(Band([-0.1, 0.2], None, None)) == Crossing(1, [(1, 2)], possibly_never=True)


@given(band=bands())
def test_the_set_has_exactly_the_crossings_of_the_curves_within_the_band(band):
    """A curve crosses by its signs alone, and within the band each k has its own choice of signs."""
    signs = [
        [sign for sign in (-1, 1) if (low < 0 if sign < 0 else high >= 0)]
        for low, high in zip(band.low, band.high, strict=True)
    ]
    curves = [[]]
    for choices in signs:
        curves = [[*curve, sign] for curve in curves for sign in choices]
    expected = {crossing_of(curve) for curve in curves}
    found = loss_crossing(band)
    allowed = {k for first, last in found.possible for k in range(first, last + 1)}
    assert allowed | ({None} if found.possibly_never else set()) == expected
    assert found.k == crossing_of(band.value)


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (GAIN_THEN_LOSS,
         "gain at k = 1, undecided at 2 to 4, loss at 5 to 6 (95%, all k at once). "
         "Measured, the loss begins at k = 3; the data allow that it begins at 2 to 5 (95%)."),
        (Band([0.2, -0.1], [0.1, -0.3], [0.3, 0.1]),
         "gain at k = 1, undecided at 2 (95%, all k at once). "
         "Measured, the loss begins at k = 2; the data allow that it begins at 2, or at no k up to 2 (95%)."),
        (Band([0.2, 0.1], [0.1, -0.3], [0.3, 0.3]),
         "gain at k = 1, undecided at 2 (95%, all k at once). "
         "Measured, there is no loss up to k = 2; the data allow that it begins at 2, or at no k up to 2 (95%)."),
        (Band([0.1, 0.2, 0.1, -0.2], [-0.1, 0.1, -0.1, -0.3], [0.2, 0.3, 0.2, -0.1]),
         "undecided at k = 1, gain at 2, undecided at 3, loss at 4 (95%, all k at once). "
         "Measured, the loss begins at k = 4; the data allow that it begins at 1 or 3 to 4 (95%)."),
        (Band([-0.2, 0.1, 0.1, 0.1], [-0.4, -0.1, -0.1, -0.1], [-0.1, 0.2, 0.2, 0.2]),
         "loss at k = 1, undecided at 2 to 4 (95%, all k at once)."),
        (Band([-0.2, 0.2], [-0.3, 0.1], [-0.1, 0.3]), "loss at k = 1, gain at 2 (95%, all k at once)."),
        (Band([-0.2, -0.2], [-0.3, -0.3], [-0.1, -0.1]), "loss at k = 1 to 2 (95%, all k at once)."),
        (Band([0.2, 0.2], [0.1, 0.1], [0.3, 0.3]), "gain at k = 1 to 2 (95%, all k at once)."),
        (Band([0.0] * 64, [-0.1] * 64, [0.1] * 64), "undecided at k = 1 to 64 (95%, all k at once)."),
    ],
)  # fmt: skip
def test_the_sentence(band, expected):
    assert verdict(ranges_of_k(band), loss_crossing(band), 0.95) == expected
