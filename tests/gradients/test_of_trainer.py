"""The Gram matrix of a trainer's model: with the trainer's settings, and the engine reset afterwards."""

import pytest
import torch
from trl import GRPOTrainer

import tiny
from passk_trl.gradients import gram_matrix, of_trainer
from passk_trl.gradients.of_trainer import gram_of_trained
from policies import rollouts


VOCABULARY = 3 + len(tiny.CHARACTERS)


@pytest.fixture
def trainer(tmp_path, monkeypatch) -> GRPOTrainer:
    """A trainer, and in `resets` how often its engine was reset."""
    args = tiny.training_args(tmp_path, temperature=0.7)
    trainer = GRPOTrainer(tiny.policy(), tiny.starts_low, args, tiny.questions(), processing_class=tiny.tokenizer())
    trainer.model_wrapped = trainer.model
    trainer.resets = 0

    def count(of: GRPOTrainer) -> None:
        of.resets += 1

    monkeypatch.setattr("passk_trl.distributed.engine.reset_engine", count)
    monkeypatch.setattr(of_trainer, "reset_engine", count)
    return trainer


def test_temperature_and_padding_are_the_trainers(trainer):
    data = rollouts(vocabulary=VOCABULARY)
    expected = gram_matrix(trainer.model, data, pad_token_id=0, temperature=0.7)
    assert torch.equal(gram_of_trained(trainer, data).gram_NN, expected.gram_NN)
    assert trainer.resets == 1


def test_the_engine_is_reset_after_a_failure_too(trainer):
    with pytest.raises(ValueError, match="selects no trainable parameter"):
        gram_of_trained(trainer, rollouts(vocabulary=VOCABULARY), parameters="no_such")
    assert trainer.resets == 1


def test_the_engine_is_reset_before_a_batch_is_halved(trainer):
    def limited(_module, _inputs, output):
        if len(output) > 5:  # more than the survey's rows
            raise torch.OutOfMemoryError("no memory left")

    trainer.model.model.layers[0].mlp.register_forward_hook(limited)
    gram_of_trained(trainer, rollouts(N=4, n=4, vocabulary=VOCABULARY), batch_size=2)
    assert trainer.resets == 2
