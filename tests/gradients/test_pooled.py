"""Inner products with weighted sums over the prompts of all ranks."""

import torch
import torch.distributed as dist

from passk_trl.gradients import pooled
from passk_trl.gradients.pooled import products_with_sums
from ranks import run_ranks


CPU = torch.device("cpu")
N, M, D, C = 9, 3, 50, 2


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, M, D, generator=generator), torch.rand(C, N, generator=generator).double()


def expected() -> tuple[torch.Tensor, torch.Tensor]:
    rows_NMD, weights_CN = inputs()
    gram_MNN = torch.einsum("imd,jmd->mij", rows_NMD.double(), rows_NMD.double())
    return gram_MNN @ weights_CN.T, gram_MNN.diagonal(dim1=1, dim2=2)


def assert_expected(measured) -> None:
    for ours, theirs in zip(measured, expected(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_they_follow_from_the_gram_matrix(monkeypatch):
    assert_expected(products_with_sums(*inputs(), CPU))
    monkeypatch.setattr(pooled, "_COLUMNS_AT_A_TIME", 7)
    assert_expected(products_with_sums(*inputs(), CPU))


def on_a_rank() -> tuple[torch.Tensor, torch.Tensor]:
    rows_NMD, weights_CN = inputs()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    mine = [slice(0, 0), slice(0, 5), slice(5, N)][rank]  # the first rank has none
    return products_with_sums(rows_NMD[mine], weights_CN[:, mine], CPU)


def test_the_ranks_have_them_together():
    for measured in run_ranks(on_a_rank, world_size=3):
        assert_expected(measured)
