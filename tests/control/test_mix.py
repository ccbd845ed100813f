import pytest
import torch

from passk_trl.control import Aggregated, DifficultyWeights, Mix
from passk_trl.control.smallest_share import smallest_share
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import pass_at_k, passk_advantages
from passk_trl.interference import measure_interference
from situations import line_report, report, rewards, situation


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
    others = ([old, *latest], latest[1:], latest[:1])
    of_others = [smallest_share(*two_gradients(reports, 8)[:2]) for reports in others]
    assert all(abs(decision.figures["share"] - share) > 1e-3 for share in of_others)


def test_without_conflict_or_probe_it_trains_for_passk_alone():
    batch = rewards([1, 8, 15])
    for reports in ([], [report(False)]):
        decision = Mix().decide(situation(batch, reports))
        assert decision.figures["share"] == 0
        ratio = decision.advantages_PG / passk_advantages(batch, 8)
        torch.testing.assert_close(ratio[~ratio.isnan()], ratio[0, 0].expand(int((~ratio.isnan()).sum())))


@pytest.mark.parametrize(
    "controller", [Mix(), Aggregated(), DifficultyWeights()], ids=["mix", "aggregated", "difficulty"]
)
def test_it_says_when_it_is_blind_and_trains_passk_alone(controller):
    batch = rewards([1, 4])
    lost = line_report([1] * 10 + [14] * 10, [1.0, -1.0] * 10)
    solved = line_report([16] * 12, [0.0] * 12)
    for reports, reason in (([], "no report yet"), ([lost], "noise hides"), ([solved], "are solved")):
        decision = controller.decide(situation(batch, reports))
        assert reason in decision.blind
        assert decision.logged["blind"] == 1
        ratio = decision.advantages_PG / passk_advantages(batch, 8)
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    for conflicting in (True, False):
        assert controller.decide(situation(batch, [report(conflicting)])).logged["blind"] == 0


def test_a_stratified_probe_gives_the_share_that_its_sampling_weights_say():
    counts, gradients = [1] * 4 + [10] * 12, [-1.2, -1.0, -0.9, -0.8] + [2.0] * 12
    stratified = line_report(counts, gradients, [3.0] * 4 + [1.0] * 12)
    decision = Mix().decide(situation(rewards([1, 8]), [stratified]))
    mean_weight = float(
        stratified.sampling_weights @ (8 * (1 - pass_at_k(torch.tensor(16), torch.tensor(counts), 7))) / 24
    )
    inner = float(stratified.inner_product[-1]) / mean_weight
    share = decision.figures["share"]
    assert share == pytest.approx(smallest_share(inner, stratified.pass1_norm_squared))
    assert share > 0.5
    expected = (1 - share) * passk_advantages(rewards([1, 8]), 8) / mean_weight
    expected += share * passk_advantages(rewards([1, 8]), 1)
    torch.testing.assert_close(decision.advantages_PG, expected)


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
