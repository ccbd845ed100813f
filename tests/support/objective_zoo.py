"""All kinds of objectives, with definitions of their own in exact arithmetic."""

import math
from fractions import Fraction
from itertools import product

import pytest
import torch


# The definition of each decision, independent of the code: its success if i of k attempts are correct.
DECISIONS = {
    "pass@1": lambda i, k: i >= 1,
    "pass@3": lambda i, k: i >= 1,
    "max@4": lambda i, k: i >= 1,
    "majority@1": lambda i, k: i > k / 2,
    "majority@3": lambda i, k: i > k / 2,
    "majority@5": lambda i, k: i > k / 2,
    "power:1": lambda i, k: i == k,
    "power:2": lambda i, k: i == k,
    "maxrl@1": lambda i, k: sum(Fraction(1, j) for j in range(1, i + 1)),
    "maxrl@3": lambda i, k: sum(Fraction(1, j) for j in range(1, i + 1)),
}
PLUGGED_IN = ["power:0.5", "power:2.5", "risk:2", "risk:-1.5", "grpo"]
every_decision = pytest.mark.parametrize("name", DECISIONS)
every_objective = pytest.mark.parametrize("name", [*DECISIONS, "maxrl", *PLUGGED_IN])
INSIDE = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


def attempts_of(name: str) -> int:
    return int(name.replace(":", "@").split("@")[1])


def polynomial(name: str) -> list[Fraction]:
    """Coefficients of f in p, by going through the outcomes of k attempts: Σ_i g(i) C(k, i) p^i (1 − p)^(k−i)."""
    k, coefficients = attempts_of(name), [Fraction(0)] * (attempts_of(name) + 1)
    for outcome in product((0, 1), repeat=k):
        i = sum(outcome)
        for j in range(k - i + 1):
            coefficients[i + j] += DECISIONS[name](i, k) * math.comb(k - i, j) * (-1) ** j
    return coefficients


def exact_weight(name: str, p: Fraction) -> Fraction:
    """f′(p), by the rule for powers of p."""
    return sum(j * coefficient * p ** (j - 1) for j, coefficient in enumerate(polynomial(name)) if j)
