import math

import pytest
import torch

from passk_trl.control.mixed_advantages import mean_prompt_weight, mixed_advantages
from passk_trl.estimators import passk_advantages, prompt_weight
from situations import rewards


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.7])
def test_the_mean_prompt_weight_is_unbiased(k, p):
    """By enumeration, for a prompt with 8 rollouts that is solved with probability p."""
    counts = torch.arange(9)
    chances = torch.distributions.Binomial(8, torch.tensor(p).double()).log_prob(counts.double()).exp()
    means = [mean_prompt_weight(torch.tensor([8]), counts[c : c + 1], k) for c in counts]
    assert chances @ torch.tensor(means).double() == pytest.approx(prompt_weight(p, k))


def test_a_prompt_of_sampling_weight_two_counts_twice_in_the_mean():
    samples, correct = torch.tensor([16] * 3), torch.tensor([1, 1, 8])
    twice = mean_prompt_weight(samples[1:], correct[1:], 8, torch.tensor([2.0, 1.0]))
    assert twice == pytest.approx(mean_prompt_weight(samples, correct, 8))


def test_without_a_prompt_that_was_scored_often_enough_there_is_no_mean_weight():
    assert math.isnan(mean_prompt_weight(torch.tensor([6, 2]), torch.tensor([1, 1]), 8))
    assert mean_prompt_weight(torch.tensor([0]), torch.tensor([0]), 1) == 1


def test_a_mean_weight_of_almost_0_does_not_amplify_without_limit():
    batch = rewards([1, 8])
    torch.testing.assert_close(mixed_advantages(batch, 8, 0.0, 0.0), 1000 * passk_advantages(batch, 8))
