"""The weight gradient of each kind of layer in closed form, from its input a and the gradient b at its output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

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
    if type(layer.module).__name__.endswith("LayerNorm"):  # the others, RMS norms, do not centre
        a = a - a.mean(dim=-1, keepdim=True)
    normalised = a * torch.rsqrt(a.square().mean(dim=-1, keepdim=True) + _epsilon(layer.module))
    for own, name in layer.parameters.items():
        vector = (b * normalised).sum(dim=1) if own == "weight" else b.sum(dim=1)
        store.add_vector(name, prompts, vector)


def _epsilon(norm: Any) -> float:
    epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return torch.finfo(torch.float32).eps if epsilon is None else epsilon


def rule_for(module: Any) -> Rule | None:
    """The rule that a module's parameters suggest. If it [`is_certain`] or not is another question."""
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
    """Whether the module computes what PyTorch's own class does. A subclass with its own forward may not."""
    return type(module).forward in (nn.Linear.forward, nn.Embedding.forward, nn.LayerNorm.forward)


def is_compared_with_autograd(module: nn.Module) -> bool:
    """Whether [`agrees`] compares gradients, and not the output alone."""
    return rule_for(module) is _norm


def agrees(module: nn.Module, rule: Rule, inputs: tuple, named_inputs: dict[str, Any], output: Any) -> bool:
    """
    Whether a rule is right for a module, by one of its calls. What is linear in the weight is compared by its output,
    which needs no copy of a large weight, and a norm by the gradient that autograd gives.

    Args:
        module (`torch.nn.Module`):
            With its whole parameters.
        rule (`Rule`):
            Of [`rule_for`].
        inputs, named_inputs, output:
            Of the call.
    """
    a = next(iter((*inputs, *named_inputs.values())), None)
    if not (isinstance(a, Tensor) and isinstance(output, Tensor)):
        return False
    try:
        if rule is _norm:
            return _norm_agrees_with_autograd(module, inputs, named_inputs)
        return _close(_predicted(module, rule, a), output)
    except Exception:  # it cannot be called so; autograd is asked for its gradients
        return False


def _predicted(module: Any, rule: Rule, a: Tensor) -> Tensor:
    """What a layer that is linear in its weight gives, if the rule is right."""
    if rule is _embedding:
        scale = getattr(module, "embed_scale", None)
        selected = module.weight[a]
        return selected if scale is None else selected * scale
    output = a @ (module.weight if isinstance(module, Conv1D) else module.weight.mT)
    return output if module.bias is None else output + module.bias


def _norm_agrees_with_autograd(module: nn.Module, inputs: tuple, named_inputs: dict[str, Any]) -> bool:
    inputs = tuple(map(_made_up, inputs))
    named_inputs = {name: _made_up(each) for name, each in named_inputs.items()}
    own = {name: p.detach().float().requires_grad_() for name, p in module.named_parameters(recurse=False)}
    device = inputs[0].device
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        swapped = {f"module.{name}": parameter for name, parameter in own.items()}
        output = functional_call(_WithoutHooks(module), swapped, inputs, named_inputs)
        b = torch.linspace(-1, 1, output.numel(), device=device).view(output.shape)
        expected = torch.autograd.grad(output, list(own.values()), b)
    store = ExactStore(1, {name: parameter.shape for name, parameter in own.items()})
    _norm(store, Layer("", module, _norm, {name: name for name in own}), [0], *grouped(1, inputs[0], b))
    formed = store.rows()
    return all(_close(formed[name][0, 0], gradient) for name, gradient in zip(own, expected, strict=True))


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


def _made_up(value: Any) -> Any:
    """Other numbers of the same shape, in single precision: a model's own may have a structure that hides mistakes."""
    if not (isinstance(value, Tensor) and value.dtype.is_floating_point):
        return value
    return torch.arange(value.numel(), device=value.device, dtype=torch.float32).sin().view(value.shape)


def _close(measured: Tensor, expected: Tensor) -> bool:
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 3e-2
    return bool((measured.float() - expected.float()).norm() <= tolerance * expected.float().norm())
