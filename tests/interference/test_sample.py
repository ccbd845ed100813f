"""A probe's sample: its shapes, what is kept of it, and that the measures take it as it is."""

import pytest
import torch

from passk_trl.interference import ProbeSample, forecast, measure_interference, measure_objectives
from passk_trl.objectives import objective_from


GRAM = torch.tensor([[4.0, 1.0, -1.0, 2.0], [1.0, 3.0, 0.5, 0.0], [-1.0, 0.5, 2.0, 1.0], [2.0, 0.0, 1.0, 5.0]])
CORRECT = [1, 2, 3, 2]


def test_a_sample_has_one_value_for_each_prompt_in_double_precision():
    sample = ProbeSample.of(GRAM, CORRECT, 4)
    assert sample.gram.shape == (1, 4, 4)
    assert (sample.gram.dtype, sample.sampling_weights.dtype) == (torch.float64, torch.float64)
    assert (sample.num_correct.dtype, sample.num_samples.dtype) == (torch.int64, torch.int64)
    assert sample.num_samples.tolist() == [4] * 4
    assert sample.sampling_weights.tolist() == [1.0] * 4
    assert sample.success_rate.tolist() == [0.25, 0.5, 0.75, 0.5]


def test_the_mean_is_over_independent_estimates_of_the_gram_matrix():
    sample = ProbeSample.of(torch.stack([GRAM + 1, GRAM - 1]), CORRECT, 4)
    assert torch.equal(sample.gram_mean, GRAM.double())
    assert torch.equal(ProbeSample.of(GRAM, CORRECT, 4).gram_mean, GRAM.double())


@pytest.mark.parametrize("prompts", [[0, 2, 3], [True, False, True, True], torch.tensor([0, 2, 3])])
def test_indices_and_masks_keep_the_same_prompts(prompts):
    kept = ProbeSample.of(torch.stack([GRAM, 2 * GRAM]), CORRECT, [4, 5, 6, 7], [1.0, 2.0, 3.0, 4.0]).keep(prompts)
    rows = [0, 2, 3]
    assert torch.equal(kept.gram, torch.stack([GRAM, 2 * GRAM]).double()[:, rows][:, :, rows])
    assert kept.num_correct.tolist() == [1, 3, 2]
    assert kept.num_samples.tolist() == [4, 6, 7]
    assert kept.sampling_weights.tolist() == [1.0, 3.0, 4.0]


def test_no_prompt_may_be_left():
    kept = ProbeSample.of(GRAM, CORRECT, 4).keep([])
    assert kept.gram.shape == (1, 0, 0)
    assert kept.num_correct.tolist() == []


def test_prompts_whose_gradient_is_not_finite_are_told():
    gram = GRAM.clone()
    gram[1] = gram[:, 1] = torch.nan
    sample = ProbeSample.of(gram, CORRECT, 4)
    assert sample.finite.tolist() == [True, False, True, True]
    with pytest.raises(ValueError, match=r"rows \[1\]: leave them out"):
        measure_interference(**sample.arguments)
    assert measure_interference(**sample.keep(sample.finite).arguments).inner_product.isfinite().all()


def test_every_measure_takes_a_sample():
    weights, products = torch.tensor([1.0, 2.0, 0.5, 0.5]), torch.tensor([0.1, -0.2, 0.3, 0.4])
    sample = ProbeSample.of(GRAM, CORRECT, 4, weights)
    [apart, together] = [
        measure_interference(GRAM, CORRECT, 4, [1, 2], sampling_weights=weights),
        measure_interference(**sample.arguments, ks=[1, 2]),
    ]
    assert together.to_dict() == apart.to_dict()
    objectives = [objective_from("maxrl")]
    assert repr(measure_objectives(**sample.arguments, objectives=objectives)) == repr(
        measure_objectives(GRAM, CORRECT, 4, objectives, sampling_weights=weights)
    )
    expected = forecast(products, CORRECT, 4, [1, 2], sampling_weights=weights)
    assert forecast(products, **sample.counts, ks=[1, 2]).to_dict() == expected.to_dict()
