"""What the comparison of riding and probing simulates is what the package does."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from passk_trl.interference import ProbeSample, measure_interference
from passk_trl.monitor.window import RiddenPrompts, Window
from riding_power import EVERY, ROLLOUTS, World, block_ends, estimate, pair_sums, probed, ridden


RNG = np.random.default_rng(0)


def some_sample(prompts: int, easy: float = 0.0, hard: float = 0.0) -> ProbeSample:
    """Prompts with random gradients, which those of easy ones and those of hard ones share so much of."""
    generator = torch.Generator().manual_seed(0)
    correct_N = torch.arange(prompts) % (ROLLOUTS - 1) + 1
    rows_ND = torch.randn(prompts, 4, generator=generator, dtype=torch.float64)
    rows_ND[:, 0] += torch.where(correct_N > 4, easy, hard)
    return ProbeSample.of(rows_ND @ rows_ND.T, correct_N, ROLLOUTS)


def world_of(sample: ProbeSample) -> World:
    """In which two rollouts of a prompt tell as much as all."""
    return World(sample.gram.repeat(1, 2, 2), sample.num_correct)


def estimated(world: World, drawn_N: torch.Tensor, sampling_N: torch.Tensor, k: int) -> tuple[float, float]:
    return estimate(pair_sums(world.gram_RR, world.num_correct_U, drawn_N, sampling_N), k, 0.0, RNG)


@pytest.mark.parametrize("k", [2, 5])
def test_the_mean_over_all_draws_is_the_truth(k):
    sample = some_sample(4)
    world, truth = world_of(sample), measure_interference(**sample.arguments, ks=[k]).inner_product
    draws = [torch.tensor(draw) for draw in product(range(4), repeat=4) if len({*draw}) > 2]
    ones = torch.ones(4, dtype=torch.float64)
    values = [estimated(world, drawn, ones, k)[0] for drawn in draws]
    torch.testing.assert_close(torch.tensor(values, dtype=torch.float64).mean(), truth[0])


def test_different_prompts_have_the_estimate_and_the_interval_of_the_package():
    sample, drawn = some_sample(40), torch.randperm(40)[:24]
    sampling = torch.rand(24, dtype=torch.float64)
    report = measure_interference(**{**sample.keep(drawn).arguments, "sampling_weights": sampling}, ks=[4])
    value, margin = estimated(world_of(sample), drawn, sampling, 4)
    assert value == pytest.approx(report.inner_product.item())
    assert margin == pytest.approx((report.inner_product_high - report.inner_product).item())


@pytest.mark.parametrize(("window", "a_step"), [(64, 16), (64, 4), (50, 16)])
def test_blocks_are_full_when_those_of_a_window_are(window, a_step):
    real, ends = Window(window, torch.device("cpu"), first_size=max(8, window // 8)), []
    for step in range(1, 41):
        batch = RiddenPrompts(step, [8] * a_step, ROLLOUTS, [1.0] * a_step, [], torch.zeros(0, 1, 1))
        if real.add(batch, a_step) is not None:
            ends.append(step)
    assert block_ends(window, a_step, 40) == ends


@pytest.mark.parametrize(("correct", "by_two"), [(ROLLOUTS - 1, True), (1, False)])
def test_prompts_without_an_advantage_are_drawn_and_taken_by_two_rollouts(correct, by_two):
    sample = some_sample(64)
    gram_MRR = sample.gram.repeat(1, 2, 2)
    gram_MRR[:, 64:] = gram_MRR[:, :, 64:] = 0.0
    (margin, *_), _ = ridden(World(gram_MRR, torch.full((64,), correct)), 8, 16, 256, 0.0, RNG)
    assert (margin == 0) == by_two


def test_a_plain_conflict_is_announced_and_its_absence_is_not():
    conflict, none = world_of(some_sample(64, easy=3.0, hard=-3.0)), world_of(some_sample(64, easy=3.0, hard=3.0))
    for world, is_announced in ((conflict, True), (none, False)):
        _, ride = ridden(world, 8, 16, 256, 0.0, RNG)
        _, probe = probed(world, 8, 16, 32, 60.0, RNG)
        assert (ride < math.inf) == (probe < math.inf) == is_announced
        assert not is_announced or ride % EVERY == probe % 60 == 0


def test_a_larger_window_and_more_probes_decide_a_smaller_inner_product():
    world = world_of(some_sample(64, easy=3.0, hard=-3.0))
    (small, _), (large, _) = (ridden(world, 8, 16, window, 0.0, RNG) for window in (256, 2048))
    assert large[-1] < small[-1]
    (few, _), (many, _) = (probed(world, 8, 16, 32, every, RNG) for every in (60.0, 15.0))
    assert few[0] == math.inf  # before the first probe
    assert many[-1] < few[-1]
