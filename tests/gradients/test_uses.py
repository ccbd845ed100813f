"""Who uses which parameter: the module whose forward is running, in whatever form it takes the parameter."""

import pytest
import torch
from torch import nn

from passk_trl.gradients.selection import select
from passk_trl.gradients.uses import watched_uses


class Model(nn.Module):
    """Calls a layer, and then does with another what a test says."""

    def __init__(self, use=lambda x, layer: x):
        super().__init__()
        self.called, self.read = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.use = use

    def forward(self, x):
        return self.use(self.called(x), self.read)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return x @ weight

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


class Failing(nn.Module):
    def forward(self, x):
        raise ArithmeticError


def uses_of(model):
    with watched_uses(model, select(model, "all")) as uses:
        model(torch.ones(2, 3))
    return uses


def hooks_of(model):
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]


@pytest.mark.parametrize(
    "use",
    [
        lambda x, layer: x @ layer.weight.T,
        lambda x, layer: x @ layer.weight.mT,
        lambda x, layer: x + layer.weight[0],
        lambda x, layer: torch.cat([x, layer.weight]),
        lambda x, layer: nn.functional.linear(input=x, weight=layer.weight),
        lambda x, layer: x @ layer.weight.view(3, 3),
    ],
    ids=["T", "mT", "index", "list", "keyword", "view"],
)
def test_a_weight_read_past_its_layer_is_used_by_the_reader(use):
    model = Model(use)
    assert uses_of(model).of == {"called.weight": {model.called}, "read.weight": {model}}


def test_called_by_its_layer_and_read_by_another():
    model = Model(lambda x, layer: layer(x) @ layer.weight)
    assert uses_of(model).of["read.weight"] == {model.read, model}


def test_asking_for_its_shape_is_no_use():
    model = Model(lambda x, layer: x * layer.weight.shape[0] * layer.weight.size(0) * layer.weight.numel())
    assert uses_of(model).of == {"called.weight": {model.called}}


def test_a_use_inside_a_custom_function_is_noted():
    with torch.no_grad():  # as in the survey: that alone is no sign of a custom function
        uses = uses_of(Model(lambda x, layer: Product.apply(x, layer.weight)))
    assert uses.inside_functions == {"read.weight"}


def test_a_module_that_fails_is_not_taken_for_the_user_of_what_follows():
    def use(x, layer):
        with pytest.raises(ArithmeticError):
            model.failing(x)
        return x @ layer.weight

    model = Model(use)
    model.failing = Failing()
    assert uses_of(model).of["read.weight"] == {model}


def test_no_hooks_are_left():
    model, failing = Model(), Model(lambda x, layer: 1 / 0)
    before = hooks_of(model)
    uses_of(model)
    with pytest.raises(ZeroDivisionError):
        uses_of(failing)
    assert hooks_of(model) == hooks_of(failing) == before
