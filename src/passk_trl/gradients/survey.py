"""
How the gradient of each parameter is to be formed, found out by a small forward pass before the first real one.

A closed form stands only where the modules that own a parameter are the only ones that use it, and where the rule for
their kind agrees with autograd. Everything else is asked of autograd, one prompt a pass.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from passk_trl.distributed.ranks import AnotherRankFailed

from .causal_lm import CausalLM
from .experts import Experts, Forward, experts_forward, experts_replaced, is_experts, names_in_closed_form, own_forward
from .plan import Plan
from .rows import are_prompts_told_apart, distance, refuse_if_rows_mix, survey_batch
from .rules import Layer, Rule, agrees_with_autograd, is_certain, rule_for
from .selection import Selected
from .uses import Uses, watched_uses


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
    model, batch = causal_lm.model, survey_batch(causal_lm.vocabulary, device)
    observed = _Observed()
    with torch.no_grad(), causal_lm.roll_call.taken():
        with ExitStack() as undo:
            uses = undo.enter_context(watched_uses(model, selected, until=causal_lm.modules_of_head()))
            undo.enter_context(_observing(selected, observed))
            tolerance = 1e-4 if causal_lm.is_in_single_precision else 3e-2
            compared = {module: _compared(observed, tolerance) for module in model.modules() if is_experts(module)}
            undo.enter_context(experts_replaced(model, compared))
            logits = causal_lm.find_head(batch)
        if _is_more_than_linear(causal_lm.head_module, selected, uses):
            causal_lm.head_module = None
        expected = logits if causal_lm.head_module is None else causal_lm.outputs(batch)
        plan = _plan(causal_lm, selected, uses, observed)
        refuse_if_rows_mix(causal_lm, expected)
        if plan.one_prompt_a_pass:
            return plan
        modules = [layer.module for layer in plan.layers] + [experts.module for experts in plan.experts]
        return replace(plan, one_prompt_a_pass=not are_prompts_told_apart(causal_lm, modules, expected))


@contextmanager
def _observing(selected: list[Selected], observed: _Observed) -> Iterator[None]:
    """Inside, the calls of each module that owns a selected parameter, and has a rule, are observed."""
    inputs: list[tuple[nn.Module, Tensor, int]] = []

    def hook(module: nn.Module, given: tuple, named: dict, output: Any) -> None:
        rule = rule_for(module)
        assert rule is not None  # or there would be no hook
        if module not in observed.agree:
            observed.agree[module] = is_certain(module) or agrees_with_autograd(module, rule, given, named)
        inputs.extend((module, a, a._version) for a in (*given, *named.values()) if isinstance(a, Tensor))

    owners = {module for each in selected for module, _ in each.owners if rule_for(module) is not None}
    # First of all hooks: they see what the module itself returns, and its whole weight.
    handles = [module.register_forward_hook(hook, with_kwargs=True, prepend=True) for module in owners]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    # An input that is changed in place afterwards is not what the backward pass finds.
    observed.agree.update({module: False for module, a, version in inputs if a._version != version})


def _compared(observed: _Observed, tolerance: float) -> Forward:
    """A forward of experts that gives what their own gives, and notes whether ours gives the same."""

    def forward(module: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        expected = own_forward(module)(module, hidden, top_k_index, top_k_weights)
        try:
            moved = distance(experts_forward(module, hidden, top_k_index, top_k_weights), expected)
        except (torch.OutOfMemoryError, AnotherRankFailed):
            raise  # known to all ranks, which must plan alike
        except Exception:  # experts of another make; autograd is asked for their gradients
            moved = float("inf")
        observed.experts[module] = moved < tolerance
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
        if causal_lm.head_module in owners:
            head[owners[causal_lm.head_module]] = each.name
        if _has_hooks(owners):  # autograd calls a user's hook on a gradient, which may change it
            in_graph.append(each)
        elif users and all(u in owners and _is_closed(u, owners[u], observed) for u in users):
            for user in users:
                of_layers.setdefault(user, {})[owners[user]] = each.name
        elif users or causal_lm.head_module not in owners:
            in_graph.append(each)
    # Our forward of experts takes their weights for constants: one in the graph leaves all of them to autograd.
    opened: set[str] = set()
    for module in [module for module in of_layers if module in observed.experts]:
        asked = {own for each in in_graph for owner, own in each.owners if owner is module}
        if asked & names_in_closed_form(module):
            opened.update(of_layers[module].values())
    in_graph += [each for each in selected if each.name in opened]
    of_layers = {module: own for module, own in of_layers.items() if not opened & set(own.values())}
    experts = [Experts(m, own) for m, own in of_layers.items() if m in observed.experts]
    layers = [Layer(names[m], m, _rule(m), own) for m, own in of_layers.items() if m not in observed.experts]
    inside = uses.inside_functions & {each.name for each in in_graph}
    return Plan(layers, experts, head, in_graph, inside, bool(in_graph), selected)


def _is_closed(module: nn.Module, own: str, observed: _Observed) -> bool:
    if module in observed.experts:
        return observed.experts[module] and own in names_in_closed_form(module)
    return observed.agree.get(module, False)  # not there: it has no rule, or is not called itself


def _is_more_than_linear(head: Any, selected: list[Selected], uses: Uses) -> bool:
    """Whether other parameters are used from the head on, or a user's hook changes the gradient of its own."""
    of_head = [owners for owners in (dict(each.owners) for each in selected) if head in owners]
    return any(users - {head} for users in uses.late.values()) or any(map(_has_hooks, of_head))


def _has_hooks(owners: dict[nn.Module, str]) -> bool:
    return any(getattr(module, own)._backward_hooks for module, own in owners.items())


def _rule(module: nn.Module) -> Rule:
    rule = rule_for(module)
    assert rule is not None
    return rule
