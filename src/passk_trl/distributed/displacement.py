"""The optimiser's own step Δθ, as the weights show it: how far each parameter went between two moments."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from .ranks import failing_together, num_ranks


class Displacement:
    """
    Remembers where the trainable parameters are, and tells how far each has gone since.

    Every rank remembers its share alone, on the CPU, whatever the engine: the part that it holds of a sharded
    parameter, an equal part of a whole one.

    Args:
        model (`torch.nn.Module`):
            The policy, unwrapped from any engine, and not in the middle of a pass.
    """

    def __init__(self, model: nn.Module):
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # its root stays whole after a forward pass
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._before = {name: _share(p).to("cpu", copy=True) for name, p in self._parameters.items()}

    def of(self, name: str) -> Tensor:
        """
        How far a parameter went, whole, in float32, on its device. All ranks must ask together.

        Raises:
            `torch.OutOfMemoryError`: on all ranks, if one has no room for it.
        """
        parameter = self._parameters[name]
        shape = getattr(parameter, "ds_shape", parameter.shape)
        with failing_together():
            before, after = (share.to(parameter.device).float() for share in (self._before[name], _share(parameter)))
            moved = after - before
            sharded_evenly = not isinstance(parameter, DTensor)
            parts = [torch.empty_like(moved) for _ in range(num_ranks() if sharded_evenly else 0)]
        if isinstance(parameter, DTensor):
            return DTensor.from_local(
                moved, parameter.device_mesh, parameter.placements, shape=shape, stride=parameter.stride()
            ).full_tensor()
        if num_ranks() == 1:
            return moved.view(shape)
        dist.all_gather(parts, moved)
        with failing_together():
            return torch.cat(parts)[: shape.numel()].view(shape)


def _share(parameter: nn.Parameter) -> Tensor:
    """This rank's share of a parameter: flat and of the same size on all ranks, but for FSDP2's local part."""
    if isinstance(parameter, DTensor):
        return parameter.to_local().detach()
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor.detach().flatten()
    size = -(-parameter.numel() // num_ranks())
    rank = dist.get_rank() if num_ranks() > 1 else 0
    share = parameter.detach().flatten()[rank * size : (rank + 1) * size]
    return nn.functional.pad(share, (0, size - share.numel()))
