"""Gradients formed by each layer's rule from its input and the gradient at its output, under every engine."""

from collections.abc import Iterator

import torch
from torch import Tensor

from passk_trl.distributed.sharded_parameters import no_weight_gradients

from .causal_lm import CausalLM
from .layers import Layer, tapped
from .scored_rollouts import PaddedBatch
from .store import Store


# So many numbers of logits are formed at a time: 4 MB in float32, of which a few copies exist at once. There are at
# least 128 tokens among them, because fewer do not fill a GPU.
_LOGITS_AT_A_TIME = 2**20
_FEWEST_TOKENS_AT_A_TIME = 128


def add_through_activations(causal_lm: CausalLM, layers: list[Layer], store: Store, batch: PaddedBatch) -> None:
    """
    Adds the gradients of a batch of prompts to the store, by one forward and one backward pass.

    Raises:
        `ValueError`: if a layer's input does not have a row for each rollout.
    """
    below_head = [layer for layer in layers if layer.module is not causal_lm.head_module]
    head_layer = next((layer for layer in layers if layer.module is causal_lm.head_module), None)

    def on_gradient(layer: Layer, a: Tensor, b: Tensor) -> None:
        if a.size(0) != batch.input_ids.size(0):
            raise ValueError(
                f"the layer '{layer.name}' mixes the tokens of all rollouts, so their gradients cannot be separated; "
                "set parameters to a regular expression that leaves it out."
            )
        layer.rule(store, layer, batch, a, b)

    with tapped(below_head, on_gradient) as anchor, no_weight_gradients(causal_lm.model):
        hidden = causal_lm.last_hidden_state(batch)
        gradient = batch.ungroup(_through_head(causal_lm, head_layer, batch, hidden.detach(), store))
        if below_head:
            torch.autograd.grad(hidden, anchor, gradient.to(hidden.dtype))


def _through_head(
    causal_lm: CausalLM, head_layer: Layer | None, batch: PaddedBatch, hidden: Tensor, store: Store
) -> Tensor:
    """Adds the head's own gradients to the store and returns the gradient at its input, `(B, n·C, H)`."""
    hidden_BKH = batch.predicting(hidden)
    gradient_BKH = torch.zeros_like(hidden_BKH, dtype=torch.float32)
    with causal_lm.head() as head:
        for block in _blocks(batch, vocabulary=head.weight.size(0)):
            h, prompts = hidden_BKH[block], batch.prompts[block[0]]
            b = head.output_gradient(h, batch.targets_BK[block], batch.token_weights_BK[block])
            gradient_BKH[block] = head.input_gradient(b)
            for own, name in head_layer.parameters.items() if head_layer is not None else ():
                if own == "weight":
                    store.add_outer(name, head.weight.shape, prompts, b, h)
                else:
                    store.add_vector(name, prompts, b.sum(dim=1))
    return gradient_BKH


def _blocks(batch: PaddedBatch, vocabulary: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of (prompts, tokens) whose logits stay within the limit: several prompts each, or parts of one."""
    B, K = batch.token_weights_BK.shape
    allowed = max(_FEWEST_TOKENS_AT_A_TIME, _LOGITS_AT_A_TIME // vocabulary)
    tokens, prompts = min(K, allowed), max(1, allowed // K)
    for first in range(0, B, prompts):
        for start in range(0, K, tokens):
            yield slice(first, first + prompts), slice(start, start + tokens)
