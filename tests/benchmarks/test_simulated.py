"""What the comparison of riding and probing simulates is what the package does."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from passk_trl.interference import measure_interference
from passk_trl.monitor.window import FEWEST_OF_LOOK, first_block
from simulated import (
    AFTER,
    EVERY,
    LAST,
    ROLLOUTS,
    Drawn,
    World,
    estimate,
    needs_own_pass,
    pair_sums,
    probed,
    probed_prompts,
    ridden,
    ridden_prompts,
    schedule,
    success_of,
)


K = 8
RNG = np.random.default_rng(0)


def some_rows(prompts: int, easy: float = 0.0, hard: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts with random gradients, which those of easy ones and those of hard ones share so much of."""
    generator = torch.Generator().manual_seed(0)
    correct_N = torch.arange(prompts) % (ROLLOUTS - 1) + 1
    rows_ND = torch.randn(prompts, 4, generator=generator, dtype=torch.float64)
    rows_ND[:, 0] += torch.where(correct_N > 4, easy, hard)
    return rows_ND, correct_N


def world_of(rows_ND: torch.Tensor, correct_N: torch.Tensor, scores_NGD: torch.Tensor | None = None) -> World:
    """In which rollouts have these scores, less the first one's; or in which two rollouts tell as much as all."""
    N, D = rows_ND.shape
    if scores_NGD is None:
        rate_N = correct_N / ROLLOUTS
        size_N = rate_N * (1 - rate_N) * ROLLOUTS / (ROLLOUTS - 1)
        scores_NGD = success_of(correct_N)[..., None] * (rows_ND / size_N[:, None])[:, None]
    all_RD = torch.cat([rows_ND, scores_NGD.flatten(0, 1), torch.zeros(1, D, dtype=torch.float64)])
    of_rollout_NG = torch.where(needs_own_pass(success_of(correct_N), K)[:, None], 0, len(all_RD) - 1)
    of_rollout_NG = torch.where(of_rollout_NG == 0, N + torch.arange(N * ROLLOUTS).view(N, -1), of_rollout_NG)
    return World(K, (all_RD @ all_RD.T)[None], correct_N, torch.arange(N), of_rollout_NG, num_parameters=D)


def estimated(world: World, drawn: Drawn, k: int) -> tuple[float, float]:
    return estimate(pair_sums(world, drawn, [slice(0, len(drawn.prompts_N))])[0], k, 0.0, RNG)


@pytest.mark.parametrize("k", [2, 5])
def test_the_mean_over_all_draws_is_the_truth(k):
    world = world_of(*some_rows(4))
    truth = measure_interference(**world.sample.arguments, ks=[k]).inner_product
    draws = [torch.tensor(draw) for draw in product(range(4), repeat=4) if len({*draw}) > 2]
    values = [estimated(world, probed_prompts(world, drawn), k)[0] for drawn in draws]
    torch.testing.assert_close(torch.tensor(values, dtype=torch.float64).mean(), truth[0])


def test_different_prompts_have_the_estimate_and_the_interval_of_the_package():
    world, prompts = world_of(*some_rows(40)), torch.randperm(40)[:24]
    sampling = torch.rand(24, dtype=torch.float64)
    arguments = {**world.sample.keep(prompts).arguments, "sampling_weights": sampling}
    report = measure_interference(**arguments, ks=[4])
    probe = probed_prompts(world, prompts)
    value, margin = estimated(world, Drawn(prompts, sampling, probe.gradients_2N, probe.factors_2N), 4)
    assert value == pytest.approx(report.inner_product.item())
    assert margin == pytest.approx((report.inner_product_high - report.inner_product).item())


def test_sets_are_measured_together_as_each_is_alone():
    world, prompts = world_of(*some_rows(40)), torch.randint(40, (64,))
    drawn, sets = probed_prompts(world, prompts), [slice(0, 24), slice(8, 64)]
    for pairs, each in zip(pair_sums(world, drawn, sets), sets, strict=True):
        assert estimate(pairs, 4, 0.0, RNG) == pytest.approx(estimated(world, probed_prompts(world, prompts[each]), 4))


def test_two_rollouts_are_drawn_anew_each_time_and_give_the_prompts_gradient_on_average():
    rows_ND, correct_N = some_rows(60)
    scores_NGD = torch.randn(60, ROLLOUTS, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    success_NG = success_of(correct_N)
    weights_NG = (success_NG - success_NG.mean(dim=1, keepdim=True)) / (ROLLOUTS - 1)
    rows_ND = (weights_NG[..., None] * scores_NGD).sum(dim=1)
    world = world_of(rows_ND, correct_N, scores_NGD - scores_NGD[:, :1])
    prompt = int((correct_N == ROLLOUTS - 2).nonzero()[0])
    draws = ridden_prompts(world, torch.full((20_000,), prompt), 1, torch.Generator().manual_seed(0))
    own = draws.sampling_N > 0
    scale_R = torch.zeros(world.gram_MRR.size(-1), dtype=torch.float64)
    scale_R.index_add_(0, draws.gradients_2N.flatten(), (draws.factors_2N * draws.sampling_N).flatten())
    assert len(draws.gradients_2N[:, own].unique(dim=1).T) == 2 * (ROLLOUTS - 2)  # each pair of rollouts
    mean_R = scale_R / len(own)
    mean_D = mean_R[60:-1] @ (scores_NGD - scores_NGD[:, :1]).flatten(0, 1)
    error_D = (scores_NGD[prompt].std(dim=0) / own.sum().sqrt()) * float(draws.sampling_N.max()) ** 0.5
    assert ((mean_D - rows_ND[prompt]).abs() < 4 * error_D).all()
    assert (rows_ND[prompt].abs() > 4 * error_D).any()


@pytest.mark.parametrize(("correct", "by_two"), [(ROLLOUTS - 1, True), (1, False)])
def test_prompts_without_an_advantage_are_drawn_and_taken_by_two_rollouts(correct, by_two):
    rows_ND, _ = some_rows(64)
    nothing = torch.zeros(64, ROLLOUTS, 4, dtype=torch.float64)
    world = world_of(rows_ND, torch.full((64,), correct), nothing)
    (margin, *_), _ = ridden(world, schedule(256, 16, True), 0.0, RNG)
    assert math.isnan(margin) == by_two


@pytest.mark.parametrize(("window", "a_step"), [(256, 16), (2048, 16), (2048, 4)])
def test_a_ride_with_whole_gradients_has_full_blocks_from_the_start(window, a_step):
    for is_exact, first in ((True, window), (False, first_block(window))):
        looks = schedule(window, a_step, is_exact).looks
        sizes = [(end - start) * a_step for _, (start, end) in looks]
        starts = sorted({start for _, (start, _) in looks})
        assert max(sizes) == window
        blocks = [between - start for start, between in pairwise(starts) if start > 0 or is_exact]
        assert set(blocks) == {window // a_step}
        assert starts[0 if is_exact or first < FEWEST_OF_LOOK else 1] == (0 if is_exact else first // a_step)


def test_a_step_that_passes_two_sizes_is_looked_at_once():
    plan = schedule(512, 320, True)
    assert plan.series == 3
    (first, of_first), (second, of_second) = plan.looks[:2]
    assert (first, of_first) == ((0, 1), (0, 1))  # 128 and 256 prompts: the larger
    assert (second, of_second) == ((0, 2), (0, 2))
    assert len(plan.looks) == LAST


def test_a_report_has_the_latest_full_block_and_what_is_newer():
    plan = schedule(256, 16, True)
    for step, blocks in plan.reports.items():
        assert blocks[-1][1] == step
        assert [end for _, end in blocks[:-1]] == [start for start, _ in blocks[1:]]
        assert 256 <= (step - blocks[0][0]) * 16 < 512
    assert list(plan.reports) == list(AFTER)


def test_a_plain_conflict_is_announced_and_its_absence_is_not():
    conflict, none = world_of(*some_rows(64, easy=3.0, hard=-3.0)), world_of(*some_rows(64, easy=3.0, hard=3.0))
    plan = schedule(256, 16, True)
    for world, is_announced in ((conflict, True), (none, False)):
        _, ride = ridden(world, plan, 0.0, RNG)
        _, probe = probed(world, plan, 32, 60.0, RNG)
        assert (ride < math.inf) == (probe < math.inf) == is_announced
        assert not is_announced or ride % EVERY == probe % 60 == 0


def test_a_larger_window_and_more_probes_decide_a_smaller_inner_product():
    world = world_of(*some_rows(64, easy=3.0, hard=-3.0))
    small_window, large_window = (schedule(window, 16, True) for window in (256, 2048))
    (small, _), (large, _) = (ridden(world, plan, 0.0, RNG) for plan in (small_window, large_window))
    assert large[-1] < small[-1]
    (few, _), (many, _) = (probed(world, large_window, 32, every, RNG) for every in (60.0, 15.0))
    assert few[0] == math.inf  # before the first probe
    assert many[-1] < few[-1]
