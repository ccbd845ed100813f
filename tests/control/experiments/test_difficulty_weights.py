import pytest
import torch

from passk_trl.control import DifficultyWeights
from passk_trl.control.experiments.prompt_weights import gradient_weights
from passk_trl.control.experiments.shifts_by_difficulty import weight_shifts
from passk_trl.control.two_gradients import two_gradients
from passk_trl.estimators import pass_at_k, passk_advantages
from situations import line_report, report, rewards, situation


def weights_given(decision, batch: torch.Tensor) -> torch.Tensor:
    """The weight of each prompt, for a batch in which each has a gradient."""
    return (decision.advantages_PG / passk_advantages(batch.double(), 1))[:, 0]


def test_with_its_weights_the_probe_prompts_do_not_oppose_pass1():
    conflicting = report(True)
    batch = rewards(conflicting.num_correct.tolist())
    decision = DifficultyWeights().decide(situation(batch, [conflicting]))
    weights = weights_given(decision, batch)
    wanted = gradient_weights(batch, 8) / two_gradients([conflicting], 8).mean_weight
    assert wanted @ conflicting.agreement < 0
    assert weights @ conflicting.agreement == pytest.approx(0, abs=1e-9)
    assert decision.figures["moved"] == pytest.approx(float((weights - wanted).norm() / wanted.norm()))
    assert len(set(weights.tolist())) == 2  # by difficulty alone; a prompt's own agreement does not matter


def test_several_probes_count_as_one_with_all_their_prompts():
    one, other = (line_report([1] * 4 + [14] * 12, [oppose] * 4 + [1.0] * 12) for oppose in (-1.2, -0.8))
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


def test_where_noise_hides_the_pass1_gradient_it_trains_passk():
    lost = line_report([1] * 10 + [14] * 10, [1.0, -1.0] * 10)
    assert lost.pass1_norm_squared < 0
    batch = rewards([1, 14])
    decision = DifficultyWeights().decide(situation(batch, [lost]))
    assert decision.figures["moved"] == 0
    expected = passk_advantages(batch, 8) / two_gradients([lost], 8).mean_weight
    torch.testing.assert_close(decision.advantages_PG, expected)


@pytest.mark.parametrize("reports", [[], [report(False)]], ids=["no probe", "no conflict"])
def test_without_conflict_or_probe_it_trains_for_passk_alone(reports):
    batch = rewards([1, 4, 8])
    decision = DifficultyWeights().decide(situation(batch, reports))
    assert decision.figures["moved"] == 0
    passk = passk_advantages(batch.double(), 8, "loo" if reports else "weighted_loo")
    ratio = (decision.advantages_PG / passk)[passk != 0]
    torch.testing.assert_close(ratio, ratio[0].expand(len(ratio)))


def test_a_stratified_probe_moves_the_weights_by_its_sampling_weights():
    counts, gradients = [1] * 4 + [14] * 12, [-1.2, -1.0, -0.9, -0.8] + [2.0] * 12
    stratified = line_report(counts, gradients, [3.0] * 4 + [1.0] * 12)
    batch = rewards(counts)
    weights = weights_given(DifficultyWeights().decide(situation(batch, [stratified])), batch)
    # Counted by their sampling weights, the probe prompts with these weights neither agree with pass@1 nor oppose it.
    contributions = stratified.sampling_weights * weights * stratified.agreement
    assert contributions[:4].sum() < -0.1
    assert contributions.sum() == pytest.approx(0, abs=1e-9)
    # The hard prompts lost weight. What is left is divided by the mean weight of the whole dataset.
    mean_weight = float(
        stratified.sampling_weights @ (8 * (1 - pass_at_k(torch.tensor(16), torch.tensor(counts), 7))) / 24
    )
    moved_by = weights * mean_weight - gradient_weights(batch, 8)
    shifts, _ = weight_shifts([stratified], 8, bins=8)
    torch.testing.assert_close(moved_by[:4], shifts[0].expand(4))


def test_rewards_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match="neither 0 nor 1; set success_threshold"):
        DifficultyWeights().decide(situation(0.5 * rewards([1, 8]), [report(True)]))


@pytest.mark.parametrize("arguments", [{"bins": 1}, {"probes": 0}])
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        DifficultyWeights(**arguments)
