"""The survey: a closed form stands only where it agrees with what the model does. The rest is asked of autograd."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

import zoo
from passk_trl.gradients.causal_lm import CausalLM
from passk_trl.gradients.selection import select
from passk_trl.gradients.survey import survey
from policies import GROUPED, qwen


class ScalesFirst(nn.Module):
    """Looks like an RMS norm, but multiplies by its weight before it normalises."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon
        self.weight.data += torch.linspace(0, 1, len(self.weight))

    def forward(self, x):
        scaled = self.weight * x
        return scaled * torch.rsqrt(scaled.square().mean(-1, keepdim=True) + self.variance_epsilon)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Wrapped(nn.Module):
    """An MLP, with something done around it."""

    def __init__(self, mlp, around):
        super().__init__()
        self.mlp, self.around = mlp, around

    def forward(self, x):
        return self.around(self.mlp, x)


def by_column(mlp, x):
    """Depends on the column of a token, so on the padding on its left."""
    return mlp(x) * (1 + torch.arange(x.size(1))).unsqueeze(-1)


def with_rows_last(mlp, x):
    return mlp(x.transpose(0, 1)).transpose(0, 1)


def flattened(mlp, x):
    return mlp(x.flatten(0, 1)).view_as(x)


def reading_the_weight_of_a_layer(mlp, x):
    return mlp(x) + x @ mlp.gate_proj.weight.T @ mlp.up_proj.weight


def plan_of(model, parameters="all"):
    causal_lm = CausalLM(model.eval(), 1.0, nullcontext)
    return survey(causal_lm, select(model, parameters), torch.device("cpu"))


def asked(plan):
    return [each.name for each in plan.in_graph]


def qwen_around(around):
    model = qwen()
    model.model.layers[0].mlp = Wrapped(model.model.layers[0].mlp, around)
    return model


def test_a_norm_that_scales_before_it_normalises_is_asked_of_autograd():
    model = qwen()
    layer = model.model.layers[1]
    layer.input_layernorm = ScalesFirst(layer.input_layernorm)
    assert asked(plan_of(model)) == ["model.layers.1.input_layernorm.weight"]


def test_a_linear_layer_that_doubles_its_output_is_asked_of_autograd():
    model = qwen()
    model.model.layers[0].mlp.down_proj = Doubling(48, 32)
    assert asked(plan_of(model)) == [f"model.layers.0.mlp.down_proj.{own}" for own in ("weight", "bias")]


def test_a_scaled_embedding_is_in_closed_form():
    model = Gemma3ForCausalLM(Gemma3TextConfig(**GROUPED, head_dim=8))
    assert model.model.embed_tokens.embed_scale != 1
    plan = plan_of(model)
    assert asked(plan) == []
    assert "model.embed_tokens" in [layer.name for layer in plan.layers]


def test_a_weight_that_another_module_reads_is_asked_of_autograd():
    model = qwen_around(reading_the_weight_of_a_layer)
    assert asked(plan_of(model)) == [f"model.layers.0.mlp.mlp.{name}_proj.weight" for name in ("gate", "up")]


def test_a_parameter_that_is_not_used_is_covered():
    model = qwen()
    model.unused = nn.Parameter(torch.ones(5))
    plan = plan_of(model)
    assert asked(plan) == ["unused"]
    coverage = plan.coverage(left_out=set())
    assert (coverage.covered, coverage.total) == (model.num_parameters(), model.num_parameters())
    assert coverage.in_graph == 5


@pytest.mark.parametrize(
    ("around", "one_prompt"),
    [(by_column, True), (with_rows_last, True), (flattened, False), (nn.Module.__call__, False)],
    ids=["padding matters", "rows are mixed", "flattened", "plain"],
)
def test_prompts_share_a_pass_only_if_they_can_be_told_apart(around, one_prompt):
    plan = plan_of(qwen_around(around))
    assert asked(plan) == []
    assert plan.one_prompt_a_pass == one_prompt


@pytest.mark.parametrize("family", ["qwen3_moe", "bamba"])
def test_the_plan_is_the_same_at_each_call_and_in_the_order_of_the_parameters(family):
    model = zoo.tiny_model(family)
    state = torch.get_rng_state()
    first, second = plan_of(model), plan_of(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(first.shapes.items()) == [(name, p.shape) for name, p in model.named_parameters()]
    described = [(p.layers, p.experts, p.head, asked(p), p.one_prompt_a_pass, list(p.shapes)) for p in (first, second)]
    assert described[0] == described[1]
