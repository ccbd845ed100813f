"""Taps: they see what a layer itself returns, change nothing, and are gone afterwards."""

import weakref

import pytest
import torch
from torch import nn

from passk_trl.gradients.rules import Layer, rule_for
from passk_trl.gradients.taps import new_anchor, tapped


X = torch.linspace(-1, 1, 6).view(2, 3)


def layer_of(module):
    return Layer("", module, rule_for(module), {"weight": "weight"})


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 4, bias=False)


def gradient_through_tap(module, go_on):
    """Of the weight, formed of what the tap of the layer sees."""
    seen = []
    anchor = new_anchor()
    with tapped([layer_of(module)], anchor, lambda _, a, b: seen.append(b.T @ a)):
        loss = go_on(module(X)).square().sum()
    torch.autograd.grad(loss, anchor)
    (gradient,) = seen
    return gradient


def gradient_of_autograd(module, go_on):
    return torch.autograd.grad(go_on(module(X)).square().sum(), module.weight)[0]


@pytest.mark.parametrize(
    "go_on",
    [lambda y: y.exp(), lambda y: y.mul_(3).add_(1), lambda y: nn.functional.relu(y, inplace=True)],
    ids=["as it is", "changed in place", "relu in place"],
)
def test_what_comes_after_the_layer_may_change_its_output(go_on):
    module = linear()
    assert torch.allclose(gradient_through_tap(module, go_on), gradient_of_autograd(module, go_on))


@pytest.mark.parametrize("prepend", [True, False])
def test_the_layer_is_seen_before_a_hook_of_the_user_changes_its_output(prepend):
    module = linear()
    module.register_forward_hook(lambda _module, _inputs, output: output**2 + 1, prepend=prepend)
    assert torch.allclose(gradient_through_tap(module, torch.exp), gradient_of_autograd(module, torch.exp))


def test_no_gradient_of_the_weight_is_formed():
    module = linear()
    formed = []
    module.weight.register_hook(formed.append)
    gradient_through_tap(module, torch.exp)
    assert formed == []
    assert module.weight.grad is None


def test_the_input_of_a_layer_is_freed_by_the_backward_pass():
    module, anchor, x = linear(), new_anchor(), X.clone()
    inputs = []
    with tapped([layer_of(module)], anchor, lambda _, a, b: inputs.append(weakref.ref(a))):
        output = module(x)  # kept, and the graph below it
    torch.autograd.grad(output.sum(), anchor)
    assert [reference() for reference in inputs] == [None]


def test_the_gradient_goes_on_unchanged_to_the_layers_below():
    module, below = linear(), nn.Linear(3, 3)
    seen = []
    anchor = new_anchor()
    with tapped([layer_of(module), layer_of(below)], anchor, lambda layer, a, b: seen.append((layer.module, b.T @ a))):
        loss = module(below(X).tanh()).square().sum()
    torch.autograd.grad(loss, anchor)
    assert [each for each, _ in seen] == [module, below]
    (expected,) = torch.autograd.grad(module(below(X).tanh()).square().sum(), below.weight)
    assert torch.allclose(seen[1][1], expected)


def test_the_hooks_are_removed_after_an_exception():
    module = linear()

    def fail_tapped():
        with tapped([layer_of(module)], new_anchor(), lambda *_: None):
            assert len(module._forward_hooks) == 1
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail_tapped()
    assert len(module._forward_hooks) == 0
