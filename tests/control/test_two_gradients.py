from dataclasses import replace

import pytest
import torch

from passk_trl.control.two_gradients import TwoGradients, nearest_gram, two_gradients
from passk_trl.estimators import pass_at_k, unbiased_prompt_weight
from situations import line_report, report


def test_a_k_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="did not measure pass_at_k=9"):
        two_gradients([report(True)], 9)


def test_a_stratified_probe_counts_each_prompt_by_its_sampling_weight():
    """Inner products, norms and the mean weight by their definitions: 4 hard prompts that stand for 12."""
    counts, sampling = torch.tensor([1] * 4 + [10] * 8), torch.tensor([3.0] * 4 + [1.0] * 8).double()
    gradients = torch.linspace(-1.5, -0.5, 4).tolist() + torch.linspace(0.5, 2.0, 8).tolist()
    found = two_gradients([line_report(counts.tolist(), gradients, sampling.tolist())], 8)
    weights = torch.as_tensor(unbiased_prompt_weight(torch.tensor(16), counts, 8))
    pairs = torch.outer(*[sampling * torch.tensor(gradients).double()] * 2).fill_diagonal_(0) / (12 * 11)
    mean_weight = float(sampling @ (8 * (1 - pass_at_k(torch.tensor(16), counts, 7))) / sampling.sum())
    inner, passk = (weights @ pairs).sum() / mean_weight, weights @ pairs @ weights / mean_weight**2
    expected = [float(inner), float(pairs.sum()), float(passk), mean_weight]
    assert found[:4] == pytest.approx(expected)
    assert two_gradients([line_report(counts.tolist(), gradients)], 8).mean_weight < 0.7 * mean_weight


@pytest.mark.parametrize("broken", ["inner_product", "norm_squared", "agreement"])
def test_a_number_that_is_not_finite_decides_nothing(broken):
    good = report(True)
    bad = replace(good, **{broken: torch.full_like(getattr(good, broken), torch.nan)})
    found = two_gradients([good, bad], 8)
    assert "not finite" in found.blind
    assert found[:4] == (0, 0, 0, None)


def test_estimates_that_form_a_gram_matrix_are_kept():
    gram = nearest_gram(TwoGradients(-0.5, 1.0, 2.0, 1.0))
    torch.testing.assert_close(gram, torch.tensor([[1.0, -0.5], [-0.5, 2.0]], dtype=torch.float64))


def test_estimates_that_form_none_become_the_nearest_one():
    gram = nearest_gram(TwoGradients(-2.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(gram, torch.tensor([[1.5, -1.5], [-1.5, 1.5]], dtype=torch.float64))
