"""Rows of a training batch that are taken through the model once more."""

import weakref

import pytest
import torch

import rollout_kinds
import trainers
from passk_trl.gradients import own_pass
from passk_trl.gradients.of_trainer import TrainedGradients


WEIGHTS = torch.zeros(64).index_fill_(0, torch.arange(5, 64, 3), 0.5).double()


@pytest.fixture(params=["tools", "images"])
def trainer(request, tmp_path):
    trainer = rollout_kinds.KINDS[request.param](tmp_path)
    trainer.model_wrapped = trainer.model
    return trainer


@pytest.fixture
def at_a_time(trainer):
    """The numbers of rows that the first layer of the language model was given, and how many are too many."""
    seen = {"rows": [], "too many": 100}

    def limited(_module, _inputs, output):
        if torch.is_grad_enabled():
            seen["rows"].append(len(output))
            if len(output) >= seen["too many"]:
                raise torch.OutOfMemoryError("no memory left")

    trainer.model.get_decoder().layers[0].mlp.register_forward_hook(limited)
    return seen


def taken(trainer, gradients, batch):
    rows, parts = [], []
    gradients.take_rows(batch, WEIGHTS, None, lambda some, gradient: (rows.extend(some), parts.append(gradient)))
    assert rows == WEIGHTS.nonzero().flatten().tolist()
    assert not any(p.grad is not None for p in trainer.model.parameters())
    return torch.cat(parts)


def test_a_pass_is_halved_when_memory_runs_out(trainer, at_a_time):
    gradients, batch = TrainedGradients(trainer, "all"), trainers.generate_and_score(trainer)
    at_a_time["rows"].clear()
    expected = taken(trainer, gradients, batch)
    assert at_a_time["rows"] == [8, 8, 4]
    at_a_time["rows"].clear()
    at_a_time["too many"] = 3
    halved = taken(trainer, gradients, batch)
    assert at_a_time["rows"] == [8, 4, *[2] * 10]
    at_a_time["rows"].clear()
    taken(trainer, gradients, batch)
    assert at_a_time["rows"] == [2] * 10  # what worked is remembered
    assert torch.allclose(halved, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert trainer.model.training


def test_one_row_that_does_not_fit_is_an_error(trainer, at_a_time):
    gradients, batch = TrainedGradients(trainer, "all"), trainers.generate_and_score(trainer)
    at_a_time["too many"] = 1
    with pytest.raises(torch.OutOfMemoryError):
        gradients.take_rows(batch, WEIGHTS, None, None)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_keeps_no_more_activations_than_one_of_training(checkpointing, tmp_path, monkeypatch):
    trainer = trainers.build(tmp_path)
    trainer.model_wrapped = trainer.model
    if checkpointing:
        trainer.model.gradient_checkpointing_enable()  # as transformers does when training begins
    gradients, batch = TrainedGradients(trainer, "all"), trainers.generate_and_score(trainer)
    layers, inputs, kept = trainer.model.get_decoder().layers, [], []
    for layer in layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _module, args: inputs.append(weakref.ref(args[0])))

    def log_probs_and_count(*args):
        inputs.clear()
        result = log_probs(*args)
        kept.append(sum(reference() is not None for reference in inputs))
        return result

    log_probs = own_pass._log_probs
    monkeypatch.setattr(own_pass, "_log_probs", log_probs_and_count)
    gradients.take_rows(batch, torch.ones(len(batch["prompt_ids"])), None, lambda some, gradient: None)
    assert kept == [0 if checkpointing else len(layers)] * len(kept)
    assert kept
    assert not any("forward" in vars(layer) for layer in layers)
