import pytest
import torch

from passk_trl.control import InterferenceWeights
from passk_trl.estimators import passk_advantages
from situations import rewards, situation


def test_prompts_that_oppose_lose_weight_in_training():
    batch = rewards([14, 13, 12, 1])
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-0.9, 0.0]], dtype=torch.float64)
    decision = InterferenceWeights().decide(situation(batch, gram=lambda: gradients @ gradients.T))
    weights = (decision.advantages_PG / passk_advantages(batch.double(), 1))[:, 0]
    assert (weights[:3] > 0).all()  # pass@8 gives all weight to the prompt that opposes
    assert weights @ torch.tensor([1.1 / 3, 1.1 / 3, 1.1 / 3, -0.9], dtype=torch.float64) == pytest.approx(0, abs=1e-9)
    assert decision.figures["moved"] > 0
    assert decision.blind is None


def test_a_batch_of_one_prompt_or_without_memory_gets_the_weights_of_passk():
    batch = rewards([2])
    expected = passk_advantages(batch.double(), 8, "loo")

    def no_memory():
        raise torch.OutOfMemoryError

    for gram, reason in ((lambda: torch.ones(1, 1), "noise hides"), (no_memory, "do not fit into memory")):
        decision = InterferenceWeights().decide(situation(batch, gram=gram))
        torch.testing.assert_close(decision.advantages_PG, expected)
        assert reason in decision.blind
        assert decision.figures == {"moved": 0}


@pytest.mark.parametrize("value", [-1.0, torch.nan], ids=["opposed", "nan"])
def test_a_batch_whose_prompts_oppose_each_other_gets_the_weights_of_passk(value):
    batch = rewards([1, 8, 14])
    gram = torch.full((3, 3), value).fill_diagonal_(1.0).double()
    gram[0, 1] = gram[1, 0] = 0.5  # prompts 0 and 1 agree, but prompt 2 opposes both
    decision = InterferenceWeights().decide(situation(batch, gram=lambda: gram))
    torch.testing.assert_close(decision.advantages_PG, passk_advantages(batch.double(), 8, "loo"))
    assert "noise hides" in decision.blind


def test_without_conflict_the_weights_are_those_of_passk():
    batch = rewards([14, 8, 1])
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])
    decision = InterferenceWeights().decide(situation(batch, gram=lambda: (gradients @ gradients.T).double()))
    assert decision.figures["moved"] == 0
    assert decision.blind is None
