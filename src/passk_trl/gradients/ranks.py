"""What the ranks of a distributed run tell each other. In a single process, each of these is the identity."""

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def largest(value: int, device: torch.device) -> int:
    """The largest of all ranks' values."""
    if num_ranks() == 1:
        return value
    values = torch.tensor(value, device=device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return int(values)


def gather_rows(rows: Tensor) -> Tensor:
    """All ranks' rows, `(n_rank, …)` each, as one tensor in the order of ranks; ranks may hold different numbers."""
    if num_ranks() == 1:
        return rows
    most = largest(rows.size(0), rows.device)
    padded = rows.new_full((most + 1, *rows.shape[1:]), rows.size(0))  # the last row tells how many are real
    padded[: rows.size(0)] = rows
    gathered = [torch.empty_like(padded) for _ in range(num_ranks())]
    dist.all_gather(gathered, padded.contiguous())
    return torch.cat([part[: int(part[-1].flatten()[0])] for part in gathered])
