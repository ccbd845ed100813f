"""The mean prompt weight that mixing controllers keep: by it, a batch's expected gradient is the mixture they name."""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from bandit_world import WORLD
from passk_trl.control import Aggregated, DifficultyWeights, FixedMix, Guard, GuardedMix, Mix
from passk_trl.control.mixed_advantages import SOLVED, mean_prompt_weight, mixed_advantages
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import prompt_weight
from situations import report, rewards, situation


NUM_PROMPTS, NUM_ROLLOUTS, K = 2, 4, 3


def batches() -> list[tuple[Tensor, Tensor, float]]:
    """All batches of two prompts of the bandit world: types, rewards, and how likely they are."""
    counts = torch.arange(NUM_ROLLOUTS + 1)
    chances_TC = torch.distributions.Binomial(NUM_ROLLOUTS, WORLD.success_T[:, None]).log_prob(counts.double()).exp()
    states = [
        (t, c, float(WORLD.share_T[t] * chances_TC[t, c]))
        for t, c in itertools.product(range(len(WORLD.share_T)), counts.tolist())
    ]
    return [
        (
            torch.tensor([t for t, _, _ in prompts]),
            (torch.arange(NUM_ROLLOUTS) < torch.tensor([[c] for _, c, _ in prompts])).double(),
            math.prod(chance for _, _, chance in prompts),
        )
        for prompts in itertools.product(states, repeat=NUM_PROMPTS)
    ]


def gradient(advantages_PG: Tensor, rewards_PG: Tensor, types_P: Tensor) -> Tensor:
    """The mean of A_j times the score over the rollouts of a batch. The scores' noise has mean 0 and is left out."""
    success_P1 = WORLD.success_T[types_P][:, None]
    return (advantages_PG * (rewards_PG - success_P1)).mean(dim=1) @ WORLD.feature_TF[types_P] / len(types_P)


EARLIER = [rewards([1, 3]), rewards([8, 9]), rewards([0, 15])]

MIXING = {
    "fixed_mix": (FixedMix(0.3), []),
    "guard": (Guard(horizon=2, gain=1.0), []),
    "mix": (Mix(), []),
    "mix, probed": (Mix(margin=0.2), [report(True)]),
    "guarded_mix": (GuardedMix(floor=0.6, horizon=2, gain=1.0), []),
    "guarded_mix, probed": (GuardedMix(floor=0.6, horizon=2, gain=0.2), [report(True)]),
    "aggregated": (Aggregated(), []),
    "difficulty_weights": (DifficultyWeights(), []),
}


@pytest.mark.parametrize("earlier", [0, 3])
@pytest.mark.parametrize(("controller", "reports"), MIXING.values(), ids=MIXING.keys())
def test_the_expected_gradient_given_the_past_is_the_mixture_by_enumeration(controller, reports, earlier):
    controller = copy.deepcopy(controller)
    for batch in EARLIER[:earlier]:
        controller.decide(situation(batch))
    measured = two_gradients(reports, K).mean_weight
    mean_weight = controller.mean_weight if measured is None else measured
    expected, shares = torch.zeros(3).double(), set()
    for types_P, rewards_PG, chance in batches():
        decision = copy.deepcopy(controller).decide(situation(rewards_PG, reports, k=K))
        shares.add(decision.figures.get("share", 0.0))
        expected += chance * gradient(decision.advantages_PG, rewards_PG, types_P)
    (share,) = shares  # the batch itself does not change it
    mixture = (1 - share) * WORLD.pass_at_k_gradient(K) / mean_weight + share * WORLD.pass_at_k_gradient(1)
    torch.testing.assert_close(expected, mixture, rtol=1e-12, atol=0)


def test_with_the_batchs_own_mean_weight_it_would_not_be():
    expected = torch.zeros(3).double()
    for types_P, rewards_PG, chance in batches():
        samples, correct = torch.tensor([NUM_ROLLOUTS] * NUM_PROMPTS), rewards_PG.sum(dim=1).long()
        own = max(SOLVED, mean_prompt_weight(samples, correct, K))
        expected += chance * gradient(mixed_advantages(rewards_PG, K, 0.0, own), rewards_PG, types_P)
    assert torch.cosine_similarity(expected, WORLD.pass_at_k_gradient(K), dim=0) < 0.98


@pytest.mark.parametrize(("num_prompts", "documented"), [(16, 0.32), (64, 0.91), (256, 0.98)])
def test_how_much_too_little_hard_prompts_would_count(num_prompts, documented):
    """
    The factor of `docs/mitigation.md`: how much the hardest prompts of the bandit world would count beside the
    easiest, as a fraction of what they do in ∇J_8, if pass@8's advantages were divided by the batch's own mean weight.
    Exact: a weight 8 (1 − pass@7) of 16 rollouts is a whole number of units, and the sum over the other prompts is a
    convolution.
    """
    num_rollouts, k = 16, 8
    counts = torch.arange(num_rollouts + 1)
    units_C = torch.tensor([math.comb(num_rollouts - c, k - 1) for c in counts.tolist()])
    chances_TC = torch.distributions.Binomial(num_rollouts, WORLD.success_T[:, None]).log_prob(counts.double()).exp()
    one = torch.zeros(int(units_C.max()) + 1).double().index_add_(0, units_C, WORLD.share_T @ chances_TC)
    size = (num_prompts - 1) * (len(one) - 1) + 1
    others = torch.fft.irfft(torch.fft.rfft(one, size) ** (num_prompts - 1), size).clamp(min=0)
    sums_S = torch.arange(size, dtype=torch.float64)
    unit = k / math.comb(num_rollouts, k - 1) / num_prompts
    inverse_C = torch.stack([others @ (1 / ((sums_S + units) * unit).clamp(min=SOLVED)) for units in units_C])

    # The pass@8 gradient of a type is Σ_c P(c) A(c) φ, with the advantages of the package itself.
    rewards_CG = (torch.arange(num_rollouts) < counts[:, None]).double()
    advantages_CG = mixed_advantages(rewards_CG, k, 0.0, 1.0)
    success_T11 = WORLD.success_T[:, None, None]
    gradients_TC = chances_TC * (advantages_CG * (rewards_CG - success_T11)).mean(dim=2)
    due_T = prompt_weight(WORLD.success_T, k) * WORLD.success_T * (1 - WORLD.success_T)
    torch.testing.assert_close(gradients_TC.sum(dim=1), due_T)
    counted_T = gradients_TC @ inverse_C / due_T
    assert float(counted_T[-1] / counted_T[0]) == pytest.approx(documented, abs=0.005)


def test_it_is_the_mean_of_the_batches_before_and_starts_at_1():
    fixed, of_batches = FixedMix(), []
    for batch in EARLIER:
        before = fixed.mean_weight
        assert before == pytest.approx((1 + sum(of_batches)) / (1 + len(of_batches)))
        expected = mixed_advantages(batch, 8, 0.3, before)
        torch.testing.assert_close(fixed.decide(situation(batch)).advantages_PG, expected)
        of_batches.append(mean_prompt_weight(torch.tensor([16, 16]), batch.sum(dim=1).long(), 8))


def test_it_follows_training():
    fixed = FixedMix()
    for _ in range(200):
        fixed.decide(situation(rewards([1, 1])))
    hard = fixed.mean_weight
    assert hard == pytest.approx(mean_prompt_weight(torch.tensor([16]), torch.tensor([1]), 8), rel=1e-3)
    for _ in range(20):
        fixed.decide(situation(rewards([16, 16])))
    assert fixed.mean_weight == pytest.approx(hard * (1 - 1 / 20) ** 20)


def test_a_batch_that_was_hardly_scored_does_not_count():
    fixed = FixedMix()
    fixed.decide(situation(rewards([1, 8])))
    before = fixed.state()
    hardly = rewards([1, 8])
    hardly[:, 3:] = torch.nan
    for batch in (hardly, torch.full((2, 16), torch.nan)):
        fixed.decide(situation(batch))
        assert fixed.state() == before
    hardly[0] = rewards([4])[0]
    fixed.decide(situation(hardly))  # one of its prompts was scored
    assert fixed.batches_weighed == 3


def test_a_batch_with_few_hard_prompts_is_not_amplified():
    fixed = FixedMix(0.0)
    for _ in range(10):
        fixed.decide(situation(rewards([1, 1, 4, 14])))
    easy = rewards([14, 14, 14, 7])
    decided = fixed.decide(situation(easy)).advantages_PG
    assert decided.abs().max() < mixed_advantages(easy, 8, 0.0, 1.0).abs().max()
