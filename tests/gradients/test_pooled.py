"""Inner products with weighted sums over the prompts of all ranks."""

import pytest
import torch
import torch.distributed as dist

from passk_trl.gradients import pooled
from passk_trl.gradients.pooled import products_of_sums, products_with_sums
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
    rows_NMD, weights_CN = inputs()
    batches = [rows_NMD[:4], rows_NMD[4:4], rows_NMD[4:]]  # one has no prompt with a gradient
    assert_expected(products_with_sums(batches, weights_CN, CPU))
    monkeypatch.setattr(pooled, "_NUMBERS_AT_A_TIME", 21)
    assert_expected(products_with_sums(batches, weights_CN, CPU))


SIZES = [20, 5, 25]


def expected_parts() -> torch.Tensor:
    """Of each part of the sketches, from its own Gram matrix without the diagonal."""
    rows_NMD, weights_CN = inputs()
    parts = []
    for part in rows_NMD.double().split(SIZES, dim=2):
        gram_MNN = torch.einsum("imd,jmd->mij", part, part)
        gram_MNN.diagonal(dim1=1, dim2=2).zero_()
        parts.append(torch.einsum("ki,mij,j->km", weights_CN, gram_MNN, weights_CN[1]))
    return torch.stack(parts, dim=2)


def test_each_part_of_the_sketches_has_its_own_products(monkeypatch):
    rows_NMD, weights_CN = inputs()
    assert torch.allclose(products_of_sums([rows_NMD], weights_CN, weights_CN[1], SIZES, CPU), expected_parts())
    monkeypatch.setattr(pooled, "_NUMBERS_AT_A_TIME", 21)
    assert torch.allclose(products_of_sums([rows_NMD], weights_CN, weights_CN[1], SIZES, CPU), expected_parts())


def on_a_rank() -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    rows_NMD, weights_CN = inputs()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    mine = [slice(0, 0), slice(0, 5), slice(5, N)][rank]  # the first rank has none
    rows_NMD, weights_CN = rows_NMD[mine], weights_CN[:, mine]
    products = products_with_sums([rows_NMD], weights_CN, CPU)
    return products, products_of_sums([rows_NMD], weights_CN, weights_CN[1], SIZES, CPU)


def test_the_ranks_have_them_together():
    for products, parts in run_ranks(on_a_rank, world_size=3):
        assert_expected(products)
        assert torch.allclose(parts, expected_parts())


class OutOfMemory(torch.Tensor):
    """Numbers for whose second part in float64 there is no memory."""

    parts = 0

    def double(self) -> torch.Tensor:
        OutOfMemory.parts += 1
        if OutOfMemory.parts == 2:
            raise torch.OutOfMemoryError("no memory left")
        return super().double()


def without_memory_on_one_rank() -> torch.Tensor:
    dist.init_process_group("gloo")
    pooled._NUMBERS_AT_A_TIME = 21
    rows_NMD, weights_CN = inputs()
    failing_NMD = rows_NMD.as_subclass(OutOfMemory) if dist.get_rank() == 1 else rows_NMD
    for measure in (
        lambda: products_with_sums([failing_NMD], weights_CN, CPU),
        lambda: products_of_sums([failing_NMD], weights_CN, weights_CN[1], SIZES, CPU),
    ):
        OutOfMemory.parts = 0
        with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
            measure()
    return products_with_sums([rows_NMD], weights_CN, CPU)[1]


def test_ranks_fail_together():
    _, squares_MN = expected()
    for measured_MN in run_ranks(without_memory_on_one_rank):  # and are at one afterwards
        assert torch.allclose(measured_MN, torch.cat([squares_MN, squares_MN], dim=1))
