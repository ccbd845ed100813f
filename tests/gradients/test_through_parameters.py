"""The way through parameters: tied parameters count once, and an engine that hides gradients is refused."""

import pytest
import torch

from passk_trl.gradients import gradient_rows, gram_matrix
from policies import qwen, relative_error, rollouts


def test_a_tied_parameter_has_the_sum_of_its_roles():
    model, data = qwen(), rollouts()
    reference = gram_matrix(model, data, 0, parameters="embed_tokens", method="parameters")
    rows = gradient_rows(model, data, 0).rows
    assert "lm_head.weight" not in rows
    tied_ND = rows["model.embed_tokens.weight"][:, 0].double()
    assert relative_error(tied_ND @ tied_ND.T, reference.gram_NN) < 1e-5


def test_parameters_that_autograd_does_not_reach_are_refused():
    model = qwen()
    model.unused = torch.nn.Linear(4, 4)
    with pytest.raises(ValueError, match="autograd gave no parameter gradient, as under FSDP; set method='act"):
        gram_matrix(model, rollouts(), 0, parameters="unused", method="parameters")
