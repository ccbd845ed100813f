"""Gradients formed in one forward and one backward pass, under every engine: in closed form, or asked of autograd."""

from contextlib import ExitStack

import torch
from torch import Tensor

from passk_trl.distributed.sharded_parameters import engine_kept_out

from .causal_lm import CausalLM, score_gradient
from .experts import experts_replaced, forward_with_taps
from .head_gradients import add_of_head, output_gradients
from .in_graph import asked_of_autograd
from .plan import Plan
from .rules import Layer, grouped
from .scored_rollouts import PaddedBatch
from .store import Store, add_whole
from .taps import new_anchor, tapped


def add_through_activations(causal_lm: CausalLM, plan: Plan, store: Store, batch: PaddedBatch) -> None:
    """
    Adds the gradients of a batch of prompts to the store. The batch has one prompt where the plan asks for that.

    Raises:
        `ValueError`: if a layer mixes the tokens of several prompts, or a custom function hides parameters.
    """
    model, prompts = causal_lm.model, batch.prompts
    anchor = new_anchor()

    def on_gradient(layer: Layer, a: Tensor, b: Tensor) -> None:
        if batch.has_several_prompts and a.size(0) not in (len(batch.input_ids), batch.input_ids.numel()):
            raise ValueError(
                f"the layer '{layer.name}' mixes the tokens of several prompts, so their gradients cannot be told "
                "apart; set batch_size=1, in the monitor probe_batch_size=1."
            )
        layer.rule(store, layer, prompts, *grouped(len(prompts), a, b))

    def take(name: str, gradient: Tensor) -> None:
        add_whole(store, name, prompts, gradient)

    with ExitStack() as undo:
        whole = undo.enter_context(asked_of_autograd(model, plan.in_graph, take))
        undo.enter_context(engine_kept_out(model, {each.name for each in plan.in_graph}))
        undo.enter_context(tapped(plan.layers, anchor, on_gradient))
        forwards = {each.module: forward_with_taps(each, store, prompts, anchor) for each in plan.experts}
        undo.enter_context(experts_replaced(model, forwards))
        outputs = causal_lm.outputs(batch)
        gradient = batch.ungroup(_at_outputs(causal_lm, plan, batch, outputs.detach(), store))
        asked: list[Tensor] = [anchor, *whole.values()]
        formed: tuple[Tensor | None, ...] = (None,) * len(asked)
        if outputs.requires_grad:
            formed = torch.autograd.grad(outputs, asked, gradient.to(outputs.dtype), allow_unused=True)
    reached = {name for name, of_name in zip(whole, formed[1:], strict=True) if of_name is not None}
    _check_none_is_hidden(plan, reached)


def _check_none_is_hidden(plan: Plan, reached: set[str]) -> None:
    hidden = [each for each in plan.in_graph if each.name in plan.inside_functions - reached]
    if hidden:
        names = ", ".join(each.name for each in hidden[:3]) + (", …" if len(hidden) > 3 else "")
        raise ValueError(
            f"{names} ({sum(each.size for each in hidden):,} parameters) are used inside a torch.autograd.Function "
            "that does not give autograd their gradients, so they cannot be measured; set parameters= to a regular "
            "expression that selects others, such as 'q_proj|v_proj'."
        )


def _at_outputs(causal_lm: CausalLM, plan: Plan, batch: PaddedBatch, outputs: Tensor, store: Store) -> Tensor:
    """The gradient at the outputs that predict the completions, `(B, n·C, …)`. Adds the head's own to the store."""
    outputs_BK = batch.predicting(outputs)
    if causal_lm.head_module is None:
        return score_gradient(outputs_BK, batch.targets_BK, batch.token_weights_BK, causal_lm.temperature)
    gradient_BKH = torch.zeros_like(outputs_BK, dtype=torch.float32)
    with causal_lm.head() as head:
        weights_BK = batch.token_weights_BK
        for block, b in output_gradients(head, outputs_BK, batch.targets_BK, weights_BK):
            gradient_BKH[block] = head.input_gradient(b)
            add_of_head(store, plan.head, batch.prompts[block[0]], b, outputs_BK[block])
    return gradient_BKH
