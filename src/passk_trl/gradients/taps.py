"""Taps: identities on the outputs of layers, which hand over the gradients that arrive there in the backward pass.

In a pass of the monitor's own, autograd is asked for the gradient of a constant that all taps share, never of a weight
that they cover. So autograd forms no weight gradient for them, no engine's reduction hook fires, and `.grad` is never
touched. In a training step, the taps see what passes by.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .rules import Layer


# Called with a function that gives the input of a layer, and with the gradient at its output.
Sink = Callable[[Callable[[], Tensor], Tensor], None]


class _Tap(torch.autograd.Function):
    """
    The identity, whose backward pass calls `sink`. An `anchor` makes autograd call it where nothing else would.

    Autograd keeps the input, by reference. So it is freed when the graph is, and with gradient checkpointing it is
    computed again. In mixed precision it is one that autograd may not keep itself.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, a: Tensor, sink: Sink, anchor: Tensor | None) -> Tensor:
        ctx.save_for_backward(a)
        ctx.sink, ctx.has_anchor = sink, anchor is not None
        return output.detach()  # not a view, which the model could not change in place

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, Tensor | None]:
        ctx.sink(lambda: ctx.saved_tensors[0], gradient.detach())
        return gradient, None, None, gradient.new_zeros(()) if ctx.has_anchor else None


def tap(output: Tensor, a: Tensor, sink: Sink, anchor: Tensor | None = None) -> Tensor:
    """The output of a layer with the input `a`. In a backward pass, to `anchor` if there is one, `sink` is called."""
    return _Tap.apply(output, a.detach(), sink, anchor)


def input_of(inputs: tuple, named_inputs: dict[str, Any]) -> Tensor:
    """What a layer was called with."""
    return next(iter((*inputs, *named_inputs.values())))


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
            return tap(output, input_of(inputs, named_inputs), lambda a, b: on_gradient(layer, a(), b), anchor)

        return hook

    handles = [layer.module.register_forward_hook(hook_of(layer), with_kwargs=True, prepend=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
