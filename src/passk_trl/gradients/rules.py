"""The weight gradient of each kind of layer in closed form, from its input a and the gradient b at its output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from passk_trl.distributed.ranks import AnotherRankFailed
from passk_trl.distributed.sharded_parameters import shape_of

from .store import ExactStore, Store


# (store, layer, prompts, a, b) → adds to the store. a and b have a row of tokens for each prompt, `(B, T, …)`.
Rule = Callable[[Store, "Layer", list[int], Tensor, Tensor], None]


@dataclass(frozen=True)
class Layer:
    """A module with trainable parameters that a rule covers."""

    name: str
    module: Any
    rule: Rule
    parameters: dict[str, str]  # own parameter name → name in the store, shared by tied parameters


def _linear(store: Store, layer: Layer, prompts: list[int], a: Tensor, b: Tensor) -> None:
    for own, name in layer.parameters.items():
        if own == "bias":
            store.add_vector(name, prompts, b.float().sum(dim=1))
        elif isinstance(layer.module, Conv1D):  # keeps its weight as (in, out)
            store.add_outer(name, prompts, a, b)
        else:
            store.add_outer(name, prompts, b, a)


def _embedding(store: Store, layer: Layer, prompts: list[int], a: Tensor, b: Tensor) -> None:
    if (padding := layer.module.padding_idx) is not None:  # autograd gives this row no gradient
        b = b * (a != padding).unsqueeze(-1)
    if (scale := getattr(layer.module, "embed_scale", None)) is not None:
        b = b.float() * scale
    store.add_selected(layer.parameters["weight"], prompts, a, b)


def _norm(store: Store, layer: Layer, prompts: list[int], a: Tensor, b: Tensor) -> None:
    a, b = a.float(), b.float()
    if isinstance(layer.module, nn.LayerNorm) or type(layer.module).__name__.endswith("LayerNorm"):  # RMS norms do not
        a = a - a.mean(dim=-1, keepdim=True)
    size = torch.linalg.vector_norm(a, dim=-1).square() / a.size(-1)
    scale = torch.rsqrt(size + _epsilon(layer.module)).unsqueeze(1)
    for own, name in layer.parameters.items():
        vector = (scale @ (b * a)).squeeze(1) if own == "weight" else b.sum(dim=1)
        store.add_vector(name, prompts, vector)


def _epsilon(norm: Any) -> float:
    epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return torch.finfo(torch.float32).eps if epsilon is None else epsilon


def rule_for(module: Any) -> Rule | None:
    """The rule that a module's parameters suggest. [`agrees_with_autograd`] tells whether it is right."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    if not {"weight"} <= own <= {"weight", "bias"}:
        return None
    if isinstance(module, (nn.Linear, Conv1D)):
        return _linear
    if isinstance(module, nn.Embedding):
        return None if module.scale_grad_by_freq or module.max_norm is not None else _embedding
    if hasattr(module, "variance_epsilon") or hasattr(module, "eps"):
        return _norm if len(shape_of(module.weight)) == 1 else None
    return None


def is_certain(module: nn.Module) -> bool:
    """Whether the module computes what a linear layer or embedding of PyTorch does, or GPT-2's `Conv1D`."""
    own_forwards = (nn.Linear.forward, nn.Embedding.forward, Conv1D.forward)
    is_own = type(module).forward in own_forwards and "forward" not in vars(module)
    return is_own and not hasattr(module, "embed_scale")


def agrees_with_autograd(module: nn.Module, rule: Rule, inputs: tuple, named_inputs: dict[str, Any]) -> bool:
    """
    Whether a rule gives the gradients that autograd gives. The module is called as in the model, but with made-up
    numbers: its own may have a structure that hides mistakes.

    Args:
        module (`torch.nn.Module`):
            With its whole parameters.
        rule (`Rule`):
            Of [`rule_for`].
        inputs, named_inputs:
            What the module was called with.
    """
    given = (*inputs, *named_inputs.values())
    if not (given and isinstance(given[0], Tensor)):
        return False
    try:
        return _agrees(module, rule, inputs, named_inputs)
    except (torch.OutOfMemoryError, AnotherRankFailed):
        raise  # known to all ranks, which must plan alike
    except Exception:  # it cannot be called so; autograd is asked for its gradients
        return False


def _agrees(module: Any, rule: Rule, inputs: tuple, named_inputs: dict[str, Any]) -> bool:
    own = {name: _part(module, p.detach()) for name, p in module.named_parameters(recurse=False)}
    made_up = [_made_up(module, each, place) for place, each in enumerate((*inputs, *named_inputs.values()))]
    inputs, named_inputs = tuple(made_up[: len(inputs)]), dict(zip(named_inputs, made_up[len(inputs) :], strict=True))
    a = next(iter((*inputs, *named_inputs.values())))
    with torch.enable_grad(), torch.autocast(a.device.type, enabled=False):
        swapped = {f"module.{name}": parameter.requires_grad_() for name, parameter in own.items()}
        output = functional_call(_WithoutHooks(module), swapped, inputs, named_inputs)
        b = torch.linspace(-1, 1, output.numel(), device=a.device).view(output.shape)
        expected = torch.autograd.grad(output, list(own.values()), b)
    store = ExactStore(1, {name: parameter.shape for name, parameter in own.items()})
    rule(store, Layer("", module, rule, {name: name for name in own}), [0], *grouped(1, a, b))
    formed = store.rows()
    return all(_close(formed[name].flatten(), each.flatten()) for name, each in zip(own, expected, strict=True))


def _part(module: Any, parameter: Tensor) -> Tensor:
    """A copy of a parameter in single precision; of an embedding the first rows, so that nothing large is formed."""
    part = parameter[: _rows_of(module)] if isinstance(module, nn.Embedding) else parameter
    return part.to(torch.float32, copy=True)


def _rows_of(module: nn.Embedding) -> int:
    """Rows that include the one of padding, which has no gradient."""
    return min(module.num_embeddings, max(16, (module.padding_idx or 0) + 1))


def _made_up(module: Any, value: Any, place: int) -> Any:
    """
    Other numbers of the same shape for the input in a place, of an embedding for the first alone. Half of the tokens
    have numbers so small that a norm's epsilon counts.
    """
    if not isinstance(value, Tensor):
        return value
    counted = torch.arange(value.numel(), device=value.device)
    if isinstance(module, nn.Embedding) and place == 0:
        return (counted % _rows_of(module)).view(value.shape)
    if not value.dtype.is_floating_point:
        return value
    tokens = (counted + place).float().sin().view(-1, value.size(-1))
    tokens[::2] *= 1e-3
    return tokens.view(value.shape)


def grouped(B: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's input and the gradient at its output, with one row of tokens for each of B prompts, `(B, T, …)`."""
    of_tokens = a if a.dtype.is_floating_point else a.unsqueeze(-1)  # an embedding's input has no last dimension
    rows = of_tokens.reshape(B, -1, of_tokens.size(-1))
    return rows if a.dtype.is_floating_point else rows.squeeze(-1), b.reshape(B, -1, b.size(-1))


class _WithoutHooks(nn.Module):
    """Calls a module's forward without its hooks, an engine's among them."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **named_inputs: Any) -> Tensor:
        return self.module.forward(*inputs, **named_inputs)


def _close(measured: Tensor, expected: Tensor) -> bool:
    return bool(expected.norm() > 0 and (measured - expected).norm() <= 1e-4 * expected.norm())
