"""Weights that are used other than by a call of the layer that owns them, and outputs that others change."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from by_definition import assert_measured_whole
from policies import qwen, rollouts


class FusedMLP(nn.Module):
    """Uses its layers' weights without calling them, as fused kernels do."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def forward(self, x: Tensor) -> Tensor:
        gate, up = linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, dim=-1)
        return linear(silu(gate) * up, self.down_proj.weight)


class CalledAndRead(nn.Module):
    """Calls a layer, and uses its weight once more."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x) + 0.1 * linear(x, self.mlp.gate_proj.weight) @ self.mlp.up_proj.weight


class CalledTwice(nn.Module):
    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x) + self.mlp(0.5 * x)


class Attending(nn.Module):
    """PyTorch's own attention, which reads the weight of its out_proj, after the MLP."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp
        self.attention = nn.MultiheadAttention(32, num_heads=4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        future = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
        x = self.mlp(x)
        return x + self.attention(x, x, x, attn_mask=future, need_weights=False)[0]


class Transposed(nn.Module):
    """Swaps rows and tokens around a layer, as some mixers do."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x.transpose(0, 1)).transpose(0, 1)


class Flattened(nn.Module):
    """Calls a layer on the tokens of all rollouts as one list."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x.flatten(0, 1)).view_as(x)


class Scale(nn.Module):
    """A trainable number, used at every layer."""

    def __init__(self, mlp: Any):
        super().__init__()
        self.mlp = mlp
        self.log_scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_scale.exp() * self.mlp(x)


@pytest.mark.parametrize(
    "wrap", [FusedMLP, CalledAndRead, CalledTwice, Attending, Transposed, Flattened, Scale], ids=lambda it: it.__name__
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_mlp_that_uses_its_weights_in_another_way(wrap, batch_size):
    model = qwen()
    for layer in model.model.layers:
        layer.mlp = wrap(layer.mlp)
    assert_measured_whole(model, rollouts(), batch_size=batch_size)


def test_layers_that_share_a_module():
    model = qwen()
    model.model.layers[1].mlp = model.model.layers[0].mlp
    assert_measured_whole(model, rollouts())


def test_a_weight_shared_by_two_layers():
    model = qwen()
    first, second = (layer.self_attn for layer in model.model.layers)
    second.k_proj.weight = first.v_proj.weight
    assert_measured_whole(model, rollouts())


@pytest.mark.parametrize(
    "name", ["model.layers.0.mlp.down_proj", "model.layers.1.input_layernorm", "model.embed_tokens"]
)
def test_a_hook_of_the_user_that_changes_what_a_layer_gives(name):
    model = qwen()
    model.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: 2 * output + output**2)
    assert_measured_whole(model, rollouts())


def test_a_hook_of_the_user_that_changes_what_a_layer_takes():
    model = qwen()
    model.model.layers[0].mlp.down_proj.register_forward_pre_hook(lambda _module, inputs: (2 * inputs[0],))
    assert_measured_whole(model, rollouts())


def test_a_weight_under_a_parametrization():
    model = qwen()
    nn.utils.parametrizations.weight_norm(model.model.layers[0].mlp.down_proj)
    assert_measured_whole(model, rollouts())
