"""Jackknife errors against measuring without each prompt, and the error of sketches."""

import pytest
import torch

from passk_trl.interference import measure_interference
from probes import random_probe


@pytest.mark.parametrize("estimator", ["unbiased", "plugin"])
@pytest.mark.parametrize("seed", range(5))
def test_standard_errors_are_those_of_measuring_without_each_prompt(estimator, seed):
    gram, num_correct, n, s = random_probe(seed)
    ks, num_prompts = [1, 1.5, 2, 4, 5], len(gram)
    report = measure_interference(gram, num_correct, n, ks, estimator=estimator, sampling_weights=s)
    without = []
    for j in range(num_prompts):
        rest = torch.arange(num_prompts) != j
        left = gram[rest][:, rest]
        without.append(
            measure_interference(left, num_correct[rest], n, ks, estimator=estimator, sampling_weights=s[rest])
        )
    for se, name in ((report.inner_product_se, "inner_product"), (report.cosine_se, "cosine")):
        values = torch.stack([getattr(one, name) for one in without])
        expected = ((num_prompts - 1) / num_prompts * (values - values.mean(0)).square().sum(0)).sqrt()
        torch.testing.assert_close(se, expected, rtol=1e-8, atol=1e-12, equal_nan=True)


def test_the_spread_of_independent_sketches_adds_to_the_error_bar():
    gram_NN, counts, *_ = random_probe(seed=0, num_prompts=16, n=8)
    noise_MNN = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise_MNN = 5 * (noise_MNN + noise_MNN.mT)
    noise_MNN -= noise_MNN.mean(0)
    exact, sketched = measure_interference(gram_NN, counts, 8), measure_interference(gram_NN + noise_MNN, counts, 8)
    assert torch.allclose(sketched.inner_product, exact.inner_product)  # the mean of the sketches is the same
    each = torch.stack([measure_interference(gram_NN + one, counts, 8).inner_product for one in noise_MNN])
    expected = (exact.inner_product_se.square() + each.var(0) / 8).sqrt()
    assert torch.allclose(sketched.inner_product_se, expected)
    assert (sketched.inner_product_se > exact.inner_product_se).all()
