"""The comparison of a plan with autograd: what the survey cannot see is refused, and what is right passes."""

import pytest
import torch
from torch import nn

from passk_trl.gradients import ScoredRollouts
from passk_trl.gradients.options import GradientOptions
from passk_trl.gradients.rehearsal import rehearse
from passk_trl.gradients.self_check import disagreeing_parameters
from policies import SHAPE, qwen
from tiny import policy_of


WIDTH = SHAPE["hidden_size"]
DIFFER = "differ from those that autograd gives for each rollout alone; set parameters="


@torch.jit.script
def scripted_product(left, right):
    return torch.matmul(left, right)


class Around(nn.Module):
    """An MLP with a linear layer beside it."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp
        self.beside = nn.Linear(WIDTH, WIDTH, bias=False)
        self.view = (self.beside.weight.t(),)


class Scripted(Around):
    """Uses the weight once more, in a function that TorchScript compiled."""

    def forward(self, hidden):
        return self.mlp(hidden) + self.beside(hidden) + scripted_product(hidden, self.beside.weight)


class Viewed(Around):
    """Uses the weight once more, through a view that it made at first."""

    def forward(self, hidden):
        return self.mlp(hidden) + self.beside(hidden) + hidden @ self.view[0]


class Stretched(Around):
    """Depends on the length of the padded batch."""

    def forward(self, hidden):
        return self.mlp(hidden) * (hidden.size(1) / 8)


class Averaged(Around):
    """Attends to padding."""

    def forward(self, hidden):
        return self.mlp(hidden) + hidden.mean(1, keepdim=True)


class Clamped(nn.Module):
    """A norm that clamps large inputs."""

    eps = 1e-6

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH))

    def forward(self, hidden):
        clamped = hidden.clamp(-1.5, 1.5)
        return self.weight * clamped * torch.rsqrt(clamped.square().mean(-1, keepdim=True) + self.eps)


def with_mlps(around):
    model = qwen()
    for layer in model.model.layers:
        layer.mlp = around(layer.mlp)
    return model


@pytest.mark.parametrize("around", [Scripted, Viewed, Stretched, Averaged])
def test_an_mlp_that_the_survey_takes_for_another_is_refused(around):
    with pytest.raises(ValueError, match=DIFFER):
        rehearse(with_mlps(around), pad_token_id=0)


def test_a_norm_that_clamps_large_inputs_is_refused():
    model = qwen()
    for layer in model.model.layers:
        layer.input_layernorm = Clamped()
    model.model.embed_tokens.weight.data *= 100
    with pytest.raises(ValueError, match=DIFFER):
        rehearse(model, pad_token_id=0)


def test_a_hook_of_all_modules_is_refused():
    def doubled(module, inputs, output):
        return (
            output * 2 if isinstance(module, nn.Linear) and module.in_features == SHAPE["intermediate_size"] else None
        )

    hook = nn.modules.module.register_module_forward_hook(doubled)
    try:
        with pytest.raises(ValueError, match=DIFFER):
            rehearse(qwen(), pad_token_id=0)
    finally:
        hook.remove()
    rehearse(qwen(), pad_token_id=0)


def disagreeing(model):
    tokens = ScoredRollouts([[3, 10], [1, 2, 3, 4]], [[[5, 6], [7]], [[2], [8, 9, 1]]], torch.tensor([[1, 0], [0, 1]]))
    return disagreeing_parameters(model.eval(), tokens, GradientOptions(pad_token_id=0))


def test_the_parameters_that_disagree_are_named_alone():
    names = [f"model.layers.{i}.mlp.beside.weight" for i in range(2)]
    assert disagreeing(with_mlps(Scripted)) == names
    rehearse(with_mlps(Scripted), pad_token_id=0, parameters="q_proj|v_proj")


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt2"])
def test_a_right_plan_agrees(family):
    model = policy_of(family)
    assert disagreeing(model) == []
    rehearse(model, pad_token_id=0)
