"""The experts of a mixture, in closed form: transformers lets their forward be replaced.

Tokens are sorted by expert, so that each expert's are one run of rows, and within it each prompt's are. No expert's
weight gradient is formed for a sketch.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _grouped_linear

from .store import Segment, Store, rows_by_prompt
from .taps import tap


_NAME = "passk_trl"


@dataclass(frozen=True)
class Experts:
    """A module of experts, whose parameters are `(experts, out, in)`, or `(experts, in, out)` if transposed."""

    module: Any
    parameters: dict[str, str]  # own parameter name → name in the store


@dataclass(frozen=True)
class _Sorted:
    """The rows of a pass, sorted by expert: one for each pair of a token and an expert that it is sent to."""

    order_S: Tensor  # row → pair
    token_S: Tensor
    expert_S: Tensor
    ends_E: Tensor  # int32: the end of each expert's rows


# Called instead of the experts' own forward: (module, hidden, top_k_index, top_k_weights) → output
Forward = Callable[[Any, Tensor, Tensor, Tensor], Tensor]
_replaced: dict[nn.Module, Forward] = {}


def _dispatch(module: Any, *inputs: Any, **named_inputs: Any) -> Tensor:
    """What transformers calls: our forward for the modules in `_replaced`, for others the one they had."""
    forward = _replaced.get(module) or own_forward(module)
    return forward(module, *inputs, **named_inputs)


ALL_EXPERTS_FUNCTIONS.register(_NAME, _dispatch)
_before: dict[int, str | None] = {}  # id of a config → its implementation, while ours is set


def own_forward(module: Any) -> Forward:
    """The forward that a module of experts has without us."""
    eager = inspect.unwrap(type(module).forward)
    return ALL_EXPERTS_FUNCTIONS.get_interface(_before.get(id(module.config)) or "eager", eager)


@contextmanager
def experts_replaced(model: Any, forwards: dict[nn.Module, Forward]) -> Iterator[None]:
    """Inside, these modules of experts run these forwards. The others run their own."""
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not forwards:
        yield
        return
    before = causal_lm.get_experts_implementation()
    configs = {name: getattr(causal_lm.config, name) if name else causal_lm.config for name in before}
    _before.update({id(config): before[name] for name, config in configs.items()})
    _replaced.update(forwards)
    try:
        causal_lm.set_experts_implementation(_NAME)
        yield
    finally:
        causal_lm.set_experts_implementation(before)
        for config in configs.values():
            _before.pop(id(config), None)
        for module in forwards:
            _replaced.pop(module, None)


def is_experts(module: Any) -> bool:
    """Whether a module's forward goes through transformers' interface."""
    return hasattr(module, "is_concatenated")


def names_in_closed_form(module: Any) -> set[str]:
    """The own parameters of a module of experts that are covered."""
    maps = {_first_map(module), "down_proj"}
    return maps | {f"{own}_bias" for own in maps} if module.has_bias else maps


def _first_map(module: Any) -> str:
    return "gate_up_proj" if module.has_gate else "up_proj"


def forward_with_taps(experts: Experts, store: Store, prompts: list[int], anchor: Tensor) -> Forward:
    """A forward of the experts whose backward pass adds their gradients to the store."""

    def forward(module: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        def tapped(own: str, rows: _Sorted, a: Tensor, output: Tensor) -> Tensor:
            segments = _segments(rows, prompts, tokens=hidden.size(0))
            return tap(output, a, lambda a, b: _add(store, experts, own, rows, segments, a(), b), anchor)

        return experts_forward(module, hidden, top_k_index, top_k_weights, tapped)

    return forward


def experts_forward(
    module: Any,
    hidden: Tensor,
    top_k_index: Tensor,
    top_k_weights: Tensor,
    on_linear: Callable[[str, _Sorted, Tensor, Tensor], Tensor] = lambda own, rows, a, output: output,
) -> Tensor:
    """
    What a module of experts computes. Its weights are constants here.

    Args:
        module (`torch.nn.Module`):
            The experts.
        hidden (`torch.Tensor`):
            `(tokens, H)`.
        top_k_index, top_k_weights (`torch.Tensor`):
            `(tokens, top_k)`: which experts each token is sent to, and their weights.
        on_linear (`Callable`):
            `(own parameter name, rows, input, output)` → the output to go on with, for the two linear maps of experts.
    """
    rows = _sorted_by_expert(top_k_index, module.num_experts)

    def linear(own: str, a: Tensor) -> Tensor:
        bias = getattr(module, f"{own}_bias").detach()[rows.expert_S] if module.has_bias else None
        weight = getattr(module, own).detach()
        output = _grouped_linear(a, weight, rows.ends_E, bias=bias, is_transposed=module.is_transposed)
        return on_linear(own, rows, a, output)

    first = linear(_first_map(module), hidden[rows.token_S])
    inner = module._apply_gate(first) if module.has_gate else module.act_fn(first)
    output = linear("down_proj", inner)
    if getattr(module, "has_post_expert_norm", False):  # not in transformers 5.17
        output = module.post_expert_norm(output)
    weighted = output * top_k_weights.reshape(-1)[rows.order_S].unsqueeze(-1)
    each_token = weighted[rows.order_S.argsort()].view(*top_k_index.shape, -1)
    return each_token.sum(dim=1).to(hidden.dtype)


def _sorted_by_expert(top_k_index: Tensor, num_experts: int) -> _Sorted:
    expert_S, order_S = torch.sort(top_k_index.reshape(-1), stable=True)
    each_expert = torch.arange(num_experts, device=expert_S.device, dtype=expert_S.dtype)
    ends_E = torch.searchsorted(expert_S, each_expert, right=True).to(torch.int32)
    return _Sorted(order_S, order_S // top_k_index.size(-1), expert_S, ends_E)


def _segments(rows: _Sorted, prompts: list[int], tokens: int) -> list[Segment]:
    """The runs of rows of one expert and one prompt. Each prompt has an equal share of the tokens, in their order."""
    place_S = rows.token_S // (tokens // len(prompts))
    runs, counts = torch.unique_consecutive(rows.expert_S * len(prompts) + place_S, return_counts=True)
    ends = counts.cumsum(0).tolist()
    return [
        Segment(prompts[run % len(prompts)], run // len(prompts), end - count, end)
        for run, count, end in zip(runs.tolist(), counts.tolist(), ends, strict=True)
    ]


def _add(
    store: Store,
    experts: Experts,
    own: str,
    rows: _Sorted,
    segments: list[Segment],
    a: Tensor,
    b: Tensor,
) -> None:
    """Adds what one linear map of the experts has: its weight's gradients, and its bias's."""
    if (name := experts.parameters.get(own)) is not None:
        left, right = (a, b) if experts.module.is_transposed else (b, a)
        store.add_to_blocks(name, segments, left, right)
    if (name := experts.parameters.get(f"{own}_bias")) is not None:
        for prompt, which in rows_by_prompt(segments, b.device).items():
            store.add_selected(name, [prompt], rows.expert_S[which][None], b[which][None])
