"""The factors that turn the gradients of a training pass into those of the prompts, and what rides along."""

import pytest
import torch

from passk_trl.gradients.rules import Layer
from passk_trl.gradients.store import ExactStore
from passk_trl.gradients.training_pass import CountedRollouts, TrainingPass, factors


MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
W = torch.tensor([0.5, -0.25, 0.125, 0.5])


def test_the_factor_is_the_weight_over_the_gradient_that_all_tokens_share():
    gradient = torch.tensor([[-2.0, -2.0, -2.0], [4.0, 4.0, 99.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    factors_B, missed_B = factors(gradient, MASK, W)
    assert factors_B.tolist() == [-0.25, -0.0625, 0.25, 0.0]
    assert missed_B.tolist() == [False, False, False, True]  # the last has no token that is trained on


@pytest.mark.parametrize("other", [-2.01, 0.0, 2.0, float("nan"), float("inf")])
def test_a_rollout_whose_tokens_differ_is_missed(other):
    gradient = torch.tensor([[-2.0, other, -2.0], [0.0, 0.0, 0.0]])
    factors_B, missed_B = factors(gradient, MASK[:2], W[:2])
    assert factors_B.tolist() == [0.0, 0.0]
    assert missed_B.tolist() == [True, True]


def test_a_rollout_of_weight_0_is_not_missed():
    factors_B, missed_B = factors(torch.zeros(1, 3), MASK[:1], torch.zeros(1))
    assert factors_B.tolist() == [0.0]
    assert missed_B.tolist() == [False]


def test_rounding_is_no_difference():
    gradient = -torch.tensor([[1.0, 1 + 1e-6, 1 - 1e-6]]) * 1e-30
    factors_B, missed_B = factors(gradient, MASK[:1], W[:1])
    assert float(factors_B[0]) == pytest.approx(-0.5e30, rel=1e-5)
    assert not missed_B.any()


def test_rollouts_that_count_are_sorted_by_prompt():
    counted = CountedRollouts([7, None, 3, 7], torch.zeros(4, 2), num_tokens=12)
    assert (counted.prompts, counted.places, counted.rows_R.tolist()) == ([3, 7], [0, 1, 1], [2, 0, 3])
    assert counted.factors_R.tolist() == [0.0, 0.0, 0.0]  # none is known yet
    counted.weigh(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert counted.factors_R.tolist() == [3.0, 1.0, 4.0]


# Two prompts of two rollouts in mixed order, each of two tokens of the prompt and one of the completion.
PROMPT_IDS = torch.tensor([[5, 6], [7, 8], [5, 6], [7, 8]])
FACTORS = torch.tensor([1.0, 2.0, 3.0, 4.0])


def formed(counted: CountedRollouts, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The gradients of a linear layer's weight, of each prompt, and the number of parts that they were formed of."""
    store, parts = ExactStore(2, {"w": torch.Size([4, 3])}), list(counted.parts(a, b))
    for part in parts:
        store.weigh(part.weights)
        store.add_outer("w", part.prompts, part.b, part.a)
    return store.rows()["w"].view(2, 4, 3), len(parts)


@pytest.mark.parametrize("differs", [False, True])  # as with dropout
def test_where_rollouts_share_a_layers_input_their_gradients_are_summed_first(differs):
    a, b = torch.randn(2, 3, 3)[[0, 1, 0, 1]], torch.randn(4, 3, 4)
    a[:, 2] = torch.randn(4, 3)  # of the completion
    if differs:
        a[3, :2] *= 2
    counted = CountedRollouts([0, 1, 0, 1], PROMPT_IDS, num_tokens=12)
    counted.weigh(FACTORS)
    expected = torch.einsum("b,bto,bti->boi", FACTORS, b, a)
    measured, num_parts = formed(counted, a, b)
    torch.testing.assert_close(measured, torch.stack([expected[0] + expected[2], expected[1] + expected[3]]))
    assert num_parts == (1 if differs else 2)


def test_rollouts_that_begin_with_other_tokens_share_nothing():
    other = PROMPT_IDS.clone()
    other[3, 0] = 9
    assert CountedRollouts([0, 1, 0, 1], PROMPT_IDS, num_tokens=12).num_shared == 2
    assert CountedRollouts([0, 1, 0, 1], other, num_tokens=12).num_shared == 0
    assert CountedRollouts([0, 1, 0, None], other, num_tokens=12).num_shared == 0  # it would save little


def test_the_first_failure_of_a_batch_is_noted_in_one_place_and_ends_nothing():
    def rule(store, layer, prompts, a, b):
        raise RuntimeError("in the backward pass")

    linear, shapes = torch.nn.Linear(3, 4), {"w": torch.Size([4, 3])}
    taps = TrainingPass([Layer("linear", linear, rule, {"weight": "w"})], lambda n: ExactStore(n, shapes))
    for _ in range(2):  # micro-batches
        taps.begin([0, 0, 1, 1], PROMPT_IDS, num_tokens=12)
        loss = linear(torch.randn(4, 3, 3)).sum()
        loss.backward()
        taps.abandon()
        assert str(taps.failure) == "in the backward pass"
    assert linear.weight.grad.any()  # training goes on
    with taps.failures_noted():
        raise ValueError("a later one")
    assert str(taps.failure) == "in the backward pass"
