"""Parameter gradients as autograd forms them, one prompt at a time: the reference, and not under FSDP."""

import torch

from passk_trl.distributed.sharded_parameters import shape_of

from .causal_lm import CausalLM
from .layers import Layer
from .scored_rollouts import PaddedBatch
from .store import Store


def add_through_parameters(causal_lm: CausalLM, layers: list[Layer], store: Store, batch: PaddedBatch) -> None:
    """
    Adds the gradient of a batch of one prompt to the store.

    Raises:
        `ValueError`: if autograd returns no gradient for any parameter, as under FSDP.
    """
    # Tied parameters share a name, so autograd is asked once for each.
    parameters = {name: getattr(layer.module, own) for layer in layers for own, name in layer.parameters.items()}
    loss = (causal_lm.log_probs(batch) * batch.token_weights_BK).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            "autograd gave no parameter gradient, as under FSDP; set method='activations', which asks for none."
        )
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        if gradient is not None:
            store.add_vector(name, batch.prompts, gradient.reshape(1, *shape_of(parameter)).flatten(1))
