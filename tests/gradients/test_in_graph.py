"""Parameters whose gradients autograd forms: each is handed over once, whole, and then no longer kept."""

import pytest
import torch
from torch import nn

from passk_trl.gradients.in_graph import asked_of_autograd
from passk_trl.gradients.selection import select


X = torch.linspace(-1, 1, 8).view(2, 4)


class Twice(nn.Module):
    """Uses one layer in two places."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.other(self.layer(x).tanh() + self.layer(2 * x)).square().sum()


def test_each_gradient_is_handed_over_once_and_is_the_sum_over_its_uses():
    model = Twice()
    taken = []
    with asked_of_autograd(
        model, select(model, "all"), lambda name, gradient: taken.append((name, gradient))
    ) as whole:
        torch.autograd.grad(model(X), list(whole.values()))
    expected = dict(
        zip(dict(model.named_parameters()), torch.autograd.grad(model(X), model.parameters()), strict=True)
    )
    assert len(taken) == len(expected) == 4
    for name, gradient in taken:
        assert torch.allclose(gradient, expected[name])


def test_autograd_keeps_one_number_of_each():
    model = Twice()
    with asked_of_autograd(model, select(model, "all"), lambda *_: None) as whole:
        kept = torch.autograd.grad(model(X), list(whole.values()))
    assert [gradient.shape for gradient in kept] == [parameter.shape for parameter in model.parameters()]
    assert [gradient.untyped_storage().nbytes() for gradient in kept] == [4] * 4


def test_only_the_parameters_asked_for_are_put_into_the_dictionary():
    model = Twice()
    with asked_of_autograd(model, select(model, r"^layer\."), lambda *_: None) as whole:
        model(X)
    assert whole == {"layer.weight": model.layer.weight, "layer.bias": model.layer.bias}


def test_training_takes_its_gradients_as_before():
    model = Twice()
    expected = torch.autograd.grad(model(X), model.parameters())

    def fail(*_):
        raise MemoryError

    with pytest.raises(MemoryError), asked_of_autograd(model, select(model, "all"), fail) as whole:
        torch.autograd.grad(model(X), list(whole.values()))
    model(X).backward()  # no hook is left that would take the gradients away
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
        assert not parameter._backward_hooks
