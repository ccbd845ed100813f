"""The Gram matrix of every family of causal language models in transformers, against autograd without padding."""

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import zoo
from passk_trl.gradients import gradient_rows, gram_matrix
from passk_trl.gradients.rehearsal import rehearse
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


def wrong(rows: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    """The parameters whose gradients differ by more than rounding. One that no gradient reaches needs no rows."""
    rounding = 1e-6 * sum(rows_N.norm() ** 2 for rows_N in expected.values()) ** 0.5
    return [
        name
        for name, rows_N in expected.items()
        if (rows.get(name, torch.zeros(len(rows_N), 1, 1))[:, 0] - rows_N).norm() > 1e-4 * rows_N.norm() + rounding
    ]


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_the_gradients_are_autograds(family):
    """Of each parameter too: the Gram matrix shows little of a small parameter that is wrong."""
    model, data = zoo.tiny_model(family), zoo.rollouts()
    expected = zoo.gradients_one_by_one(model, data)
    before = left_on(model)
    measured = gram_matrix(model, data, pad_token_id=0)
    assert relative_error(measured.gram_NN, zoo.gram_of(expected)) < 1e-5
    assert measured.coverage.left_out == ()
    assert measured.coverage.fraction == 1
    assert measured.coverage.total == sum(rows_N.size(1) for rows_N in expected.values())
    rows = gradient_rows(model, data, pad_token_id=0).rows
    assert wrong(rows, expected) == []
    rehearse(model, pad_token_id=0)  # refuses none
    assert left_on(model) == before


def test_every_family_is_measured_or_left_out_with_a_reason():
    assert set(zoo.FAMILIES) | set(LEFT_OUT) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert EXCEPTIONS.keys() <= set(zoo.FAMILIES)
