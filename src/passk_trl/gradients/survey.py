"""
How the gradient of each parameter is to be formed, found out by a small forward pass before the first real one.

A closed form stands only where the modules that own a parameter are the only ones that use it, and where the rule for
their kind agrees with autograd. Everything else is asked of autograd, one prompt a pass.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .causal_lm import CausalLM
from .experts import Experts, Forward, experts_forward, experts_replaced, is_experts, names_in_closed_form, own_forward
from .rules import Layer, Rule, agrees, is_certain, is_compared_with_autograd, rule_for
from .scored_rollouts import PaddedBatch
from .selection import Coverage, Selected
from .uses import Uses, watched_uses


_ROWS, _TOKENS, _PADDING = 3, 7, 2


@dataclass(frozen=True)
class Plan:
    """
    How each selected parameter is measured.

    Args:
        layers (`list[Layer]`): The layers in closed form, without the head.
        experts (`list[Experts]`): The experts in closed form.
        head (`dict[str, str]`): Own parameter name of the head → name in the store.
        in_graph (`list[Selected]`): The parameters that autograd is asked for.
        inside_functions (`set[str]`): Those of them that a custom `torch.autograd.Function` uses.
        one_prompt_a_pass (`bool`): Whether the tokens of several prompts could not be told apart.
        selected (`list[Selected]`): All of them.
    """

    layers: list[Layer]
    experts: list[Experts]
    head: dict[str, str]
    in_graph: list[Selected]
    inside_functions: set[str]
    one_prompt_a_pass: bool
    selected: list[Selected]

    @classmethod
    def of_autograd(cls, selected: list[Selected]) -> "Plan":
        """All of autograd, as through parameters."""
        return cls([], [], {}, selected, set(), True, selected)

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every parameter, in one order on all ranks."""
        return {each.name: each.shape for each in self.selected}

    def not_among(self, formed: set[str]) -> list[Selected]:
        """The parameters in closed form whose gradient was not formed, given the names to which any rank has added."""
        asked = {each.name for each in self.in_graph}
        return [each for each in self.selected if each.name not in formed | asked]

    def coverage(self, left_out: set[str]) -> Coverage:
        """What the gradients cover, given the names of the parameters that they do not."""
        covered = [each for each in self.selected if each.name not in left_out]
        return Coverage(
            covered=sum(each.size for each in covered),
            total=sum(each.size for each in self.selected),
            left_out=tuple(each.name for each in self.selected if each.name in left_out),
            in_graph=sum(each.size for each in self.in_graph),
        )


class _Observed:
    """What a forward pass shows of the modules that own parameters."""

    def __init__(self) -> None:
        self.agree: dict[nn.Module, bool] = {}  # module that was called → whether its rule is right
        self.experts: dict[nn.Module, bool] = {}  # module → whether our forward gives what its own gives


def survey(causal_lm: CausalLM, selected: list[Selected], device: torch.device) -> Plan:
    """
    Finds out how each selected parameter is to be measured. The same on all ranks, which call it together.

    Args:
        causal_lm ([`CausalLM`]):
            The model, in evaluation mode. It learns here where its head is.
        selected (`list[Selected]`):
            The parameters to measure.
        device (`torch.device`):
            Of the model.
    """
    model, vocabulary = causal_lm.model, causal_lm.vocabulary
    observed = _Observed()
    with torch.no_grad(), causal_lm.roll_call.taken(), ExitStack() as undo:
        uses = undo.enter_context(watched_uses(model, selected))
        undo.enter_context(_observing(selected, observed))
        compared = {module: _compared(observed) for module in model.modules() if is_experts(module)}
        undo.enter_context(experts_replaced(model, compared))
        expected = causal_lm.find_head(_batch([0], vocabulary, device))
    plan = _plan(causal_lm, selected, uses, observed)
    if not plan.in_graph:
        with torch.no_grad(), causal_lm.roll_call.taken():
            together = _are_prompts_told_apart(plan, causal_lm, expected)
        plan = replace(plan, one_prompt_a_pass=not together)
    return plan


def _batch(
    prompts: list[int], vocabulary: int, device: torch.device, padding_left: int = 0, padding_right: int = 0
) -> PaddedBatch:
    """A few rows of tokens, the same on all ranks."""
    ids = (7 * torch.arange(_ROWS * _TOKENS, device=device) + 3).view(_ROWS, _TOKENS) % vocabulary
    padding = (padding_left, padding_right)
    mask = nn.functional.pad(torch.ones_like(ids), padding)
    weights = torch.zeros(len(prompts), _ROWS // len(prompts) * (_TOKENS - 1 + padding_right), device=device)
    return PaddedBatch(prompts, nn.functional.pad(ids, padding), mask, _TOKENS - 1 + padding_right, weights)


@contextmanager
def _observing(selected: list[Selected], observed: _Observed) -> Iterator[None]:
    """Inside, the first call of each module that owns a selected parameter, and has a rule, is observed."""

    def hook(module: nn.Module, inputs: tuple, named_inputs: dict, output: Any) -> None:
        rule = rule_for(module)
        assert rule is not None  # or there would be no hook
        if module not in observed.agree:
            observed.agree[module] = is_certain(module) or agrees(module, rule, inputs, named_inputs, output)

    owners = {module for each in selected for module, _ in each.owners if rule_for(module) is not None}
    # First of all hooks: they see what the module itself returns, and its whole weight.
    handles = [module.register_forward_hook(hook, with_kwargs=True, prepend=True) for module in owners]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compared(observed: _Observed) -> Forward:
    """A forward of experts that gives what their own gives, and notes whether ours gives the same."""

    def forward(module: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        expected = own_forward(module)(module, hidden, top_k_index, top_k_weights)
        measured = experts_forward(module, hidden, top_k_index, top_k_weights)
        observed.experts[module] = _distance(measured, expected) < (1e-4 if expected.dtype == torch.float32 else 3e-2)
        return expected

    return forward


def _plan(causal_lm: CausalLM, selected: list[Selected], uses: Uses, observed: _Observed) -> Plan:
    names = {module: name for name, module in causal_lm.model.named_modules()}
    head: dict[str, str] = {}
    of_layers: dict[nn.Module, dict[str, str]] = {}
    in_graph = []
    for each in selected:
        owners = dict(each.owners)
        users = uses.of.get(each.name, set()) - {causal_lm.head_module}
        in_function = each.name in uses.inside_functions
        if causal_lm.head_module in owners:
            head[owners[causal_lm.head_module]] = each.name
        if users and all(u in owners and _is_closed(u, owners[u], observed, in_function) for u in users):
            for user in users:
                of_layers.setdefault(user, {})[owners[user]] = each.name
        elif users or causal_lm.head_module not in owners:
            in_graph.append(each)
    experts = [Experts(names[m], m, own) for m, own in of_layers.items() if m in observed.experts]
    layers = [Layer(names[m], m, _rule(m), own) for m, own in of_layers.items() if m not in observed.experts]
    inside = uses.inside_functions & {each.name for each in in_graph}
    return Plan(layers, experts, head, in_graph, inside, bool(in_graph), selected)


def _is_closed(module: nn.Module, own: str, observed: _Observed, in_function: bool) -> bool:
    if module in observed.experts:
        return observed.experts[module] and own in names_in_closed_form(module)
    if in_function and not (is_certain(module) or is_compared_with_autograd(module)):
        return False  # the function may hide the weight from autograd, and so from training
    return observed.agree.get(module, False)  # not there: it has no rule, or is not called itself


def _rule(module: nn.Module) -> Rule:
    rule = rule_for(module)
    assert rule is not None
    return rule


def _are_prompts_told_apart(plan: Plan, causal_lm: CausalLM, expected: Tensor) -> bool:
    """
    Whether prompts of different lengths can take one pass: each layer's input has its own rows for each rollout, and
    padding on the left, with the positions that we pass, moves the outputs no more than padding on the right does.
    """
    apart = []

    def hook(_module: nn.Module, inputs: tuple, named_inputs: dict, _output: Any) -> None:
        a = next(iter((*inputs, *named_inputs.values())))
        apart.append(a.size(0) in (_ROWS, _ROWS * (_TOKENS + _PADDING)))

    vocabulary, device = causal_lm.vocabulary, expected.device
    several = _batch(list(range(_ROWS)), vocabulary, device, padding_left=_PADDING)
    modules = [layer.module for layer in plan.layers] + [experts.module for experts in plan.experts]
    handles = [module.register_forward_hook(hook, with_kwargs=True) for module in modules]
    try:
        moved = _distance(causal_lm.outputs(several), expected)
    finally:
        for handle in handles:
            handle.remove()
    right = causal_lm.outputs(_batch([0], vocabulary, device, padding_right=_PADDING))[:, :_TOKENS]
    rounding = _distance(right, expected)
    return all(apart) and moved <= max(4 * rounding, 1e-5 if expected.dtype == torch.float32 else 1e-2)


def _distance(measured: Tensor, expected: Tensor) -> float:
    """Relative to the expected."""
    return float((measured.float() - expected.float()).norm() / expected.float().norm())
