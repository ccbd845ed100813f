import pytest
import torch

from passk_trl.control import InterferenceWeights
from passk_trl.estimators import passk_advantages
from situations import rewards, situation


def test_prompts_that_oppose_lose_weight_in_training():
    batch = rewards([14, 13, 12, 1])
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    decision = InterferenceWeights().decide(situation(batch, gram=lambda: (gradients @ gradients.T).double()))
    weights = (decision.advantages_PG / passk_advantages(batch.double(), 1))[:, 0]
    assert (weights[:3] > 0).all()  # pass@8 gives all weight to the prompt that opposes
    assert weights @ torch.tensor([1 / 3, 1 / 3, 1 / 3, -1], dtype=torch.float64) == pytest.approx(0, abs=1e-9)
    assert decision.figures["moved"] > 0


def test_a_batch_of_one_prompt_or_without_memory_gets_the_weights_of_passk():
    batch = rewards([2])
    expected = passk_advantages(batch.double(), 8, "loo")

    def no_memory():
        raise torch.OutOfMemoryError

    for gram in (lambda: torch.ones(1, 1), no_memory):
        torch.testing.assert_close(InterferenceWeights().decide(situation(batch, gram=gram)).advantages_PG, expected)


def test_without_conflict_the_weights_are_those_of_passk():
    batch = rewards([14, 8, 1])
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])
    decision = InterferenceWeights().decide(situation(batch, gram=lambda: (gradients @ gradients.T).double()))
    assert decision.figures["moved"] == 0
