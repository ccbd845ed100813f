"""Gradient checkpointing in a pass of the monitor's own: transformers offers it in training mode alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """
    Inside, the layers whose activations training computes again, to save memory, do so in evaluation mode too: without
    dropout. So a pass keeps no more than one of training. Without effect where training keeps the activations, and on
    models that do not checkpoint by transformers' own layer. The model must not fill a cache: it would do so twice.
    """
    layers = [
        each
        for each in model.modules()
        if isinstance(each, GradientCheckpointingLayer) and each.gradient_checkpointing
    ]
    forwards = [vars(each).get("forward") for each in layers]
    for layer in layers:
        # Autograd is asked for single gradients, which reentrant checkpointing does not allow.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for layer, forward in zip(layers, forwards, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward
