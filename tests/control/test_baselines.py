import pytest
import torch

from passk_trl.control import Annealed, FixedMix
from passk_trl.control.controller import batch_weights
from passk_trl.estimators import passk_advantages
from situations import rewards, situation


def test_a_fixed_mix_compares_like_with_like():
    batch = rewards([1, 8, 15])
    mean_weight = batch_weights(batch, 8).mean()
    expected = 0.7 * passk_advantages(batch, 8) / mean_weight + 0.3 * passk_advantages(batch, 1)
    torch.testing.assert_close(FixedMix(0.3).decide(situation(batch)).advantages_PG, expected.to(batch))
    torch.testing.assert_close(FixedMix(1.0).decide(situation(batch)).advantages_PG, passk_advantages(batch, 1))


def test_k_falls_in_equal_factors():
    ks = [Annealed().decide(situation(rewards([1, 8]), progress=p)).figures["k"] for p in (0, 1 / 3, 2 / 3, 1)]
    assert ks == [8, 4, 2, 1]


@pytest.mark.parametrize(("make", "name"), [(lambda: FixedMix(1.2), "share"), (lambda: Annealed(0), "end")])
def test_senseless_arguments_are_refused(make, name):
    with pytest.raises(ValueError, match=name):
        make()
