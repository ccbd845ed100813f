import pytest
import torch

from passk_trl.control import Annealed, FixedMix, Guard, GuardedMix, Mix
from passk_trl.estimators import passk_advantages
from situations import rewards, situation


def test_a_fixed_mix_divides_each_gradient_by_the_mean_weight_so_far():
    batch, fixed = rewards([1, 8, 15]), FixedMix(0.3)
    fixed.decide(situation(rewards([1, 1, 0, 16])))
    mean_weight = fixed.mean_weight
    assert mean_weight > 2
    expected = 0.7 * passk_advantages(batch, 8) / mean_weight + 0.3 * passk_advantages(batch, 1)
    torch.testing.assert_close(fixed.decide(situation(batch)).advantages_PG, expected.to(batch))
    torch.testing.assert_close(FixedMix(1.0).decide(situation(batch)).advantages_PG, passk_advantages(batch, 1))


@pytest.mark.parametrize("baseline", [FixedMix(), Annealed()], ids=["fixed_mix", "annealed"])
def test_a_baseline_measures_nothing_and_is_never_blind(baseline):
    for batch in (rewards([1, 8]), torch.full((2, 16), torch.nan)):
        assert baseline.decide(situation(batch)).logged["blind"] == 0


@pytest.mark.parametrize(
    "controller", [FixedMix(), Guard(), GuardedMix(), Mix()], ids=lambda each: type(each).__name__
)
def test_rewards_without_a_prompt_weight_are_refused(controller):
    with pytest.raises(ValueError, match="neither 0 nor 1; set success_threshold"):
        controller.decide(situation(5 * rewards([1, 4, 8, 12])))


def test_k_falls_in_equal_factors():
    ks = [Annealed().decide(situation(rewards([1, 8]), progress=p)).figures["k"] for p in (0, 1 / 3, 2 / 3, 1)]
    assert ks == [8, 4, 2, 1]


@pytest.mark.parametrize(("make", "name"), [(lambda: FixedMix(1.2), "share"), (lambda: Annealed(0), "end")])
def test_senseless_arguments_are_refused(make, name):
    with pytest.raises(ValueError, match=name):
        make()
