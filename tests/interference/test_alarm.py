"""The alarm: what it promises for a whole run, and that it sees a conflict that lasts."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from passk_trl.interference.alarm import alarms, e_process


def test_at_most_five_per_cent_of_runs_without_a_conflict_raise_an_alarm():
    """500 runs of 100 probes, at the border of a conflict. One in two would, if each probe alarmed by its own
    interval. `benchmarks/alarms.py` takes 2,000 runs."""
    z_RT = np.random.default_rng(0).standard_normal((500, 100))
    alarmed = [any(each.in_conflict for each in alarms(z_T)) for z_T in z_RT]
    assert np.mean(alarmed) <= 0.05
    assert (z_RT < -1.96).any(axis=1).mean() > 0.85


def test_a_faint_conflict_that_lasts_is_seen_and_its_end_too():
    """One standard error at each probe: no single probe shows it."""
    rng = np.random.default_rng(1)
    z_T = rng.standard_normal(160) + np.repeat([1.0, -1.0, 1.5], [20, 80, 60])
    states = [each.in_conflict for each in alarms(z_T)]
    entered = states.index(True)
    left = entered + states[entered:].index(False)
    assert 20 <= entered < 60
    assert 100 <= left < 140
    assert not any(states[left:])


@pytest.mark.parametrize("z_T", [[0.3], [-1.0, 2.0], [1.0, 1.5, -0.2, 3.0]])
def test_the_evidence_is_that_of_its_formula(z_T):
    against_T = np.asarray(z_T)

    def mixture(numbers):
        total, count = numbers.sum(), len(numbers)
        return quad(lambda x: 2 * norm.pdf(x) * math.exp(x * total - x**2 * count / 2), 0, 40)[0]

    starts = range(1, len(z_T) + 1)
    expected = sum(mixture(against_T[s - 1 :]) / (s * (s + 1)) for s in starts) + 1 / (len(z_T) + 1)
    assert e_process(against_T) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("before", [[], [0.4], [-2.0, 1.0, 0.3]])
def test_the_evidence_is_not_expected_to_grow_without_a_conflict(before):
    """The integral over the next z-score: a martingale where the inner product is 0, less where it is above."""

    def expected(mean):
        return quad(lambda x: norm.pdf(x, -mean) * e_process(np.asarray([*before, x])), -12, 12, limit=200)[0]

    now = e_process(np.asarray(before)) if before else 1.0
    assert expected(0.0) == pytest.approx(now, rel=1e-6)
    assert expected(0.5) < now


def test_the_evidence_is_about_the_state_before_the_probe():
    [first, second, third] = alarms([-10.0, 0.0, 10.0])
    assert (first.in_conflict, second.in_conflict, third.in_conflict) == (True, True, False)
    assert first.evidence >= 20 > second.evidence
    assert third.evidence >= 20


def test_what_says_nothing_raises_no_alarm_and_nothing_overflows():
    assert not any(each.in_conflict for each in alarms([math.nan] * 50))
    assert alarms([]) == []
    assert math.isfinite(alarms([-37.0] * 200)[0].evidence)
    assert alarms([-37.0])[0].evidence > 1e100
