"""Bands hold the whole curve as often as they say, and never claim certainty from prompts that are alike."""

import math

import numpy as np
import pytest
import torch

import passk_trl.evaluation.bands
from band_coverage import WORLDS, coverage
from passk_trl.evaluation import simultaneous_band
from success_counts import N, drawn_counts, drawn_rates, n, pass_at_ks


def some_values(seed: int = 1, num_prompts: int = N) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    one, other = (pass_at_ks(drawn_counts(rng, drawn_rates(rng, num_prompts))) for _ in range(2))
    return one - other


@pytest.mark.parametrize("world", ["gain, then loss", "hard prompts"])
def test_the_whole_curve_is_held_as_often_as_is_said_and_each_k_by_itself_is_not_enough(world):
    pairs = 1000
    held = coverage(WORLDS[world], num_prompts=128, num_pairs=pairs)
    error = math.sqrt(0.95 * 0.05 / pairs)
    assert held.difference == pytest.approx(0.95, abs=3 * error)
    assert held.curve == pytest.approx(0.95, abs=3 * error)
    assert held.crossing >= held.difference
    assert held.each_k_by_itself < 0.95 - 3 * error


def test_the_band_is_that_of_its_definition():
    values_NK, confidence, resamples, seed = some_values().numpy(), 0.9, 200, 3
    rng = np.random.default_rng(seed)

    def mean_and_error(values: np.ndarray, made_up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values.mean(axis=0), np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=0) + made_up) / N

    made_up = (values_NK.mean(axis=0) + 1) ** 2 + (1 - values_NK.mean(axis=0)) ** 2
    mean, error = mean_and_error(values_NK, made_up)
    largest = []
    for drawn in rng.integers(N, size=(resamples, N)):
        mean_of_drawn, error_of_drawn = mean_and_error(values_NK[drawn], made_up)
        largest.append((abs(mean_of_drawn - mean) / error_of_drawn).max())
    critical = np.quantile(largest, confidence)
    band = simultaneous_band(torch.from_numpy(values_NK), (-1, 1), confidence, resamples, seed)
    np.testing.assert_allclose(band.value, mean)
    np.testing.assert_allclose(band.low, mean - critical * error)
    np.testing.assert_allclose(band.high, mean + critical * error)


def test_the_same_seed_is_the_same_band_also_if_resampled_in_parts(monkeypatch):
    values = some_values()
    band = simultaneous_band(values, (-1, 1), seed=7)
    assert simultaneous_band(values, (-1, 1), seed=7) == band
    assert simultaneous_band(values, (-1, 1), seed=8) != band
    monkeypatch.setattr(passk_trl.evaluation.bands, "_NUMBERS_AT_A_TIME", 7 * N)
    in_parts = simultaneous_band(values, (-1, 1), seed=7)
    np.testing.assert_allclose(in_parts.low, band.low)


def test_all_k_at_once_cost_width():
    values = some_values()
    band = simultaneous_band(values, (-1, 1))
    for k in (1, 4, n):
        alone = simultaneous_band(values[:, k - 1 : k], (-1, 1))
        assert band.low[k - 1] < alone.low[0] < alone.high[0] < band.high[k - 1]


def test_a_difference_turned_round():
    band, back = (simultaneous_band(side * some_values(), (-1, 1)) for side in (1, -1))
    np.testing.assert_allclose(band.low, [-high for high in back.high])
    np.testing.assert_allclose(band.value, [-value for value in back.value])


@pytest.mark.parametrize("num_prompts", [8, 32, 500])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_prompts_that_are_alike_do_not_claim_certainty(num_prompts, value):
    """A share of 1 − 0.05^(1/N) of prompts at a bound may be there, and none among N prompts drawn."""
    unseen = 1 - 0.05 ** (1 / num_prompts)
    band = simultaneous_band(torch.full((num_prompts, 4), value, dtype=torch.float64), (0, 1))
    assert band.value == pytest.approx([value] * 4)
    for low, high in zip(band.low, band.high, strict=True):
        assert 0 <= low <= value <= high <= 1
        assert value - low >= 0.6 * unseen * value
        assert high - value >= 0.6 * unseen * (1 - value)


def test_one_k_without_spread_leaves_the_others_their_band():
    """At the largest k all prompts may be solved, while they differ at the others."""
    values = some_values()
    with_constant = torch.cat([values, torch.zeros(N, 1, dtype=torch.float64)], dim=1)
    band, of_all = simultaneous_band(values, (-1, 1)), simultaneous_band(with_constant, (-1, 1))
    np.testing.assert_allclose(of_all.low[:-1], band.low)
    assert of_all.low[-1] < 0 < of_all.high[-1]


@pytest.mark.parametrize("scale", [1e-9, 1e-15])
def test_prompts_that_differ_by_rounding_alone_are_alike(scale):
    """As pass@32 of prompts that are mostly solved, which is 1 - 1e-10."""
    noise = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    band = simultaneous_band(1 - scale * noise, (0, 1))
    alike = simultaneous_band(torch.ones(200, 2, dtype=torch.float64), (0, 1))
    assert band.low == pytest.approx(alike.low, abs=1e-6)


def test_few_prompts_have_no_band():
    assert simultaneous_band(some_values(num_prompts=7), (-1, 1)).low is None
    assert simultaneous_band(some_values(num_prompts=8), (-1, 1)).low is not None


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_level_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match=f"confidence={confidence} is not between 0 and 1"):
        simultaneous_band(some_values(), (-1, 1), confidence)
