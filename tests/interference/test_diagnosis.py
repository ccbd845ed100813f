"""What is read off a checkpoint besides the curve, against figures that were worked out by hand."""

import math

import pytest
import torch

from passk_trl.interference import InterferenceReport, measure_interference
from passk_trl.interference.agreement import agreement_shift
from passk_trl.interference.easy_hard import DELTAS_1, DELTAS_2, conflict_of_filtered, easy_and_hard
from passk_trl.interference.in_words import verdict
from passk_trl.interference.onset import onset_interval


# Four prompts of one-dimensional gradients 1, 1, 1 and -2, from 4 rollouts each: three easy ones, one hard.
GRADIENTS = torch.tensor([1.0, 1.0, 1.0, -2.0], dtype=torch.float64)
GRAM = GRADIENTS[:, None] * GRADIENTS
CORRECT = torch.tensor([3, 3, 3, 1])


def test_the_shift_of_the_paper_is_what_paper_and_pencil_give():
    # Mean gradient 1/4, so a = (1, 1, 1, -2)/4; plug-in weights at k = 4: 4 (1/4)^3 = 1/16 and 4 (3/4)^3 = 27/16.
    shift = agreement_shift(measure_interference(GRAM, CORRECT, 4, [1, 4], estimator="plugin"), 4)
    assert shift.mean_agreement == pytest.approx((3 * 0.25 - 0.5) / 4)
    weighted = (3 * 0.25 / 16 - 0.5 * 27 / 16) / 4
    assert shift.weighted_agreement == pytest.approx(weighted)
    assert shift.shift == pytest.approx(weighted - 1 / 16)
    assert shift.mean_weight == pytest.approx((3 / 16 + 27 / 16) / 4)
    assert shift.reweighted_mean == pytest.approx(weighted / ((3 / 16 + 27 / 16) / 4))
    assert shift.inner_product_sum == pytest.approx(4 * weighted)
    assert shift.inner_product_sum_error == pytest.approx(4 * shift.standard_error)
    assert shift.low < weighted < shift.high


def test_the_shift_of_unbiased_estimates_leaves_each_prompt_out_of_its_own_agreement():
    # a_i = g_i (1 - g_i)/3: 0 for the easy ones, -2 for the hard; weight at k = 2: 2 C(2,1)/C(2,1) = 2, at c = 3: 0.
    shift = agreement_shift(measure_interference(GRAM, CORRECT, 4, [1, 2]), 2)
    assert shift.mean_agreement == pytest.approx(-0.5)
    assert shift.weighted_agreement == pytest.approx(2 * -2 / 4)
    assert shift.mean_weight == pytest.approx(0.5)


def test_a_k_that_was_not_measured_has_no_shift():
    with pytest.raises(ValueError, match="k=3 was not measured"):
        agreement_shift(measure_interference(GRAM, CORRECT, 4, [1, 2]), 3)


def test_easy_and_hard_are_strict_and_leave_out_prompts_never_solved():
    correct = torch.tensor([0, 1, 2, 3, 16, 17, 18, 20])
    easy, hard = easy_and_hard(correct, 20, delta_1=0.85, delta_2=0.15)
    assert easy.nonzero().flatten().tolist() == [6, 7]  # 17/20 is not above .85
    assert hard.nonzero().flatten().tolist() == [1, 2]  # 3/20 is not below .15, and 0 is none
    easy, hard = easy_and_hard(correct, torch.full_like(correct, 20), delta_1=0.8, delta_2=0.05)
    assert easy.nonzero().flatten().tolist() == [5, 6, 7]
    assert not hard.any()


def test_the_counts_of_the_paper_come_out_of_its_thresholds():
    """Its 38, 21, 27 and 11 problems of 1 to 4 of 32 correct are 38, 86 and 97 hard ones at .05, .10 and .15."""
    correct = torch.tensor([0] * 50 + [1] * 38 + [2] * 21 + [3] * 27 + [4] * 11)
    hard = [int(easy_and_hard(correct, 32, 0.8, delta_2)[1].sum()) for delta_2 in DELTAS_2]
    assert hard == [38, 86, 97]


def test_thresholds_that_part_nothing_are_refused():
    with pytest.raises(ValueError, match=r"delta_1=0\.1 and delta_2=0\.2 do not separate easy from hard"):
        easy_and_hard(torch.tensor([1]), 4, 0.1, 0.2)


def test_the_grid_takes_agreement_with_the_filtered_prompts_alone():
    # Two of middling success with gradients of 100, which would swamp the mean if they were not filtered out.
    gradients = torch.cat([GRADIENTS, torch.tensor([100.0, 100.0], dtype=torch.float64)])
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
        for gram in (GRAM, torch.stack([GRAM + 0.1, GRAM - 0.1]))
    )
    assert two.weighted_agreement == pytest.approx(one.weighted_agreement)
    assert two.standard_error > one.standard_error


def test_too_few_filtered_prompts_have_no_shift():
    cell = conflict_of_filtered(GRAM, CORRECT, 4, 2, "unbiased", [0.9], [0.3])[0]
    assert (cell.num_easy, cell.num_hard, cell.shift) == (0, 1, None)


def curve(inner_product: list[float], margin: float, sign: float = 1.0) -> InterferenceReport:
    """A report whose interval is ± `margin`, at k = 1, 2, 3 …"""
    report = measure_interference(torch.eye(3), [1, 1, 1], len(inner_product) + 1)
    values = torch.tensor(inner_product, dtype=torch.float64)
    errors = torch.full_like(values, margin) / report._interval_factor
    turns = [k for k in range(1, len(values)) if values[k] < 0 <= values[k - 1]]
    onset = turns[0] + float(values[turns[0] - 1] / (values[turns[0] - 1] - values[turns[0]])) if turns else None
    changed = {"inner_product": values, "inner_product_se": errors, "onset": onset}
    return InterferenceReport(**{**vars(report), "agreement": values[:3].abs() * sign, **changed})


def test_the_interval_of_the_onset_is_where_the_ends_turn_negative():
    report = curve([4.0, 2.0, 0.0, -2.0, -4.0], margin=1.0)
    low, high = onset_interval(report)
    assert (low, high) == (pytest.approx(2.5), pytest.approx(3.5))
    assert onset_interval(curve([4.0, 2.0, 0.5], 1.0)) == (pytest.approx(2 + 1 / 1.5), None)
    assert onset_interval(curve([4.0, 3.0, 2.0], 1.0)) == (None, None)
    assert onset_interval(curve([0.5, 0.1], 1.0)) == (1.0, None)


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (
            curve([4.0, 2.0, 0.5, -2.0, -4.0, 2.0, -3.0], 1.0),
            "From k = 3.2 on (95% interval 2.7 to 3.6), training for pass@k would lower pass@1. The conflict is "
            "significant at k = 4 to 5, 7.",
        ),
        (
            curve([4.0, 2.0, -0.5], 1.0),
            "Undecided: from k = 2.8 on, training for pass@k is measured to lower pass@1, but at no k is the whole "
            "95% interval below 0. Probe more than 3 prompts.",
        ),
        (
            curve([4.0, 3.0, 0.5], 1.0),
            "No conflict up to k = 2: training for pass@k would raise pass@1 (95% intervals). Beyond it, 3 prompts "
            "cannot tell.",
        ),
        (
            curve([4.0, 3.0, 2.0], 1.0),
            "No conflict up to k = 3: training for pass@k would raise pass@1 (95% intervals).",
        ),
        (
            curve([0.5, 0.5, 0.5], 1.0),
            "Undecided: at no k is the whole 95% interval above 0. Probe more than 3 prompts.",
        ),
        (
            curve([4.0, 3.0, 2.0], 1.0, sign=-1.0),
            "Nothing can be said: the squared norm of the pass@1 gradient itself is measured negative, so it is lost "
            "in the noise of 3 prompts. Probe more of them.",
        ),
        (
            curve([0.0, 0.0, 0.0], 0.0),
            "Nothing can be said: no prompt has both correct and incorrect rollouts, so none has a gradient. Choose "
            "prompts that the policy sometimes solves.",
        ),
    ],
)
def test_the_verdict(report, told):
    assert verdict(report) == told


def test_weights_that_are_all_zero_have_no_reweighted_mean():
    shift = agreement_shift(measure_interference(GRAM, torch.tensor([3, 3, 3, 3]), 4, [3]), 3)
    assert shift.weighted_agreement == 0
    assert math.isnan(shift.reweighted_mean)
