"""The alarm: what it promises for a whole run, and that it sees a conflict that lasts."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from bandit_world import WORLD
from passk_trl.interference import measure_interference
from passk_trl.interference.alarm import alarms, e_process


MARGIN = norm.ppf(0.975)  # of an estimate whose error is 1


def states(inner_products, margins=None):
    margins = [MARGIN] * len(inner_products) if margins is None else margins
    return [each.in_conflict for each in alarms(inner_products, margins)]


def test_at_most_five_per_cent_of_runs_without_a_conflict_raise_an_alarm():
    """500 runs of 100 probes, at the border of a conflict. Nine in ten would, if each probe alarmed by its own
    interval. `benchmarks/alarms.py` takes 2,000 runs."""
    estimates_RT = np.random.default_rng(0).standard_normal((500, 100))
    assert np.mean([any(states(estimates_T)) for estimates_T in estimates_RT]) <= 0.05
    assert (estimates_RT < -MARGIN).any(axis=1).mean() > 0.85


def test_estimates_whose_error_falls_with_them_raise_no_more_alarms():
    """Those of probes. Divided by their own errors they have a mean below 0, and would alarm in one run of six."""
    border = brentq(lambda k: WORLD.inner_product([k]).item(), 2, 8)
    generator = torch.Generator().manual_seed(0)
    reports = [measure_interference(*WORLD.probe(64, 16, generator), 16, [1, border]) for _ in range(600)]
    ends = torch.stack([torch.stack([each.inner_product[1], each.inner_product_high[1]]) for each in reports])
    values, margins = ends[:, 0].numpy(), (ends[:, 1] - ends[:, 0]).numpy()
    assert (values / margins).mean() < -0.03
    values = values - values.mean()  # of 600 probes it is not 0 itself
    drawn_RT = np.random.default_rng(0).integers(0, 600, (300, 100))
    assert np.mean([any(states(values[drawn_T], margins[drawn_T])) for drawn_T in drawn_RT]) <= 0.05


def test_a_faint_conflict_that_lasts_is_seen_and_its_end_too():
    """One standard error at each probe: no single probe shows it."""
    rng = np.random.default_rng(1)
    found = states(rng.standard_normal(160) + np.repeat([1.0, -1.0, 1.5], [20, 80, 60]))
    entered = found.index(True)
    left = entered + found[entered:].index(False)
    assert 20 <= entered < 60
    assert 100 <= left < 140
    assert not any(found[left:])


def looks_of_blocks(units_BU: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the first 1, 2, 4 … of U normal numbers in each of B blocks, and margins: a ride's record of each."""
    B, U = units_BU.shape
    sizes = [2**j for j in range(U.bit_length())]
    values, margins = np.full((B * U, len(sizes)), math.nan), np.full((B * U, len(sizes)), math.nan)
    for j, size in enumerate(sizes):
        values[size - 1 :: U, j] = units_BU[:, :size].mean(axis=1)
        margins[size - 1 :: U, j] = MARGIN / math.sqrt(size)
    return values, margins


def test_at_most_five_per_cent_of_rides_without_a_conflict_raise_an_alarm():
    """500 rides of 40 blocks, each looked at five times."""
    units_RBU = np.random.default_rng(0).standard_normal((500, 40, 16))
    assert np.mean([any(states(*looks_of_blocks(units_BU))) for units_BU in units_RBU]) <= 0.05


def test_early_looks_announce_a_strong_conflict_before_its_block_is_full_and_later_ones_a_faint_one():
    noise_RBU = np.random.default_rng(0).standard_normal((40, 30, 16))

    def announced(strength: float) -> float:
        runs = [states(*looks_of_blocks(units_BU - strength)) for units_BU in noise_RBU]
        return float(np.median([run.index(True) + 1 if True in run else math.inf for run in runs]))

    assert announced(5.0) < 3  # of the 16 records of a block
    assert 16 < announced(0.5) < 100


def test_each_series_counts_its_own_looks_and_the_largest_evidence_counts():
    values_T2 = np.array([[1.0, math.nan], [math.nan, -2.0], [-1.5, math.nan], [0.5, -3.0]])
    margins_T2 = np.where(np.isnan(values_T2), math.nan, MARGIN)
    found = [each.evidence for each in alarms(values_T2, margins_T2)]
    first = [each.evidence for each in alarms([1.0, -1.5, 0.5], [MARGIN] * 3)]
    second = [each.evidence for each in alarms([-2.0, -3.0], [MARGIN] * 2)]
    expected = [max(first[0], 1.0), max(first[0], second[0]), max(first[1], second[0]), max(first[2], second[1])]
    assert found == pytest.approx([evidence / 2 for evidence in expected])


@pytest.mark.parametrize("estimates", [[0.3], [-1.0, 2.0], [1.0, 1.5, -0.2, 3.0]])
def test_the_evidence_is_that_of_its_formula(estimates):
    against_T, variances_T = np.asarray(estimates), np.linspace(0.5, 2.0, len(estimates))

    def mixture(numbers, variances):
        total, variance = numbers.sum(), variances.sum()
        return quad(lambda x: 2 * norm.pdf(x) * math.exp(x * total - x**2 * variance / 2), 0, 40)[0]

    starts = range(1, len(estimates) + 1)
    mixtures = [mixture(against_T[s - 1 :], variances_T[s - 1 :]) / (s * (s + 1)) for s in starts]
    expected = sum(mixtures) + 1 / (len(estimates) + 1)
    assert e_process(against_T, variances_T) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("before", [[], [0.4], [-2.0, 1.0, 0.3]])
@pytest.mark.parametrize("error", [0.5, 1.0, 3.0])
def test_the_evidence_is_not_expected_to_grow_without_a_conflict(before, error):
    """The integral over the next estimate: a martingale where the inner product is 0, less where it is above."""
    variances = np.asarray([*np.ones(len(before)), error**2])

    def expected(mean):
        def weighted(x):
            return norm.pdf(x, -mean, error) * e_process(np.asarray([*before, x]), variances)

        return quad(weighted, -40 * error, 40 * error, limit=500, points=[0.0, 5 * error, -5 * error])[0]

    now = e_process(np.asarray(before), np.ones(len(before))) if before else 1.0
    assert expected(0.0) == pytest.approx(now, rel=1e-5)
    assert expected(0.5 * error) < now


def test_the_scale_of_the_gradients_does_not_matter_and_may_change():
    estimates, margins = np.array([0.3, -2.0, -3.0, 0.5, -4.0]), np.array([1.0, 2.0, 1.5, 1.2, 2.0])
    found = alarms(estimates, margins)
    assert [each.evidence for each in alarms(1e-9 * estimates, 1e-9 * margins)] == pytest.approx(
        [each.evidence for each in found]
    )
    shrinking = 0.1 ** np.arange(40)
    assert any(states(-1.5 * shrinking, MARGIN * shrinking))
    assert not any(states(1.5 * shrinking, MARGIN * shrinking))


def test_the_evidence_is_about_the_state_before_the_probe():
    [first, second, third] = alarms([-10.0, 0.0, 10.0], [MARGIN] * 3)
    assert (first.in_conflict, second.in_conflict, third.in_conflict) == (True, True, False)
    assert first.evidence >= 20 > second.evidence
    assert third.evidence >= 20


def test_what_says_nothing_raises_no_alarm_and_nothing_overflows():
    assert not any(states([math.nan] * 50, [math.nan] * 50))
    assert states([0.0] * 5, [0.0] * 5) == [False] * 5
    assert alarms([], []) == []
    assert all(math.isfinite(each.evidence) for each in alarms([-1.0] * 200, [0.0] * 200))
    assert states([math.nan, -1.0], [math.nan, 0.0]) == [False, True]
    assert states([1.0, math.nan, -10.0], [1.0, math.nan, 1.0])[2]


@pytest.mark.parametrize(("estimates", "margins"), [([-1.0, -1.0], [-1.0, 1.0]), ([1.0, 2.0], [1.0])])
def test_margins_that_are_none_are_refused(estimates, margins):
    with pytest.raises(ValueError, match="`margins` must be half the width of the interval of each of 2"):
        alarms(estimates, margins)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_a_level_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match="`confidence` must be between 0 and 1"):
        alarms([1.0], [1.0], confidence)
