"""Pass@k and pass^k of counts: unbiased, paired on prompts, with bands for every k."""

from math import comb

import numpy as np
import pytest
import torch

from passk_trl.evaluation import check_ks, evaluate_counts, simultaneous_band, split_by_success
from success_counts import N, counts_of, drawn_counts, drawn_rates, n, pass_at_ks


def test_the_values_are_the_means_of_the_prompts_unbiased_estimates():
    num_correct = drawn_counts(np.random.default_rng(0), np.linspace(0, 1, N))
    evaluation = evaluate_counts([counts_of(num_correct)], num_resamples=100)
    [at], [hat] = evaluation.pass_at_k.policies, evaluation.pass_hat_k.policies
    assert (evaluation.num_prompts, evaluation.largest_k) == (N, n)
    for k in range(1, n + 1):
        misses = [comb(n - c, k) / comb(n, k) for c in num_correct.tolist()]
        hits = [comb(c, k) / comb(n, k) for c in num_correct.tolist()]
        assert at.value[k - 1] == pytest.approx(1 - sum(misses) / N, abs=1e-12)
        assert hat.value[k - 1] == pytest.approx(sum(hits) / N, abs=1e-12)
    for band in (at, hat):
        assert all(low <= value <= high for low, value, high in zip(band.low, band.value, band.high, strict=True))


def test_prompts_and_policies_may_have_different_numbers_of_rollouts():
    one = (torch.tensor([1, 2]), torch.tensor([4, 8]))
    other = (torch.tensor([3, 5]), torch.tensor([3, 5]))
    evaluation = evaluate_counts([one, other])
    assert evaluation.largest_k == 3
    assert evaluation.pass_at_k.policies[0].value[2] == pytest.approx((1 - 1 / 4 + 1 - 20 / 56) / 2)
    assert evaluation.pass_hat_k.difference.value == pytest.approx([0.25 - 1, (1 / 28) / 2 - 1, -1])
    assert evaluation.pass_hat_k.policies[1].value == pytest.approx([1, 1, 1])


def test_what_prompts_have_in_common_cancels():
    rng = np.random.default_rng(5)
    rates = np.repeat([0.05, 0.85], N // 2)
    better, worse = drawn_counts(rng, rates + 0.1), drawn_counts(rng, rates)
    paired, unpaired = (
        evaluate_counts([counts_of(better), counts_of(other)]).pass_at_k for other in (worse, worse.flip(0))
    )
    widths = [curves.difference.high[0] - curves.difference.low[0] for curves in (paired, unpaired)]
    assert paired.difference.value[0] == pytest.approx(unpaired.difference.value[0])
    assert 3 * widths[0] < widths[1]
    assert [paired.ranges[0].outcome, unpaired.ranges[0].outcome] == ["gain", "undecided"]


def test_a_comparison_turned_round_exchanges_gain_and_loss():
    rng = np.random.default_rng(6)
    one, other = counts_of(drawn_counts(rng, np.full(N, 0.4))), counts_of(drawn_counts(rng, np.full(N, 0.2)))
    there, back = evaluate_counts([one, other]).pass_at_k, evaluate_counts([other, one]).pass_at_k
    exchanged = {"gain": "loss", "loss": "gain", "undecided": "undecided"}
    assert [(exchanged[each.outcome], each.first, each.last) for each in there.ranges] == [
        (each.outcome, each.first, each.last) for each in back.ranges
    ]
    assert there.ranges[0].outcome == "gain"
    assert back.crossing.k == 1


def test_nothing_is_decided_between_a_policy_and_itself():
    counts = counts_of(drawn_counts(np.random.default_rng(8), np.linspace(0, 1, N)))
    for curves in (evaluate_counts([counts, counts]).pass_at_k, evaluate_counts([counts, counts]).pass_hat_k):
        assert curves.difference.value == [0] * n
        assert [(each.outcome, each.first, each.last) for each in curves.ranges] == [("undecided", 1, n)]
        assert curves.crossing.possibly_never


def test_one_policy_or_two():
    rng = np.random.default_rng(10)
    counts = [counts_of(drawn_counts(rng, drawn_rates(rng), rollouts), rollouts) for rollouts in (8, 12)]
    alone, both = evaluate_counts(counts[:1]), evaluate_counts(counts)
    assert (alone.pass_at_k.difference, alone.pass_at_k.ranges, alone.pass_at_k.crossing) == (None, [], None)
    assert both.pass_at_k.policies[0] == alone.pass_at_k.policies[0]
    values = [pass_at_ks(num_correct, int(num_samples[0]))[:, :8] for num_correct, num_samples in counts]
    assert both.pass_at_k.difference.low == pytest.approx(simultaneous_band(values[0] - values[1], (-1, 1)).low)


def test_few_prompts_have_curves_but_no_band_and_no_decision():
    counts = [counts_of(torch.full((7,), correct)) for correct in (n, 0)]
    curves = evaluate_counts(counts).pass_at_k
    assert curves.difference.value == [1] * n
    assert curves.difference.low is curves.policies[0].high is None
    assert [each.outcome for each in curves.ranges] == ["undecided"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_ks([1, 9], 8),
         "pass@9 has no unbiased estimate from 8 rollouts of a prompt: set ks between 1 and 8, or sample at least "
         r"9 of each \(num_rollouts\)"),
        (lambda: check_ks([0], 8), "pass@0 has no .*: set ks between 1 and 8.$"),
        (lambda: evaluate_counts([counts_of(torch.tensor([]))]), "there is no prompt to evaluate"),
        (lambda: evaluate_counts([(torch.tensor([0, 1]), torch.tensor([0, 1]))]), "a prompt has no rollout"),
        (lambda: evaluate_counts([counts_of(torch.arange(9))], confidence=95), "confidence=95 is not between 0 and 1"),
        (lambda: evaluate_counts([counts_of(torch.arange(3)), counts_of(torch.arange(2))]),
         "3 prompts cannot be paired with 2"),
        (lambda: split_by_success(torch.ones(4, 1)), "1 rollout cannot both choose a prompt's band and measure it"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
