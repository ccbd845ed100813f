"""The optimiser's own step Δθ, as the weights show it: how far each parameter went between two moments."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from .gradients.ranks import num_ranks


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
        """How far a parameter went, whole, in float32, on its device. All ranks must ask together."""
        parameter = self._parameters[name]
        share = _share(parameter)
        moved = share.float() - self._before[name].to(share.device).float()
        if isinstance(parameter, DTensor):
            return DTensor.from_local(
                moved, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
            ).full_tensor()
        shape = getattr(parameter, "ds_shape", parameter.shape)
        if num_ranks() > 1:
            parts = [torch.empty_like(moved) for _ in range(num_ranks())]
            dist.all_gather(parts, moved)
            moved = torch.cat(parts)
        return moved[: shape.numel()].view(shape)


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
