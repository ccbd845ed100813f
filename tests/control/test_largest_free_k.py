import torch

from passk_trl.control.largest_free_k import largest_free_k
from passk_trl.interference import measure_interference
from situations import report


def test_the_largest_k_that_is_free_of_conflict():
    conflicting = report(conflicting=True)
    assert largest_free_k(report(conflicting=False), 8) == 8
    assert largest_free_k(report(conflicting=False), 5) == 5
    best = largest_free_k(conflicting, 8)
    assert 1 <= best < 8
    assert not conflicting.conflict[:best].any()
    assert conflicting.conflict[best]


def test_without_significance_the_sign_decides():
    noisy = report(conflicting=True, noise=3.0)
    estimated = largest_free_k(noisy, 8, significant=False)
    assert (noisy.inner_product[:estimated] >= 0).all() or estimated == 1
    assert estimated <= largest_free_k(noisy, 8)


def test_a_fractional_k_is_never_returned():
    probe = measure_interference(torch.ones(10, 10), torch.full((10,), 8), 16, [1, 2.5, 9])
    assert largest_free_k(probe, 8) == 1
