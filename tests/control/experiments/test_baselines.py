import pytest
import torch

from passk_trl.control import Annealed, FixedMix, Guard, GuardedMix, Mix
from passk_trl.control.mixed_advantages import mean_prompt_weight
from passk_trl.estimators import passk_advantages
from situations import rewards, situation


def test_a_fixed_mix_divides_each_gradient_by_its_mean_weight():
    batch = rewards([1, 8, 15])
    mean_weight = mean_prompt_weight(torch.tensor([16] * 3), torch.tensor([1, 8, 15]), 8)
    expected = 0.7 * passk_advantages(batch, 8) / mean_weight + 0.3 * passk_advantages(batch, 1)
    torch.testing.assert_close(FixedMix(0.3).decide(situation(batch)).advantages_PG, expected.to(batch))
    torch.testing.assert_close(FixedMix(1.0).decide(situation(batch)).advantages_PG, passk_advantages(batch, 1))


def test_prompts_that_were_hardly_scored_are_left_out_of_the_mean():
    batch = rewards([4, 4])
    batch[1, 2:] = torch.nan
    mixed = FixedMix(0.0).decide(situation(batch)).advantages_PG
    torch.testing.assert_close(mixed[:1], FixedMix(0.0).decide(situation(batch[:1])).advantages_PG)


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
