"""Groups of rewards that every estimator is tried on, and exact arithmetic with them."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import strategies as st

from passk_trl.estimators import ESTIMATORS, UNBIASED_ESTIMATORS, allowed_k


MAX_N = 8
NAN = math.nan
ZOO = {
    "all wrong": [0.0] * 6,
    "one right": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    "half right": [1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
    "one wrong": [1.0, 1.0, 1.0, 1.0, 0.0, 1.0],
    "all right": [1.0] * 6,
    "plus and minus one": [-1.0, 1.0, -1.0, -1.0, 1.0, -1.0],
    "real": [0.25, -1.5, 2.0, 0.5, 0.75, -0.125],
    "ties": [0.5, 2.0, 0.5, -1.0, 2.0, 0.5],
    "all equal": [0.1] * 6,
}
in_zoo = pytest.mark.parametrize("rewards", ZOO.values(), ids=ZOO.keys())
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
unbiased_estimators = pytest.mark.parametrize("estimator", UNBIASED_ESTIMATORS)


def comb(a: int, b: int) -> int:
    """C(a, b), 0 when b > a, and 1 for C(·, 0)."""
    return 1 if b == 0 else math.comb(a, b) if a >= 0 else 0


def binary_group(n: int, c: int) -> list[float]:
    return [1.0] * c + [0.0] * (n - c)


def as_fraction(value: float) -> Fraction:
    """The rational number that was rounded to `value`: the only one near it with a small denominator."""
    exact = Fraction(value).limit_denominator(10_000)
    assert abs(float(exact) - value) <= 1e-12 * max(1.0, abs(value))
    return exact


def groups_and_ks(estimator: str, max_n: int = MAX_N):
    return [(n, k) for n in range(1, max_n + 1) for k in allowed_k(estimator, n)]


def mean(values) -> Fraction:
    values = list(values)
    return Fraction(sum(values)) / len(values)


def subset_maxima(rewards, subsets) -> list:
    return [max(rewards[i] for i in subset) for subset in subsets]


def relative_error(actual: float, expected: Fraction) -> float:
    return float(abs(Fraction(actual) - expected) / abs(expected)) if expected else abs(actual)


rewards_on_a_grid = (
    st.integers(2, 7)
    .flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-16, 16).map(lambda i: i / 8) | st.just(NAN), min_size=n, max_size=n),
            min_size=1,
            max_size=4,
        )
    )
    .map(lambda rows: torch.tensor(rows, dtype=torch.float64))
)


def every_setting(num_rollouts: int):
    return [(estimator, k) for estimator in ESTIMATORS for k in allowed_k(estimator, num_rollouts)]
