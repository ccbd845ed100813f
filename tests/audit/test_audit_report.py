"""What follows from a measurement: both estimates over k, success and pass@k of the prompts that were measured."""

import math

import pytest
import torch

from audits import PROMPTS, ROLLOUTS, K, audit_report, measurement
from passk_trl.interference import measure_interference


def test_both_estimates_are_those_of_the_measured_sample():
    report, sample = audit_report(), measurement().sample
    assert report.unbiased.ks.tolist() == list(range(1, ROLLOUTS))
    assert report.plugin.ks.tolist() == list(range(1, ROLLOUTS + 1))
    expected = measure_interference(**sample.arguments, ks=[K])
    assert report.unbiased.inner_product[K - 1] == expected.inner_product[0]
    expected = measure_interference(**sample.arguments, ks=[K], estimator="plugin")
    assert report.plugin.inner_product[K - 1] == expected.inner_product[0]
    assert {conflict.shift.k for conflict in report.filtered if conflict.shift} <= {ROLLOUTS}
    assert {conflict.shift.k for conflict in report.filtered_unbiased if conflict.shift} <= {K}


def test_success_and_pass_at_k():
    report = audit_report()
    assert report.success_histogram == [0, 4, 0, 0, 0, 0, 0, 12, 0]
    assert list(report.pass_at_k) == [1, 2, 4, 8]
    hard, easy = (1 - math.comb(8 - correct, 4) / math.comb(8, 4) for correct in (1, 7))
    assert report.pass_at_k[4] == pytest.approx((12 * easy + 4 * hard) / 16)


def test_a_measured_prompt_is_found_in_the_dataset_it_was_drawn_from():
    sample = measurement().sample.keep(torch.arange(PROMPTS) != 2)
    left = [*range(2), *range(3, PROMPTS)]
    report = audit_report(measurement(prompts=left, sample=sample, unscorable=[2]))
    assert (report.row(2), report.text(2)[:11]) == (30, "What is 30?")


def test_too_few_prompts_are_refused():
    with pytest.raises(ValueError, match="only 7 prompts could be measured, too few for an interval"):
        audit_report(measurement(num_prompts=7))
