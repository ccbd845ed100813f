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
from .rules import Layer, Rule, agrees, is_certain, kind_of, rule_for
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

    def coverage(self, formed: set[str]) -> Coverage:
        """What the gradients cover, given the names to which any rank has added."""
        asked = {each.name for each in self.in_graph}  # where autograd has an answer: none means zero
        covered = [each for each in self.selected if each.name in formed | asked]
        return Coverage(
            covered=sum(each.size for each in covered),
            total=sum(each.size for each in self.selected),
            left_out=tuple(each.name for each in self.selected if each not in covered),
            in_graph=sum(each.size for each in self.in_graph),
        )


class _Observed:
    """What a forward pass shows of the modules that own parameters."""

    def __init__(self) -> None:
        self.verdicts: dict[tuple, bool] = {}  # kind of module → whether its rule agrees
        self.apart: dict[nn.Module, bool] = {}  # module → whether each rollout has its own rows in it
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
    model, batch = causal_lm.model, _batch(causal_lm.vocabulary, device)
    observed = _Observed()
    with torch.no_grad(), causal_lm.roll_call.taken(), ExitStack() as undo:
        uses = undo.enter_context(watched_uses(model, selected))
        undo.enter_context(_observing(selected, observed))
        compared = {module: _compared(observed) for module in model.modules() if is_experts(module)}
        undo.enter_context(experts_replaced(model, compared))
        hidden = causal_lm.find_head(batch)
    plan = _plan(causal_lm, selected, uses, observed)
    if not plan.one_prompt_a_pass:
        with torch.no_grad(), causal_lm.roll_call.taken():
            plan = _one_prompt_where_padding_matters(plan, causal_lm, batch, hidden)
    return plan


def _batch(vocabulary: int, device: torch.device, padding: int = 0) -> PaddedBatch:
    """A few rows of tokens, the same on all ranks, with padding on the left."""
    ids = (7 * torch.arange(_ROWS * _TOKENS, device=device) + 3).view(_ROWS, _TOKENS) % vocabulary
    filler = ids[:, :1].expand(-1, padding)
    mask = torch.cat([torch.zeros_like(filler), torch.ones_like(ids)], dim=1)
    weights = torch.zeros(_ROWS, _TOKENS - 1, device=device)
    return PaddedBatch(list(range(_ROWS)), torch.cat([filler, ids], dim=1), mask, _TOKENS - 1, weights)


@contextmanager
def _observing(selected: list[Selected], observed: _Observed) -> Iterator[None]:
    """Inside, each call of a module that owns a selected parameter, and has a rule, is observed."""

    def hook(module: nn.Module, inputs: tuple, named_inputs: dict, output: Any) -> None:
        rule = rule_for(module)
        assert rule is not None  # or there would be no hook
        a = next(iter((*inputs, *named_inputs.values())), None)
        has_own_rows = isinstance(a, Tensor) and _has_own_rows(a)
        observed.apart[module] = observed.apart.get(module, True) and has_own_rows
        if not is_certain(module) and (kind := kind_of(module)) not in observed.verdicts:
            observed.verdicts[kind] = agrees(module, rule, inputs, named_inputs, output)

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
        observed.apart[module] = observed.apart.get(module, True) and _has_own_rows(hidden)
        observed.experts[module] = _close(experts_forward(module, hidden, top_k_index, top_k_weights), expected)
        return expected

    return forward


def _has_own_rows(a: Tensor) -> bool:
    """Whether a layer's input has rows for each rollout, in their order."""
    return a.size(0) in (_ROWS, _ROWS * _TOKENS)


def _plan(causal_lm: CausalLM, selected: list[Selected], uses: Uses, observed: _Observed) -> Plan:
    names = {module: name for name, module in causal_lm.model.named_modules()}
    head: dict[str, str] = {}
    of_layers: dict[nn.Module, dict[str, str]] = {}
    in_graph = []
    for each in selected:
        owners = dict(each.owners)
        users = uses.of.get(each.name, set()) - {causal_lm.head_module}
        if causal_lm.head_module in owners:
            head[owners[causal_lm.head_module]] = each.name
        if users and all(user in owners and _is_closed(user, owners[user], observed) for user in users):
            for user in users:
                of_layers.setdefault(user, {})[owners[user]] = each.name
        elif users or causal_lm.head_module not in owners:
            in_graph.append(each)
    experts = [Experts(names[m], m, own) for m, own in of_layers.items() if m in observed.experts]
    layers = [Layer(names[m], m, _rule(m), own) for m, own in of_layers.items() if m not in observed.experts]
    mixed = any(not observed.apart[module] for module in of_layers)
    inside = uses.inside_functions & {each.name for each in in_graph}
    return Plan(layers, experts, head, in_graph, inside, mixed or bool(in_graph), selected)


def _is_closed(module: nn.Module, own: str, observed: _Observed) -> bool:
    if module in observed.experts:
        return observed.experts[module] and own in names_in_closed_form(module)
    if module not in observed.apart:  # it has no rule, or is not called itself
        return False
    return is_certain(module) or observed.verdicts[kind_of(module)]


def _rule(module: nn.Module) -> Rule:
    rule = rule_for(module)
    assert rule is not None
    return rule


def _one_prompt_where_padding_matters(plan: Plan, causal_lm: CausalLM, batch: PaddedBatch, expected: Tensor) -> Plan:
    """The plan, with one prompt a pass if the model gives something else where prompts are padded."""
    padded = _batch(causal_lm.vocabulary, batch.input_ids.device, _PADDING)
    return replace(plan, one_prompt_a_pass=not _close(causal_lm.outputs(padded), expected))


def _close(measured: Tensor, expected: Tensor) -> bool:
    tolerance = 1e-3 if expected.dtype == torch.float32 else 5e-2
    return bool((measured.float() - expected.float()).norm() <= tolerance * expected.float().norm())
