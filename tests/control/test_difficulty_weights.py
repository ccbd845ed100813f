import pytest
import torch

from passk_trl.control import DifficultyWeights
from passk_trl.control.difficulty_weights import weight_shifts
from passk_trl.control.prompt_weights import gradient_weights, nearest_weights
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import passk_advantages
from passk_trl.interference import InterferenceReport, measure_interference
from situations import NUM_ROLLOUTS, report, rewards, situation


def measured(
    counts: list[int], agrees: list[float], sampling_weights: list[float] | None = None
) -> InterferenceReport:
    """Of prompts whose gradients point one way or against it."""
    gradients = torch.tensor(agrees).double()
    gram = torch.outer(gradients, gradients)
    return measure_interference(gram, counts, NUM_ROLLOUTS, range(1, 9), sampling_weights=sampling_weights)


def weights_given(decision, batch: torch.Tensor) -> torch.Tensor:
    """By prompt, of a batch in which each has a gradient."""
    return (decision.advantages_PG / passk_advantages(batch.double(), 1))[:, 0]


def test_probe_prompts_so_weighed_do_not_oppose_pass1():
    conflicting = report(True)
    batch = rewards(conflicting.num_correct.tolist())
    decision = DifficultyWeights().decide(situation(batch, [conflicting]))
    weights = weights_given(decision, batch)
    wanted = gradient_weights(batch, 8) / two_gradients([conflicting], 8).mean_weight
    assert wanted @ conflicting.agreement < 0
    assert weights @ conflicting.agreement == pytest.approx(0, abs=1e-9)
    assert decision.figures["moved"] == pytest.approx(float((weights - wanted).norm() / wanted.norm()))
    assert len(set(weights.tolist())) == 2  # by difficulty alone, whatever a prompt's own agreement


def test_they_are_the_nearest_under_the_mean_agreement_of_each_bin():
    counts = [1] * 6 + [2] * 6 + [13] * 12
    found = measured(counts, [-1.0, 0.6] * 3 + [-0.5] * 6 + [0.3] * 12)
    shifts, _ = weight_shifts([found], 8, bins=8)
    pooled = torch.cat(
        [found.agreement[first:last].mean().expand(last - first) for first, last in ((0, 6), (6, 12), (12, 24))]
    )
    expected = nearest_weights(found.weights[-1], pooled)
    bins = (torch.tensor(counts) / NUM_ROLLOUTS * 8).long()
    torch.testing.assert_close((found.weights[-1] + shifts[bins]).clamp(min=0), expected)
    assert not torch.equal(expected, found.weights[-1])


def test_several_probes_count_as_one_with_all_their_prompts():
    one, other = (measured([1] * 4 + [14] * 12, [oppose] * 4 + [1.0] * 12) for oppose in (-1.2, -0.8))
    pooled, _ = weight_shifts([one, other], 8, bins=8)
    alone = [weight_shifts([each], 8, bins=8)[0] for each in (one, other)]
    low, high = torch.stack(alone).aminmax(dim=0)
    assert (low < high).all()
    assert ((low < pooled) & (pooled < high)).all()
    decisions = [
        DifficultyWeights(probes=probes).decide(situation(rewards([1, 14]), [report(False), one, other]))
        for probes in (1, 2, 3)
    ]
    moved = [weight_shifts(reports, 8, 8)[1] for reports in ([other], [one, other], [report(False), one, other])]
    assert [decision.figures["moved"] for decision in decisions] == moved
    assert len(set(moved)) == 3


def test_a_bin_that_no_probe_prompt_is_in_is_weighed_as_the_nearest():
    found = measured([4] * 8 + [12] * 12, [-1.0] * 8 + [1.0] * 12)
    shifts, _ = weight_shifts([found], 8, bins=8)
    assert shifts[2] < 0 < shifts[6]
    assert shifts.tolist() == [float(shifts[2])] * 5 + [float(shifts[6])] * 3


def test_where_pass1_is_lost_in_noise_it_trains_passk():
    lost = measured([1] * 10 + [14] * 10, [1.0, -1.0] * 10)
    assert lost.pass1_norm_squared < 0
    batch = rewards([1, 14])
    decision = DifficultyWeights().decide(situation(batch, [lost]))
    assert decision.figures["moved"] == 0
    expected = passk_advantages(batch, 8) / two_gradients([lost], 8).mean_weight
    torch.testing.assert_close(decision.advantages_PG, expected)


def test_agreement_is_pooled_by_what_prompts_stand_for():
    found = measured([1] * 4 + [14] * 12, [-1.2, -0.4, -0.4, -0.4] + [1.0] * 12, [3.0] + [1.0] * 15)
    shifts, _ = weight_shifts([found], 8, bins=8)
    hard, easy = found.agreement[:4], found.agreement[4]
    mean = float(torch.tensor([3.0, 1.0, 1.0, 1.0]).double() @ hard / 6)
    assert mean != pytest.approx(float(hard.mean()), rel=0.01)
    assert float(shifts[0] / shifts[7]) == pytest.approx(mean / float(easy))


def test_a_prompt_that_stands_for_two_counts_twice():
    twice = measured([1] * 8 + [14] * 12, [-1.0] * 8 + [1.0] * 12)
    drawn_less = measured([1] * 4 + [14] * 12, [-1.0] * 4 + [1.0] * 12, [2.0] * 4 + [1.0] * 12)
    # The agreement of a prompt leaves itself out, so that as many prompts are needed for both to be equal.
    twice.agreement.copy_(torch.cat([drawn_less.agreement[:4].repeat(2), drawn_less.agreement[4:]]))
    torch.testing.assert_close(weight_shifts([twice], 8, 8), weight_shifts([drawn_less], 8, 8))


def test_prompts_without_a_gradient_do_not_dilute_the_agreement():
    found = measured([1] * 8 + [14] * 12, [-1.0] * 8 + [1.0] * 12)
    with_more = measured([0] * 8 + [1] * 8 + [14] * 12, [0.0] * 8 + [-1.0] * 8 + [1.0] * 12)
    shifts, moved = weight_shifts([found], 8, 8)
    assert moved > 0
    with_more.agreement.copy_(torch.cat([torch.zeros(8), found.agreement]))  # a mean over more prompts, else
    torch.testing.assert_close(weight_shifts([with_more], 8, 8), (shifts, moved))


@pytest.mark.parametrize("reports", [[], [report(False)]], ids=["no probe", "no conflict"])
def test_without_conflict_or_probe_it_trains_for_passk_alone(reports):
    batch = rewards([1, 4, 8])
    decision = DifficultyWeights().decide(situation(batch, reports))
    assert decision.figures["moved"] == 0
    passk = passk_advantages(batch.double(), 8, "loo" if reports else "weighted_loo")
    ratio = (decision.advantages_PG / passk)[passk != 0]
    torch.testing.assert_close(ratio, ratio[0].expand(len(ratio)))


def test_rewards_that_are_no_success_are_refused():
    with pytest.raises(ValueError, match="neither 0 nor 1; set success_threshold"):
        DifficultyWeights().decide(situation(0.5 * rewards([1, 8]), [report(True)]))


@pytest.mark.parametrize("arguments", [{"bins": 1}, {"probes": 0}])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        DifficultyWeights(**arguments)
