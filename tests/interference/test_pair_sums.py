"""Sums over pairs in which a prompt's own share was subtracted: what is left is 0 where nothing else was there."""

import pytest
import torch

from passk_trl.interference import ProbeSample
from passk_trl.interference.measuring import report_of_pairs
from passk_trl.interference.pair_sums import PairSums, classes_of


NUM_ROLLOUTS = 8


def by_subtraction(rows_MND: torch.Tensor, num_correct_N: torch.Tensor) -> PairSums:
    """As where gradients are too many for their Gram matrix: with the sums of all, less the prompt itself."""
    num_correct_C, num_samples_C, classes_N = classes_of(num_correct_N, torch.full_like(num_correct_N, NUM_ROLLOUTS))
    weights_CN = torch.nn.functional.one_hot(classes_N).double().T
    squares_MN = rows_MND.square().sum(dim=2)
    with_class_MNC = rows_MND @ (weights_CN @ rows_MND).transpose(1, 2)
    with_class_MNC[:, torch.arange(len(classes_N)), classes_N] -= squares_MN
    return PairSums(
        with_class=with_class_MNC,
        squares=squares_MN.mean(0),
        largest=float(squares_MN.max()),
        num_partners=torch.full_like(classes_N, len(classes_N) - 1),
        self_pairs=False,
        classes=classes_N,
        num_correct=num_correct_C,
        num_samples=num_samples_C,
        sampling_weights=torch.ones(len(classes_N), dtype=torch.float64),
    )


def rows(seed: int, num_prompts: int = 8, sketches: int = 3, size: int = 4096) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sketches, num_prompts, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_a_prompt_that_is_alone_in_its_class_is_no_pair(seed):
    num_correct_N = torch.tensor([0, 0, 0, 1, 3, 3, 5, 8])
    rows_MND = rows(seed) * ((num_correct_N > 0) & (num_correct_N < NUM_ROLLOUTS))[:, None]
    pairs = by_subtraction(rows_MND, num_correct_N)
    sums_MNC = PairSums.of(ProbeSample.of(rows_MND @ rows_MND.transpose(1, 2), num_correct_N, NUM_ROLLOUTS)).with_class
    assert torch.equal(pairs.with_class == 0, sums_MNC == 0)
    torch.testing.assert_close(pairs.with_class, sums_MNC)
    norm_squared_K = report_of_pairs(pairs, torch.tensor([1.0, 7.0])).norm_squared
    assert norm_squared_K[0] != 0
    assert norm_squared_K[1] == 0  # of one prompt alone, so no cosine is made of it


@pytest.mark.parametrize("seed", range(5))
def test_gradients_that_have_no_parameter_in_common_add_up_to_nothing(seed):
    rows_MND = torch.block_diag(*rows(seed, size=512)[0]).expand(2, -1, -1)
    report = report_of_pairs(by_subtraction(rows_MND, torch.full((8,), 3)), torch.tensor([1.0, 2.0]))
    assert not report.agreement.any()
    assert report.inner_product_se.isnan().all()
    assert report.cosine.isnan().all()
