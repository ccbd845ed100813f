"""The size, the shape and the values of a parameter, whole or sharded by FSDP2 or ZeRO-3.

Outside the modules in use, ZeRO-3 leaves an empty parameter and keeps this rank's partition beside it.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


class Owned(Protocol):
    """A parameter, and the modules that own it under a name."""

    @property
    def owners(self) -> tuple[tuple[nn.Module, str], ...]: ...


_Owned = TypeVar("_Owned", bound=Owned)


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
def in_use(model: nn.Module, owned: Sequence[_Owned], found: Callable[[_Owned, nn.Parameter], None]) -> Iterator[None]:
    """
    Inside, `found(each, parameter)` is called once for each of `owned`, with the parameter that a forward pass uses:
    at once, but under FSDP2 when its module is gathered, since FSDP2 puts another parameter in the place of the shard.
    """
    waiting = list(owned)

    def look(*_: Any) -> None:
        for each in list(waiting):
            module, own = each.owners[0]
            # Reading the attribute would make ZeRO-3 gather it, on this rank alone if a pass failed here.
            parameter = dict(module.named_parameters(recurse=False))[own]
            if not isinstance(parameter, DTensor):
                waiting.remove(each)
                found(each, parameter)

    gathering = [module for module in model.modules() if isinstance(module, FSDPModule)]
    handles = [module.register_forward_pre_hook(look) for module in gathering]  # after FSDP2's own
    try:
        look()
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def engine_kept_out(model: nn.Module, asked: Container[str]) -> Iterator[None]:
    """
    Keeps ZeRO-3 out of a backward pass that is not training's.

    - Its linear layers form the gradients of all weights that require them, also those that autograd is not asked for.
    - It takes some mixtures of experts for one layer, a "leaf", whose backward hook reduces gradients.

    Args:
        model (`torch.nn.Module`):
            The policy.
        asked (`Container[str]`):
            The names of the parameters whose gradients autograd is asked for.
    """
    quiet = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and is_zero3_parameter(parameter) and name not in asked
    ]
    leaves = _leaves_of_zero3(model)
    hooks = [leaf._backward_hooks for leaf in leaves]
    for parameter in quiet:
        parameter.requires_grad_(False)
    for leaf in leaves:
        leaf._backward_hooks = OrderedDict()
    try:
        yield
    finally:
        for parameter in quiet:
            parameter.requires_grad_(True)
        for leaf, own_hooks in zip(leaves, hooks, strict=True):
            leaf._backward_hooks = own_hooks


def _leaves_of_zero3(model: nn.Module) -> list[Any]:
    if not any(is_zero3_parameter(parameter) for parameter in model.parameters()):
        return []
    from deepspeed.utils import get_z3_leaf_modules

    return get_z3_leaf_modules(model)
