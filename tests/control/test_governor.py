import pytest
import torch

from passk_trl.control import Governor
from passk_trl.estimators import passk_advantages
from situations import report, rewards, situation


@pytest.mark.parametrize(("reports", "k"), [([], 8), ([report(True), report(False)], 8)])
def test_it_follows_the_latest_probe(reports, k):
    batch = rewards([1, 8, 15])
    decision = Governor().decide(situation(batch, reports))
    assert decision.figures == {"k": k}
    assert torch.equal(decision.advantages_PG, passk_advantages(batch, k))


def test_it_lowers_k_in_a_conflict():
    decision = Governor().decide(situation(rewards([1, 8, 15]), [report(True)]))
    assert decision.figures["k"] < 8
