"""Taps: identities on the outputs of layers, which hand over the gradients that arrive there in the backward pass.

Autograd is asked for the gradient of a constant that all taps share, never of a weight that they cover. So autograd
forms no weight gradient for them, no engine's reduction hook fires, and `.grad` is never touched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .rules import Layer


class _Tap(torch.autograd.Function):
    """The identity, whose backward pass hands the gradient to `sink`. `anchor` makes autograd call it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, sink: Callable[[Tensor], None]) -> Tensor:
        ctx.sink = sink
        return output.detach()  # not a view, which the model could not change in place

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        ctx.sink(gradient.detach())
        del ctx.sink  # frees the layer's input, once autograd frees it too
        return gradient, gradient.new_zeros(()), None


def tap(output: Tensor, anchor: Tensor, sink: Callable[[Tensor], None]) -> Tensor:
    """The output, whose gradient goes to `sink` in a backward pass to `anchor`."""
    return _Tap.apply(output, anchor, sink)


def new_anchor() -> Tensor:
    """A scalar that requires gradients, for [`tap`]."""
    return torch.zeros((), dtype=torch.float32, requires_grad=True)


@contextmanager
def tapped(
    layers: list[Layer], anchor: Tensor, on_gradient: Callable[[Layer, Tensor, Tensor], None]
) -> Iterator[None]:
    """
    Inside, a backward pass to the anchor calls `on_gradient(layer, input, gradient at the output)`.

    The hooks are removed at the end, also after an exception. They see what a layer itself returns, before the hooks
    of others change it.
    """

    def hook_of(layer: Layer) -> Callable[[nn.Module, tuple, dict, Tensor], Tensor]:
        def hook(_module: nn.Module, inputs: tuple, named_inputs: dict, output: Tensor) -> Tensor:
            a = next(iter((*inputs, *named_inputs.values()))).detach()
            return tap(output, anchor, lambda b: on_gradient(layer, a, b))

        return hook

    handles = [layer.module.register_forward_hook(hook_of(layer), with_kwargs=True, prepend=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
