"""Jackknife errors against measuring without each prompt, and the error of sketches."""

import pytest
import torch

from passk_trl.interference import measure_interference
from passk_trl.interference.intervals import student_t
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

    def values(name):
        return torch.stack([torch.as_tensor(getattr(one, name)) for one in without])

    def covariance(x, y):
        return (num_prompts - 1) / num_prompts * ((x - x.mean(0)) * (y - y.mean(0))).sum(0)

    inner = values("inner_product")
    torch.testing.assert_close(report.inner_product_se, covariance(inner, inner).sqrt(), rtol=1e-8, atol=1e-12)
    # An end of the cosine's interval is a ρ for which I − ρ sqrt(S_1 S_k) is t standard errors from 0.
    length = (values("pass1_norm_squared").clamp(min=0)[:, None] * values("norm_squared").clamp(min=0)).sqrt()
    for end in (report.cosine_low, report.cosine_high):
        variance = covariance(inner, inner) - 2 * end * covariance(inner, length) + end**2 * covariance(length, length)
        distance = report.inner_product - end * (report.pass1_norm_squared * report.norm_squared).clamp(min=0).sqrt()
        at_an_end = end.abs() < 1  # within the limits of a cosine, and not NaN
        expected = student_t(0.95, num_prompts - 1) * variance.sqrt()
        torch.testing.assert_close(distance.abs()[at_an_end], expected[at_an_end], rtol=1e-6, atol=1e-12)


def test_an_interval_without_an_end_is_no_interval():
    """Noise alone: the length of a gradient is within its error of 0."""
    gradients = torch.randn(16, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    report = measure_interference(gradients @ gradients.T, [4] * 16, 8)
    assert report.cosine_low.isnan().all()
    assert report.cosine_high.isnan().all()


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


def test_where_sketches_dominate_the_error_has_their_degrees_of_freedom():
    gram_NN, counts, *_ = random_probe(seed=0, num_prompts=16, n=8)
    noise_MNN = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise_MNN = noise_MNN + noise_MNN.mT
    assert measure_interference(gram_NN, counts, 8).degrees.tolist() == [15.0] * 7
    dominated = measure_interference(gram_NN + 1e6 * (noise_MNN - noise_MNN.mean(0)), counts, 8)
    assert dominated.degrees.tolist() == pytest.approx([7.0] * 7, rel=1e-3)
