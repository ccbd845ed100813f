import pytest
import torch

from passk_trl.control.mixed_advantages import mean_prompt_weight, mixed_advantages
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import pass_at_k, passk_advantages, prompt_weight
from passk_trl.interference import measure_interference


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


@pytest.mark.parametrize("estimate", ["probe", "batch"])
@pytest.mark.parametrize("num_rollouts", [9, 16])
def test_probe_and_batch_measure_the_same_mean_weight(estimate, num_rollouts):
    """A share must mean the same before the first probe and after it."""
    counts = torch.tensor([0] * 8 + [1] * 4 + [num_rollouts - 2] * 4)
    gradients = torch.ones(16, 1)
    probe = measure_interference(gradients @ gradients.T, counts, num_rollouts, [1, 8])
    batch = (torch.arange(num_rollouts) < counts[:, None]).double()
    expected = float((8 * (1 - torch.as_tensor(pass_at_k(num_rollouts, counts, 7)))).mean())
    if estimate == "probe":
        assert two_gradients([probe], 8).mean_weight == pytest.approx(expected)
    else:
        torch.testing.assert_close(mixed_advantages(batch, 8, 0.0), passk_advantages(batch, 8) / expected)
