"""The Gram matrix of every family of causal language models in transformers, against autograd without padding."""

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import zoo
from passk_trl.gradients import gram_matrix
from policies import relative_error
from zoo_configs import EXCEPTIONS, LEFT_OUT


# All that a module can carry of a pass.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def left_on(model: torch.nn.Module) -> list:
    """What a measurement could leave on a model: modes, hooks, the way that experts are computed, gradients."""
    modules = [
        (module.training, *(len(getattr(module, hooks)) for hooks in HOOKS), "forward" in vars(module))
        for module in model.modules()
    ]
    experts = [
        getattr(module.config, "_experts_implementation", None)
        for module in model.modules()
        if hasattr(module, "config")
    ]
    parameters = [(p.grad, p.requires_grad, len(p._backward_hooks or ())) for p in model.parameters()]
    return [modules, experts, parameters]


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_the_gram_matrix_is_autograds(family):
    model, data = zoo.tiny_model(family), zoo.rollouts()
    expected_NN = zoo.gram_one_by_one(model, data)
    before = left_on(model)
    measured = gram_matrix(model, data, pad_token_id=0)
    assert relative_error(measured.gram_NN, expected_NN) <= 1e-4
    assert measured.coverage.fraction == 1
    assert measured.coverage.left_out == ()
    assert left_on(model) == before


def test_every_family_is_measured_or_left_out_with_a_reason():
    assert set(zoo.FAMILIES) | set(LEFT_OUT) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert EXCEPTIONS.keys() <= set(zoo.FAMILIES)
