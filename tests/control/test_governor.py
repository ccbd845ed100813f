import pytest
import torch

from passk_trl.control import Governor
from passk_trl.estimators import passk_advantages
from situations import line_report, report, rewards, situation


@pytest.mark.parametrize(("reports", "k"), [([], 8), ([report(True), report(False)], 8)])
def test_it_follows_the_latest_probe(reports, k):
    batch = rewards([1, 8, 15])
    decision = Governor().decide(situation(batch, reports))
    assert decision.figures == {"k": k}
    assert torch.equal(decision.advantages_PG, passk_advantages(batch, k))


@pytest.mark.parametrize("significant", [True, False])
def test_where_the_probe_cannot_tell_it_is_blind_and_trains_the_configured_k(significant):
    lost = line_report([1] * 10 + [14] * 10, [1.0, -1.0] * 10)
    assert lost.inner_product[0] < 0
    for reports, reason in (([], "no report yet"), ([report(True), lost], "cannot tell")):
        decision = Governor(significant).decide(situation(rewards([1, 8, 15]), reports))
        assert decision.figures == {"k": 8}
        assert reason in decision.blind
    for conflicting in (True, False):
        assert Governor(significant).decide(situation(rewards([1, 8]), [report(conflicting)])).blind is None


def test_it_lowers_k_in_a_conflict():
    decision = Governor().decide(situation(rewards([1, 8, 15]), [report(True)]))
    assert decision.figures["k"] < 8
