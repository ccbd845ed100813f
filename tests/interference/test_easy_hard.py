"""Easy and hard prompts, and the conflict among them, against hand-worked figures."""

import pytest
import torch

from passk_trl.interference import (
    DELTAS_1,
    DELTAS_2,
    agreement_shift,
    conflict_of_filtered,
    easy_and_hard,
    measure_interference,
)
from probes import FOUR_CORRECT, FOUR_GRADIENTS, FOUR_GRAM, random_gram


def test_easy_and_hard_are_strict_and_leave_out_prompts_never_solved():
    correct = torch.tensor([0, 1, 2, 3, 16, 17, 18, 20])
    easy, hard = easy_and_hard(correct, 20, delta_1=0.85, delta_2=0.15)
    assert easy.nonzero().flatten().tolist() == [6, 7]  # 17/20 is not above .85
    assert hard.nonzero().flatten().tolist() == [1, 2]  # 3/20 is not below .15, and 0 is not hard
    easy, hard = easy_and_hard(correct, torch.full_like(correct, 20), delta_1=0.8, delta_2=0.05)
    assert easy.nonzero().flatten().tolist() == [5, 6, 7]
    assert not hard.any()


def test_the_counts_of_the_paper_come_out_of_its_thresholds():
    """It has 38, 21, 27 and 11 problems with 1 to 4 of 32 correct: 38, 86 and 97 hard ones at .05, .10 and .15."""
    correct = torch.tensor([0] * 50 + [1] * 38 + [2] * 21 + [3] * 27 + [4] * 11)
    hard = [int(easy_and_hard(correct, 32, 0.8, delta_2)[1].sum()) for delta_2 in DELTAS_2]
    assert hard == [38, 86, 97]


def test_thresholds_that_do_not_separate_are_refused():
    with pytest.raises(ValueError, match=r"delta_1=0\.1 and delta_2=0\.2 do not separate easy from hard"):
        easy_and_hard(torch.tensor([1]), 4, 0.1, 0.2)


def test_the_grid_takes_agreement_with_the_filtered_prompts_alone():
    # Two of middling success with gradients of 100, which would swamp the mean if they were not filtered out.
    gradients = torch.cat([FOUR_GRADIENTS, torch.tensor([100.0, 100.0], dtype=torch.float64)])
    correct = torch.tensor([31, 31, 31, 1, 16, 16])
    cells = conflict_of_filtered(gradients[:, None] * gradients, correct, 32, 32)
    assert [(cell.delta_1, cell.delta_2) for cell in cells] == [(one, two) for one in DELTAS_1 for two in DELTAS_2]
    for cell in cells:
        assert (cell.num_easy, cell.num_hard) == (3, 1)
        assert cell.shift.mean_agreement == pytest.approx(1 / 16)
        expected = 32 * (31 / 32) ** 31 * -0.5 / 4  # the easy weigh 32 (1/32)^31: nothing
        assert cell.shift.weighted_agreement == pytest.approx(expected)
        assert cell.shift.inner_product_sum == pytest.approx(4 * expected)


def test_independent_sketches_pass_through_the_grid():
    correct = torch.tensor([31, 31, 31, 1])
    one, two = (
        conflict_of_filtered(gram, correct, 32, 16, "unbiased", [0.8], [0.1])[0].shift
        for gram in (FOUR_GRAM, torch.stack([FOUR_GRAM + 0.1, FOUR_GRAM - 0.1]))
    )
    assert two.weighted_agreement == pytest.approx(one.weighted_agreement)
    assert two.standard_error > one.standard_error


def test_too_few_filtered_prompts_have_no_shift():
    cell = conflict_of_filtered(FOUR_GRAM, FOUR_CORRECT, 4, 2, "unbiased", [0.9], [0.3])[0]
    assert (cell.num_easy, cell.num_hard, cell.shift) == (0, 1, None)


def test_prompts_may_have_their_own_number_of_rollouts():
    counts, samples = torch.tensor([31, 30, 29, 1, 16]), torch.tensor([32, 31, 30, 20, 32])
    gram = random_gram(5)
    [cell] = conflict_of_filtered(gram, counts, samples, 8, "unbiased", [0.8], [0.1])
    assert (cell.num_easy, cell.num_hard) == (3, 1)
    kept = measure_interference(gram[:4, :4], counts[:4], samples[:4], [8])
    assert cell.shift == agreement_shift(kept, 8)
