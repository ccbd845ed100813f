"""Intervals and tests are those of scipy, and have the right answer where it is known."""

import numpy as np
import pytest
import scipy.stats
import torch

import passk_trl.evaluation.resampling
from passk_trl.evaluation import compare, evaluate_counts
from passk_trl.evaluation.resampling import mean_intervals
from success_counts import N, drawn_counts, drawn_rates, n, values


@pytest.mark.parametrize("k", [1, 8])
def test_intervals_are_those_of_scipy(k):
    rng = np.random.default_rng(1)
    num_correct = drawn_counts(rng, drawn_rates(rng))
    [estimate] = evaluate_counts(num_correct, n, [k], confidence=0.9, num_resamples=50_000)
    data = (values(num_correct, k),)
    theirs = scipy.stats.bootstrap(data, np.mean, n_resamples=50_000, confidence_level=0.9, method="BCa", rng=rng)
    low, high = theirs.confidence_interval
    assert estimate.low == pytest.approx(low, abs=0.02 * (high - low))
    assert estimate.high == pytest.approx(high, abs=0.02 * (high - low))


@pytest.mark.parametrize("num_prompts", [5, 9])
def test_few_prompts_are_tested_exactly(num_prompts):
    rng = np.random.default_rng(7)
    counts = drawn_counts(rng, np.full(num_prompts, 0.5)), drawn_counts(rng, np.full(num_prompts, 0.3))
    differences = values(counts[0], 2) - values(counts[1], 2)
    [ours] = compare((counts[0], n), (counts[1], n), [2])
    theirs = scipy.stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert 0 < ours.p_value < 1


def test_random_signs_count_those_that_were_met():
    [difference] = compare((torch.full((N,), 9), n), (torch.full((N,), 1), n), [1], num_resamples=999)
    assert difference.p_value == 1 / 1000


def test_resampling_in_parts_is_the_same(monkeypatch):
    rng = np.random.default_rng(9)
    counts = [(drawn_counts(rng, drawn_rates(rng)), n) for _ in range(2)]
    whole = compare(*counts, [1, 4], num_resamples=1000)
    monkeypatch.setattr(passk_trl.evaluation.resampling, "_NUMBERS_AT_A_TIME", 7 * N)
    assert compare(*counts, [1, 4], num_resamples=1000) == whole


def test_few_prompts_have_no_interval_and_equal_ones_one_without_width():
    assert [(e.low, e.high) for e in evaluate_counts(torch.arange(7), 8, [1, 2])] == [(None, None)] * 2
    [estimate] = evaluate_counts(torch.full((9,), 3), 10, [3])
    assert estimate.low == pytest.approx(estimate.high) == pytest.approx(estimate.value)


@pytest.mark.parametrize("scale", [1, 1e-9, 1e-11])
def test_numbers_that_differ_by_little_have_an_interval(scale):
    """As pass@32 of prompts that are mostly solved, which is 1 - 1e-10."""
    values_NK = 1 - scale * torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for (low, high), (unit_low, unit_high), mean in zip(
        mean_intervals(values_NK, 0.95, 2000, seed=0),
        mean_intervals((values_NK - 1) / scale, 0.95, 2000, seed=0),
        values_NK.mean(dim=0).tolist(),
        strict=True,
    ):
        assert low < mean < high
        assert (low - 1) / scale == pytest.approx(unit_low, abs=1e-3)
        assert (high - 1) / scale == pytest.approx(unit_high, abs=1e-3)


def test_one_prompt_is_no_evidence():
    [difference] = compare((torch.tensor([9]), n), (torch.tensor([1]), n), [1])
    assert difference.p_value == 1
