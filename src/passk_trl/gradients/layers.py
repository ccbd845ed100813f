"""The layers whose weight gradient can be formed from their input and the gradient at their output.

A forward hook puts an identity on each layer's output. In the backward pass the identity hands the gradient to the
layer's rule. Autograd is asked for the gradient of a constant that all identities share, never of a parameter. So no
weight gradient is computed by autograd, no engine's reduction hook fires, and `.grad` is never touched.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from passk_trl.distributed.sharded_parameters import shape_of, size_of

from .scored_rollouts import PaddedBatch
from .store import Store


# (store, layer, batch, layer input, gradient at the layer's output) → adds to the store
Rule = Callable[[Store, "Layer", PaddedBatch, Tensor, Tensor], None]


@dataclass(frozen=True)
class Layer:
    """A module with trainable parameters that a rule covers."""

    name: str
    module: Any
    rule: Rule
    parameters: dict[str, str]  # own parameter name → name in the store, shared by tied parameters


@dataclass(frozen=True)
class Coverage:
    """
    Which of the trainable parameters the gradients cover.

    Args:
        covered (`int`): Number of parameters measured.
        total (`int`): Number of trainable parameters selected.
        left_out (`tuple[str, ...]`): Names of the parameters whose kind of layer no rule covers.
    """

    covered: int
    total: int
    left_out: tuple[str, ...] = field(default=())

    @property
    def fraction(self) -> float:
        return self.covered / self.total


# Each kind of layer has one rule. a: the layer's input. b: the gradient at its output.


def _linear(store: Store, layer: Layer, batch: PaddedBatch, a: Tensor, b: Tensor) -> None:
    a, b = batch.group(a), batch.group(b)
    for own, name in layer.parameters.items():
        if own == "weight":
            store.add_outer(name, shape_of(layer.module.weight), batch.prompts, b, a)
        else:
            store.add_vector(name, batch.prompts, b.float().sum(dim=1))


def _embedding(store: Store, layer: Layer, batch: PaddedBatch, a: Tensor, b: Tensor) -> None:
    if layer.module.padding_idx is not None:  # autograd gives this row no gradient
        b = b * (a != layer.module.padding_idx).unsqueeze(-1)
    name = layer.parameters["weight"]
    store.add_selected(name, shape_of(layer.module.weight), batch.prompts, batch.group(a), batch.group(b))


def _norm(store: Store, layer: Layer, batch: PaddedBatch, a: Tensor, b: Tensor) -> None:
    a, b = batch.group(a).float().flatten(1, -2), batch.group(b).float().flatten(1, -2)
    if isinstance(layer.module, nn.LayerNorm):
        a = a - a.mean(dim=-1, keepdim=True)
    normalised = a * torch.rsqrt(a.square().mean(dim=-1, keepdim=True) + _epsilon(layer.module))
    for own, name in layer.parameters.items():
        vector = (b * normalised).sum(dim=1) if own == "weight" else b.sum(dim=1)
        store.add_vector(name, batch.prompts, vector)


def _epsilon(norm: Any) -> float:
    epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return torch.finfo(torch.float32).eps if epsilon is None else epsilon


def _rule(module: nn.Module) -> Rule | None:
    # A subclass with its own forward computes something else, and is not covered.
    forward = type(module).forward
    if forward is nn.Linear.forward:
        return _linear
    if forward is nn.Embedding.forward:
        return _embedding
    is_rms_norm = type(module).__name__.endswith("RMSNorm") and len(inspect.signature(module.forward).parameters) == 1
    if forward is nn.LayerNorm.forward or is_rms_norm:
        return _norm
    return None


def find_layers(model: nn.Module, parameters: str) -> tuple[list[Layer], Coverage]:
    """
    The layers to measure, the LM head among them if it is trainable, and what is left out.

    Args:
        model (`torch.nn.Module`):
            The policy.
        parameters (`str`):
            `"all"`, or a regular expression that is searched in module names.

    Raises:
        `ValueError`: if `parameters` selects nothing that is trainable and covered.
    """
    store_name: dict[int, str] = {}
    found: list[tuple[str, nn.Module, Rule, dict[str, str]]] = []
    left_out: list[str] = []
    for name, module in model.named_modules():
        own = {key: p for key, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not own or not (parameters == "all" or re.search(parameters, name)):
            continue
        names = {key: store_name.setdefault(id(p), f"{name}.{key}") for key, p in own.items()}
        rule = _rule(module)
        if rule is None:
            left_out += names.values()
        else:
            found.append((name, module, rule, names))
    # A parameter with two roles is left out of both if one is not covered: half of its gradient would be wrong.
    layers = [Layer(n, m, rule, {k: s for k, s in names.items() if s not in left_out}) for n, m, rule, names in found]
    layers = [layer for layer in layers if layer.parameters]
    sizes = {store_name[id(p)]: size_of(p) for p in model.parameters() if id(p) in store_name}
    left_out = list(dict.fromkeys(left_out))
    coverage = Coverage(sum(sizes.values()) - sum(sizes[n] for n in left_out), sum(sizes.values()), tuple(left_out))
    if coverage.covered == 0:
        raise ValueError(
            f"parameters={parameters!r} selects no trainable parameter of a linear, embedding or norm layer; set "
            "'all' or a regular expression that matches module names, such as 'q_proj|v_proj'."
        )
    return layers, coverage


class _Tap(torch.autograd.Function):
    """The identity, whose backward pass hands the gradient to `sink`. `anchor` makes autograd call it."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, anchor: Tensor, sink: Callable[[Tensor], None]) -> Tensor:
        ctx.sink = sink
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        ctx.sink(gradient)
        del ctx.sink  # frees the layer's input, once autograd frees it too
        return gradient, gradient.new_zeros(()), None


@contextmanager
def tapped(layers: list[Layer], on_gradient: Callable[[Layer, Tensor, Tensor], None]) -> Iterator[Tensor]:
    """
    Inside, a backward pass to the yielded anchor calls `on_gradient(layer, input, gradient at the output)`.

    The anchor is a scalar that requires gradients. The hooks are removed at the end, also after an exception.
    """
    anchor = torch.zeros((), requires_grad=True)

    def hook_of(layer: Layer) -> Callable[[nn.Module, tuple, dict, Tensor], Tensor]:
        def hook(_module: nn.Module, inputs: tuple, named_inputs: dict, output: Tensor) -> Tensor:
            a = next(iter((*inputs, *named_inputs.values()))).detach()
            return _Tap.apply(output, anchor, lambda b: on_gradient(layer, a, b.detach()))

        return hook

    handles = [layer.module.register_forward_hook(hook_of(layer), with_kwargs=True) for layer in layers]
    try:
        yield anchor
    finally:
        for handle in handles:
            handle.remove()
