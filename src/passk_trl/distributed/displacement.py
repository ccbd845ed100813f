"""The optimiser's step Δθ, measured from the weights: the change of each parameter between two moments."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from .ranks import failing_together, num_ranks, own_rank
from .sharded_parameters import local_part, shape_of


class Displacement:
    """
    Copies the trainable parameters now, and returns later how much each has changed.

    Each rank keeps only its share of the copy, on the CPU, under every engine: its own part of a sharded parameter, an
    equal part of a whole one.

    Args:
        model (`torch.nn.Module`):
            The policy, unwrapped from any engine, and not in the middle of a pass.
    """

    def __init__(self, model: nn.Module):
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # FSDP2 leaves its root module gathered after a forward pass
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._before = {name: _share(p).to("cpu", copy=True) for name, p in self._parameters.items()}

    def of(self, name: str) -> Tensor:
        """
        The change of a whole parameter, in float32, on its device. All ranks must call this together.

        Args:
            name (`str`): Name of the parameter in the model.

        Returns:
            `torch.Tensor` in the parameter's shape.

        Raises:
            `torch.OutOfMemoryError`: on all ranks, if the memory of one is too small for it.
        """
        parameter = self._parameters[name]
        with failing_together():
            before, after = (share.to(parameter.device).float() for share in (self._before[name], _share(parameter)))
            change = after - before
            shared_evenly = not isinstance(parameter, DTensor)
            parts = [torch.empty_like(change) for _ in range(num_ranks() if shared_evenly else 0)]
        if isinstance(parameter, DTensor):
            mesh, placements, stride = parameter.device_mesh, parameter.placements, parameter.stride()
            return DTensor.from_local(change, mesh, placements, shape=parameter.shape, stride=stride).full_tensor()
        if num_ranks() == 1:
            return change.view(shape_of(parameter))
        dist.all_gather(parts, change)
        with failing_together():
            return torch.cat(parts)[: shape_of(parameter).numel()].view(shape_of(parameter))


def _share(parameter: nn.Parameter) -> Tensor:
    """This rank's share of a parameter: FSDP2's local part, else a flat part of the same size on all ranks."""
    if isinstance(parameter, DTensor):
        return local_part(parameter).detach()
    if hasattr(parameter, "ds_tensor"):
        return parameter.ds_tensor.detach().flatten()
    size = -(-parameter.numel() // num_ranks())
    rank = own_rank()
    share = parameter.detach().flatten()[rank * size : (rank + 1) * size]
    return nn.functional.pad(share, (0, size - share.numel()))
