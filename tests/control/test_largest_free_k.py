from dataclasses import replace

import torch

from passk_trl.control.largest_free_k import largest_free_k
from passk_trl.interference import measure_interference
from situations import line_report, report


def test_the_largest_k_that_is_free_of_conflict():
    conflicting = report(conflicting=True)
    assert largest_free_k(report(conflicting=False), 8) == 8
    assert largest_free_k(report(conflicting=False), 5) == 5
    best = largest_free_k(conflicting, 8)
    assert 1 <= best < 8
    assert not conflicting.conflict[:best].any()
    assert conflicting.conflict[best]


def test_without_significance_the_sign_decides():
    free = report(conflicting=False)
    falling, noise = torch.where(free.ks <= 3, 1.0, -1.0), torch.where(free.ks <= 3, 0.1, 10.0)
    unclear = replace(free, inner_product=falling.double(), inner_product_se=noise.double())
    assert largest_free_k(unclear, 8, significant=False) == 3
    assert largest_free_k(unclear, 8) == 8


def test_a_report_that_cannot_tell_gives_no_k():
    lost = line_report([1] * 10 + [14] * 10, [1.0, -1.0] * 10)
    assert largest_free_k(lost, 8) is None
    assert largest_free_k(lost, 8, significant=False) is None
    undecided = line_report([4] * 8 + [12] * 8, [-1.0, 2.0] * 8)
    assert undecided.pass1_norm_squared > 0
    assert not undecided.conflict.any()
    assert not (undecided.inner_product_low > 0).any()
    assert largest_free_k(undecided, 8) is None
    assert largest_free_k(undecided, 8, significant=False) is not None


def test_what_is_told_above_the_target_does_not_count():
    free = report(conflicting=False)
    unclear = replace(free, inner_product_se=torch.where(free.ks <= 3, 100.0, free.inner_product_se))
    assert largest_free_k(unclear, 3) is None
    assert largest_free_k(unclear, 8) == 8


def test_an_interval_that_is_not_a_number_tells_nothing():
    broken = replace(report(True), inner_product=torch.full((8,), torch.nan).double())
    assert largest_free_k(broken, 8) is None


def test_sampling_weights_decide_which_k_is_free():
    counts, gradients = [1] * 8 + [4] * 16, [-1.0] * 8 + [1.0] * 16
    free = [largest_free_k(line_report(counts, gradients, [s] * 8 + [1.0] * 16), 8) for s in (0.05, 1.0)]
    assert free[0] == 8 > free[1]


def test_a_fractional_k_is_never_returned():
    probe = measure_interference(torch.ones(10, 10), torch.full((10,), 8), 16, [1, 2.5, 9])
    assert largest_free_k(probe, 8) == 1
