"""The size, the shape and the values of a parameter, whole or sharded by FSDP2 or ZeRO-3.

Outside the modules in use, ZeRO-3 leaves an empty parameter and keeps this rank's partition beside it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def shape_of(parameter: nn.Parameter) -> torch.Size:
    """Shape of the whole parameter."""
    return getattr(parameter, "ds_shape", parameter.shape)


def size_of(parameter: nn.Parameter) -> int:
    """Number of elements of the whole parameter."""
    return getattr(parameter, "ds_numel", parameter.numel())


def is_zero3_parameter(parameter: nn.Parameter) -> bool:
    """Whether ZeRO-3 shards this parameter."""
    return hasattr(parameter, "ds_id")


def local_part(tensor: Tensor) -> Tensor:
    """FSDP2's local part of a tensor, else the tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextmanager
def gathered(parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
    """The whole tensors of these parameters, to be read inside the context. All ranks must enter it together."""
    with _zero3_gathered(parameters):
        yield [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in parameters]


def _zero3_gathered(parameters: list[nn.Parameter]) -> AbstractContextManager:
    empty = [p for p in parameters if is_zero3_parameter(p) and p.numel() != size_of(p)]
    if not empty:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(empty)


@contextmanager
def no_weight_gradients(model: nn.Module) -> Iterator[None]:
    """
    Keeps ZeRO-3 from computing weight gradients: its linear layers form those of all weights that require them, also
    those that autograd is not asked for.
    """
    trained = [p for p in model.parameters() if p.requires_grad and is_zero3_parameter(p)]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
