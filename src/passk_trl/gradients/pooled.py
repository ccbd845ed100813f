"""Sketches of the gradients of many prompts, divided over the ranks, and their sums over pairs."""

import torch
from torch import Tensor

from passk_trl.distributed.ranks import gather_rows, num_ranks, sum_of_ranks


# So many numbers are taken in float64 at a time.
_COLUMNS_AT_A_TIME = 2**10


def products_of_sums(
    rows_NMD: Tensor, left_KN: Tensor, right_N: Tensor, sizes: list[int], device: torch.device
) -> Tensor:
    """
    Sums over the pairs of all ranks' prompts, without those of a prompt with itself, in each part of the sketches. All
    ranks must call this together.

    Args:
        rows_NMD (`torch.Tensor`):
            M sketches of D numbers for each of this rank's N prompts.
        left_KN, right_N (`torch.Tensor`):
            Weights of these prompts, float64.
        sizes (`list[int]`):
            How the D numbers are divided into L parts.
        device (`torch.device`):
            On which ranks exchange numbers.

    Returns:
        `torch.Tensor` `(K, M, L)`, float64: Σ_{i≠j} l_ki r_j ⟨ĝ_i, ĝ_j⟩ in each part.
    """
    left, right, itself = [], [], []
    for columns in rows_NMD.split(_COLUMNS_AT_A_TIME, dim=2):
        columns = columns.double()
        left.append(torch.einsum("kn,nmd->kmd", left_KN, columns))
        right.append(torch.einsum("n,nmd->md", right_N, columns))
        itself.append(torch.einsum("kn,nmd->kmd", left_KN * right_N, columns.square()))
    sums = torch.stack([torch.cat(left, 2), torch.cat(itself, 2)])
    sums_2KMD = sum_of_ranks(sums.to(device)).cpu()
    right_MD = sum_of_ranks(torch.cat(right, 1).to(device)).cpu()
    pairs_KMD = sums_2KMD[0] * right_MD - sums_2KMD[1]
    return torch.stack([part.sum(dim=2) for part in pairs_KMD.split(sizes, dim=2)], dim=2)


def products_with_sums(rows_NMD: Tensor, weights_CN: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """
    Inner products of gradients with C weighted sums of all. All ranks must call this together.

    Args:
        rows_NMD (`torch.Tensor`):
            M sketches of D numbers for each of this rank's N prompts.
        weights_CN (`torch.Tensor`):
            The weights of these prompts in each sum, float64.
        device (`torch.device`):
            On which ranks exchange numbers: NCCL knows GPUs alone.

    Returns:
        `(M, N, C)` and `(M, N)` in float64, of all ranks' prompts in the order of ranks: ⟨ĝ_i, Σ_j w_cj ĝ_j⟩ with
        j = i among the j, and ⟨ĝ_i, ĝ_i⟩.
    """
    N, M, _ = rows_NMD.shape
    device = device if num_ranks() > 1 else rows_NMD.device
    products_NMC = torch.zeros(N, M, len(weights_CN), dtype=torch.float64)
    squares_NM1 = torch.zeros(N, M, 1, dtype=torch.float64)
    for columns in rows_NMD.split(_COLUMNS_AT_A_TIME, dim=2):
        columns = columns.double()
        sums_CMD = sum_of_ranks(torch.einsum("cn,nmd->cmd", weights_CN, columns).to(device)).cpu()
        products_NMC += torch.einsum("nmd,cmd->nmc", columns, sums_CMD)
        squares_NM1 += columns.square().sum(dim=2, keepdim=True)
    gathered = gather_rows(torch.cat([products_NMC, squares_NM1], dim=2).to(device)).cpu().transpose(0, 1)
    return gathered[..., :-1], gathered[..., -1]
