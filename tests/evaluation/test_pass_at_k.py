"""Pass@k with intervals and a paired test: right where the truth is known."""

import math

import numpy as np
import pytest
import torch

from passk_trl.evaluation import compare, evaluate, evaluate_counts, split_by_success
from success_counts import N, drawn_counts, drawn_rates, n, true_pass_at, values


def test_the_value_is_the_mean_of_the_prompts_unbiased_estimates():
    num_correct = drawn_counts(np.random.default_rng(0), np.linspace(0, 1, N))
    for estimate in evaluate_counts(num_correct, n, [1, 4, 16]):
        assert estimate.value == pytest.approx(values(num_correct, estimate.k).mean(), abs=1e-12)
        assert estimate.low < estimate.value < estimate.high


def test_prompts_may_have_different_numbers_of_rollouts():
    [estimate] = evaluate_counts(torch.tensor([1, 2]), torch.tensor([4, 8]), [3])
    assert estimate.value == pytest.approx((1 - 1 / 4 + 1 - 20 / 56) / 2)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    worlds, ks = 400, [1, 4]
    held = np.zeros(len(ks))
    for world in range(worlds):
        num_correct = drawn_counts(rng, drawn_rates(rng))
        estimates = evaluate_counts(num_correct, n, ks, confidence=0.9, num_resamples=500, seed=world)
        held += [estimate.low <= true_pass_at(estimate.k) <= estimate.high for estimate in estimates]
    error = math.sqrt(0.9 * 0.1 / worlds)
    assert held / worlds == pytest.approx(0.9, abs=3 * error), held


@pytest.mark.parametrize("against", [lambda rates: rates, lambda rates: np.full(N, 0.25)], ids=["same", "same_mean"])
def test_the_test_of_no_difference_is_significant_as_rarely_as_it_says(against):
    """Of two policies that solve each prompt as often, and of two that agree over all prompts and in none."""
    rng = np.random.default_rng(3)
    worlds, significant = 400, 0
    for world in range(worlds):
        rates = drawn_rates(rng)  # 0.25 in the mean
        counts, counts_against = drawn_counts(rng, rates), drawn_counts(rng, against(rates))
        [difference] = compare((counts, n), (counts_against, n), [1], num_resamples=500, seed=world)
        significant += difference.p_value <= 0.1
    error = math.sqrt(0.1 * 0.9 / worlds)
    assert significant / worlds == pytest.approx(0.1, abs=3 * error), significant


def test_intervals_of_a_difference_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(4)
    worlds, held = 400, 0
    for world in range(worlds):
        rates = drawn_rates(rng)
        counts = [(drawn_counts(rng, p, m), m) for p, m in ((1 - (1 - rates) ** 2, 8), (rates, n))]
        [difference] = compare(*counts, [2], confidence=0.9, num_resamples=500, seed=world)
        held += difference.low <= true_pass_at(4) - true_pass_at(2) <= difference.high
    error = math.sqrt(0.9 * 0.1 / worlds)
    assert held / worlds == pytest.approx(0.9, abs=3 * error), held


def test_what_prompts_have_in_common_cancels():
    rng = np.random.default_rng(5)
    rates = np.repeat([0.05, 0.85], N // 2)
    better, worse = drawn_counts(rng, rates + 0.1), drawn_counts(rng, rates)
    [paired] = compare((better, n), (worse, n), [1])
    [unpaired] = compare((better, n), (worse.flip(0), n), [1])
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.p_value < 0.001 < 0.05 < unpaired.p_value
    assert 4 * (paired.high - paired.low) < unpaired.high - unpaired.low


def test_a_difference_turned_round():
    rng = np.random.default_rng(6)
    one, other = ((drawn_counts(rng, drawn_rates(rng)), n) for _ in range(2))
    for there, back in zip(compare(one, other, [1, 8]), compare(other, one, [1, 8]), strict=True):
        assert (there.value, there.p_value) == (-back.value, back.p_value)
        assert there.low == pytest.approx(-back.high, abs=1e-3)


def test_nothing_differs_between_a_policy_and_itself():
    counts = (drawn_counts(np.random.default_rng(8), np.linspace(0, 1, N)), n)
    for difference in compare(counts, counts, [1, 2]):
        assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_one_policy_or_two():
    rng = np.random.default_rng(10)
    successes = [torch.from_numpy(rng.binomial(1, 0.4, size=(N, rollouts))) for rollouts in (8, 12)]
    alone, both = evaluate(successes[:1], [1, 2]), evaluate(successes, [1, 2])
    assert alone.differences == []
    assert both.policies[0] == alone.policies[0]
    assert both.policies[1] == evaluate_counts(successes[1].sum(dim=1), 12, [1, 2])
    assert both.differences == compare((successes[0].sum(dim=1), 8), (successes[1].sum(dim=1), 12), [1, 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate_counts(torch.tensor([1, 2]), 8, [1, 9]),
         "pass@9 has no unbiased estimate from 8 rollouts of a prompt: set ks between 1 and 8, or num_rollouts to at "
         "least 9"),
        (lambda: evaluate_counts(torch.tensor([1, 2]), torch.tensor([8, 4]), [5]), "pass@5 has no unbiased .* from 4"),
        (lambda: evaluate_counts(torch.tensor([1, 2]), 8, [0]), "pass@0 has no .*: set ks between 1 and 8.$"),
        (lambda: evaluate_counts(torch.tensor([]), 8, [1]), "there is no prompt to evaluate"),
        (lambda: evaluate_counts(torch.arange(9), 9, [1], confidence=95), "confidence=95 is not between 0 and 1"),
        (lambda: compare((torch.arange(3), 3), (torch.arange(2), 3), [1]), "3 prompts cannot be paired with 2"),
        (lambda: split_by_success(torch.ones(4, 1)), "1 rollout cannot both choose a prompt's band and measure it"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
