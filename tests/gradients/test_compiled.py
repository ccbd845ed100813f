"""Models compiled by `torch.compile`, with graphs that were made before the measurement and know nothing of it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from by_definition import assert_measured_whole
from policies import qwen, rollouts


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def each_layer(model: Any) -> Any:
    for layer in model.model.layers:
        layer.compile(backend="eager")
    return model


def one_linear_layer(model: Any) -> Any:
    model.model.layers[0].mlp.down_proj.compile(backend="eager")
    return model


@pytest.fixture(autouse=True)
def _no_graphs_of_other_tests() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    "compiled",
    [lambda model: torch.compile(model, backend="eager"), in_place, each_layer, one_linear_layer],
    ids=["wrapped", "in place", "each layer", "one linear layer"],
)
def test_a_compiled_model_that_has_graphs_of_its_training(compiled):
    model = compiled(qwen(num_hidden_layers=1))
    for train in (True, False):
        model.train(train)
        for length in (7, 9):  # the second makes graphs for any length
            model(input_ids=torch.ones(2, length, dtype=torch.long), use_cache=False).logits.sum().backward()
    model.zero_grad()
    assert_measured_whole(model, rollouts())
