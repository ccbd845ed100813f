"""Sketches of the gradients of many prompts, divided over the ranks, and their sums over pairs."""

from collections.abc import Iterator

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together, gather_list, num_ranks, own_rank, sum_of_ranks


# So many numbers of a prompt's M sketches are taken in float64 at a time. Those of 128 prompts are 4 MB, which stay in
# a processor's cache; those of 2,048 do not. That saves more than the exchanges of several ranks cost, one for each.
_NUMBERS_AT_A_TIME = 2**12


def products_of_sums(
    batches: list[Tensor], left_KN: Tensor, right_N: Tensor, sizes: list[int], device: torch.device
) -> Tensor:
    """
    Sums over the pairs of all ranks' prompts, without those of a prompt with itself, in each part of the sketches. All
    ranks must call this together.

    Args:
        batches (`list[torch.Tensor]`):
            M sketches of D numbers for each of this rank's N prompts, each `(n, M, D)`. They are not copied together.
        left_KN, right_N (`torch.Tensor`):
            Weights of these prompts, float64.
        sizes (`list[int]`):
            How the D numbers are divided into L parts.
        device (`torch.device`):
            On which ranks exchange numbers.

    Returns:
        `torch.Tensor` `(K, M, L)`, float64: Σ_{i≠j} l_ki r_j ⟨ĝ_i, ĝ_j⟩ in each part.

    Raises:
        `Exception`: on all ranks, if something failed on one.
    """
    with failing_together():
        left, right, itself = [], [], []
        for part in _split(batches):
            columns = torch.cat(part).double()
            left.append(torch.einsum("kn,nmd->kmd", left_KN, columns))
            right.append(torch.einsum("n,nmd->md", right_N, columns)[None])
            itself.append(torch.einsum("kn,nmd->kmd", left_KN * right_N, columns.square()))
        sums_LMD = torch.cat([torch.cat(each, 2) for each in (left, itself, right)]).to(device)
    sum_of_ranks(sums_LMD)
    with failing_together():
        left_KMD, itself_KMD, right_1MD = sums_LMD.cpu().split([len(left_KN), len(left_KN), 1])
        pairs_KMD = left_KMD * right_1MD - itself_KMD
        return torch.stack([part.sum(dim=2) for part in pairs_KMD.split(sizes, dim=2)], dim=2)


def products_with_sums(batches: list[Tensor], weights_CN: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """
    Inner products of gradients with C weighted sums of all. All ranks must call this together.

    Args:
        batches (`list[torch.Tensor]`):
            M sketches of D numbers for each of this rank's N prompts, each `(n, M, D)`. They are not copied together.
        weights_CN (`torch.Tensor`):
            The weights of these prompts in each sum, float64.
        device (`torch.device`):
            On which ranks exchange numbers: NCCL knows GPUs alone.

    Returns:
        `(M, N, C)` and `(M, N)` in float64, of all ranks' prompts in the order of ranks: ⟨ĝ_i, Σ_j w_cj ĝ_j⟩ with
        j = i among the j, and ⟨ĝ_i, ĝ_i⟩.

    Raises:
        `Exception`: on all ranks, if something failed on one.
    """
    N, M = sum(map(len, batches)), batches[0].size(1)
    device = device if num_ranks() > 1 else batches[0].device
    numbers = gather_list([N])
    first, C = sum(numbers[: own_rank()]), len(weights_CN)
    with failing_together():
        all_NMC = torch.zeros(sum(numbers), M, C + 1, dtype=torch.float64)  # the last are the squares
        mine_NMC = all_NMC[first : first + N]
        sparse_CN = weights_CN.to_sparse()  # a prompt counts in one of the sums, or in few
    for part in _split(batches):
        with failing_together():
            columns = torch.cat(part).double()
            sums_CMD = (sparse_CN @ columns.flatten(1)).unflatten(1, columns.shape[1:]).to(device)
        sum_of_ranks(sums_CMD)
        with failing_together():
            mine_NMC[..., :-1] += (columns.transpose(0, 1) @ sums_CMD.cpu().permute(1, 2, 0)).transpose(0, 1)
            mine_NMC[..., -1] += torch.linalg.vector_norm(columns, dim=2).square()
    with failing_together():
        all_NMC = all_NMC.to(device)
    sum_of_ranks(all_NMC)  # in which each prompt is on one rank alone
    with failing_together():
        all_MNC = all_NMC.cpu().transpose(0, 1)
    return all_MNC[..., :-1], all_MNC[..., -1]


def _split(batches: list[Tensor]) -> Iterator[list[Tensor]]:
    """The columns of all rows in parts, as many and as large on all ranks."""
    _, M, D = batches[0].shape
    numbers = max(1, _NUMBERS_AT_A_TIME // M)
    for start in range(0, D, numbers):
        yield [rows_NMD[:, :, start : start + numbers] for rows_NMD in batches]
