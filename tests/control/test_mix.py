import pytest
import torch

from passk_trl.control import Aggregated, Mix
from passk_trl.control.smallest_share import measured_share, smallest_share
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import passk_advantages
from passk_trl.interference import measure_interference
from situations import report, rewards, situation


def test_it_removes_the_conflict_that_was_measured():
    conflicting = report(True)
    batch = rewards([1, 8, 15])
    decision = Mix(probes=1).decide(situation(batch, [conflicting]))
    share, mean_weight = decision.figures["share"], two_gradients([conflicting], 8).mean_weight
    inner = float(conflicting.inner_product[-1]) / mean_weight
    assert (1 - share) * inner + share * conflicting.pass1_norm_squared == pytest.approx(0, abs=1e-12)
    expected = (1 - share) * passk_advantages(batch, 8) / mean_weight + share * passk_advantages(batch, 1)
    torch.testing.assert_close(decision.advantages_PG, expected)


def test_the_latest_probes_are_averaged_as_many_as_configured():
    old, *latest = (report(True, noise) for noise in (0.01, 0.2, 0.4))
    found = [two_gradients([each], 8) for each in latest]
    # Inner products are averaged as they were measured, and divided by the mean of the mean weights.
    inner = sum(each.inner_product * each.mean_weight for each in found) / sum(each.mean_weight for each in found)
    norm = sum(each.pass1_norm_squared for each in found) / 2
    decision = Mix(probes=2).decide(situation(rewards([1, 8]), [old, *latest]))
    assert decision.figures["share"] == pytest.approx(smallest_share(inner, norm))
    of_others = [measured_share(reports, 8)[0] for reports in ([old, *latest], latest[1:], latest[:1])]
    assert all(abs(decision.figures["share"] - share) > 1e-3 for share in of_others)


def test_without_conflict_or_probe_it_trains_for_passk_alone():
    batch = rewards([1, 8, 15])
    for reports in ([], [report(False)]):
        decision = Mix().decide(situation(batch, reports))
        assert decision.figures["share"] == 0
        ratio = decision.advantages_PG / passk_advantages(batch, 8)
        torch.testing.assert_close(ratio[~ratio.isnan()], ratio[0, 0].expand(int((~ratio.isnan()).sum())))


@pytest.mark.parametrize("controller", [Mix(probes=1), Aggregated(probes=1)])
def test_probes_whose_prompts_are_all_solved_do_not_inflate_the_gradient(controller):
    solved = measure_interference(torch.eye(10) + 1, torch.full((10,), 15), 16, range(1, 9))
    assert solved.mean_weight[-1] == 0
    batch = rewards([1, 8, 15])
    decision = controller.decide(situation(batch, [solved]))
    assert decision.figures["share"] == 0
    assert decision.advantages_PG.abs().max() < 10


def test_a_k_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="did not measure pass_at_k=9"):
        Mix().decide(situation(rewards([1, 8]), [report(True)], k=9))


@pytest.mark.parametrize("arguments", [{"margin": 1.0}, {"margin": -0.1}, {"probes": 0}])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Mix(**arguments)
