import pytest
import torch

from passk_trl.control import Governor
from passk_trl.control.governor import largest_free_k
from passk_trl.estimators import passk_advantages
from passk_trl.interference import measure_interference
from situations import report, rewards, situation


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


def test_a_k_between_whole_ones_is_none_to_train_for():
    probe = measure_interference(torch.ones(10, 10), torch.full((10,), 8), 16, [1, 2.5, 9])
    assert largest_free_k(probe, 8) == 1


@pytest.mark.parametrize(("reports", "k"), [([], 8), ([report(True), report(False)], 8)])
def test_it_follows_the_latest_probe(reports, k):
    batch = rewards([1, 8, 15])
    decision = Governor().decide(situation(batch, reports))
    assert decision.figures == {"k": k}
    assert torch.equal(decision.advantages_PG, passk_advantages(batch, k))


def test_it_lowers_k_in_a_conflict():
    decision = Governor().decide(situation(rewards([1, 8, 15]), [report(True)]))
    assert decision.figures["k"] < 8
