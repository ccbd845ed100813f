"""The shift of agreement against hand-worked figures."""

import math

import pytest
import torch

from passk_trl.interference import agreement_shift, measure_interference
from probes import FOUR_CORRECT, FOUR_GRAM


def test_the_shift_of_the_paper_is_that_worked_out_by_hand():
    # Mean gradient 1/4, so a = (1, 1, 1, -2)/4; plug-in weights at k = 4: 4 (1/4)^3 = 1/16 and 4 (3/4)^3 = 27/16.
    shift = agreement_shift(measure_interference(FOUR_GRAM, FOUR_CORRECT, 4, [1, 4], estimator="plugin"), 4)
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
    shift = agreement_shift(measure_interference(FOUR_GRAM, FOUR_CORRECT, 4, [1, 2]), 2)
    assert shift.mean_agreement == pytest.approx(-0.5)
    assert shift.weighted_agreement == pytest.approx(2 * -2 / 4)
    assert shift.mean_weight == pytest.approx(0.5)


def test_a_k_that_was_not_measured_has_no_shift():
    with pytest.raises(ValueError, match="k=3 was not measured"):
        agreement_shift(measure_interference(FOUR_GRAM, FOUR_CORRECT, 4, [1, 2]), 3)


def test_weights_that_are_all_zero_have_no_reweighted_mean():
    shift = agreement_shift(measure_interference(FOUR_GRAM, torch.tensor([3, 3, 3, 3]), 4, [3]), 3)
    assert shift.weighted_agreement == 0
    assert math.isnan(shift.reweighted_mean)
