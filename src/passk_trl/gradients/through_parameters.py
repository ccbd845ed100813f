"""Parameter gradients as autograd forms them, one prompt at a time: the reference, and not under FSDP."""

import torch

from .causal_lm import CausalLM
from .plan import Plan
from .scored_rollouts import PaddedBatch
from .store import Store, add_whole


def add_through_parameters(causal_lm: CausalLM, plan: Plan, store: Store, batch: PaddedBatch) -> None:
    """
    Adds the gradient of a batch of one prompt to the store.

    Raises:
        `ValueError`: if autograd returns no gradient for any parameter, as under FSDP.
    """
    parameters = [getattr(*each.owners[0]) for each in plan.selected]
    loss = (causal_lm.log_probs(batch) * batch.token_weights_BK).sum()
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            "autograd gave no parameter gradient, as under FSDP; set method='activations', which asks for none."
        )
    for each, gradient in zip(plan.selected, gradients, strict=True):
        if gradient is not None:
            add_whole(store, each.name, batch.prompts, gradient)
