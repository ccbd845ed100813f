"""Jackknife errors against measuring without each prompt, and the error of sketches."""

import pytest
import torch

from bandit_world import WORLD
from passk_trl.interference import measure_interference
from passk_trl.interference.intervals import student_t
from probes import random_probe


def without_each_prompt(gram, num_correct, n, ks, **options):
    """The reports of all probes with one prompt less."""
    reports = []
    for j in range(len(gram)):
        rest = torch.arange(len(gram)) != j
        of_rest = {name: value[rest] if name == "sampling_weights" else value for name, value in options.items()}
        reports.append(measure_interference(gram[rest][:, rest], num_correct[rest], n, ks, **of_rest))
    return reports


def jackknife_covariance(x, y):
    return (len(x) - 1) / len(x) * ((x - x.mean(0)) * (y - y.mean(0))).sum(0)


@pytest.mark.parametrize("estimator", ["unbiased", "plugin"])
@pytest.mark.parametrize("seed", range(5))
def test_standard_errors_are_those_of_measuring_without_each_prompt(estimator, seed):
    gram, num_correct, n, s = random_probe(seed)
    ks, options = [1, 1.5, 2, 4, 5], {"estimator": estimator, "sampling_weights": s}
    report = measure_interference(gram, num_correct, n, ks, **options)
    inner = torch.stack([each.inner_product for each in without_each_prompt(gram, num_correct, n, ks, **options)])
    expected = jackknife_covariance(inner, inner).sqrt()
    torch.testing.assert_close(report.inner_product_se, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_an_end_of_the_cosines_interval_is_t_standard_errors_away(seed):
    """It is a ρ for which I − ρ sqrt(S_1 S_k) is t of its own standard errors from 0, all by leaving prompts out."""
    gram, num_correct = WORLD.probe(48, 16, torch.Generator().manual_seed(seed))
    report = measure_interference(gram, num_correct, 16, [2, 4, 8])
    without = without_each_prompt(gram, num_correct, 16, [2, 4, 8])
    inner = torch.stack([each.inner_product for each in without])
    length = torch.stack([(each.pass1_norm_squared * each.norm_squared).clamp(min=0).sqrt() for each in without])
    ends_seen = 0
    for end in (report.cosine_low, report.cosine_high):
        residual = inner - end * length
        distance = report.inner_product - end * (report.pass1_norm_squared * report.norm_squared).clamp(min=0).sqrt()
        uncut = end.abs() < 1  # and not NaN
        expected = student_t(0.95, 47) * jackknife_covariance(residual, residual).sqrt()
        torch.testing.assert_close(distance.abs()[uncut], expected[uncut], rtol=1e-6, atol=1e-12)
        ends_seen += int(uncut.sum())
    assert ends_seen >= 2


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
