import pytest
import torch

from passk_trl.control.experiments.prompt_weights import nearest_weights
from passk_trl.control.experiments.shifts_by_difficulty import weight_shifts
from situations import NUM_ROLLOUTS, line_report


def test_shifted_weights_are_the_nearest_under_the_mean_agreement_of_each_bin():
    counts = [1] * 6 + [2] * 6 + [13] * 12
    found = line_report(counts, [-1.0, 0.6] * 3 + [-0.5] * 6 + [0.3] * 12)
    shifts, _ = weight_shifts([found], 8, bins=8)
    pooled = torch.cat(
        [found.agreement[first:last].mean().expand(last - first) for first, last in ((0, 6), (6, 12), (12, 24))]
    )
    expected = nearest_weights(found.weights[-1], pooled)
    bins = (torch.tensor(counts) / NUM_ROLLOUTS * 8).long()
    torch.testing.assert_close((found.weights[-1] + shifts[bins]).clamp(min=0), expected)
    assert not torch.equal(expected, found.weights[-1])


def test_a_bin_without_probe_prompts_shifts_like_the_nearest():
    found = line_report([4] * 8 + [12] * 12, [-1.0] * 8 + [1.0] * 12)
    shifts, _ = weight_shifts([found], 8, bins=8)
    assert shifts[2] < 0 < shifts[6]
    assert shifts.tolist() == [float(shifts[2])] * 5 + [float(shifts[6])] * 3


def test_pooled_agreement_uses_the_sampling_weights():
    found = line_report([1] * 4 + [14] * 12, [-1.2, -0.4, -0.4, -0.4] + [1.0] * 12, [3.0] + [1.0] * 15)
    shifts, _ = weight_shifts([found], 8, bins=8)
    hard, easy = found.agreement[:4], found.agreement[4]
    mean = float(torch.tensor([3.0, 1.0, 1.0, 1.0]).double() @ hard / 6)
    assert mean != pytest.approx(float(hard.mean()), rel=0.01)
    assert float(shifts[0] / shifts[7]) == pytest.approx(mean / float(easy))


def test_a_prompt_of_sampling_weight_two_counts_twice():
    twice = line_report([1] * 8 + [14] * 12, [-1.0] * 8 + [1.0] * 12)
    drawn_less = line_report([1] * 4 + [14] * 12, [-1.0] * 4 + [1.0] * 12, [2.0] * 4 + [1.0] * 12)
    # The agreement of a prompt leaves itself out, so both need as many prompts to be equal.
    twice.agreement.copy_(torch.cat([drawn_less.agreement[:4].repeat(2), drawn_less.agreement[4:]]))
    torch.testing.assert_close(weight_shifts([twice], 8, 8), weight_shifts([drawn_less], 8, 8))


def test_prompts_without_a_gradient_do_not_dilute_the_agreement():
    found = line_report([1] * 8 + [14] * 12, [-1.0] * 8 + [1.0] * 12)
    with_more = line_report([0] * 8 + [1] * 8 + [14] * 12, [0.0] * 8 + [-1.0] * 8 + [1.0] * 12)
    shifts, moved = weight_shifts([found], 8, 8)
    assert moved > 0
    with_more.agreement.copy_(torch.cat([torch.zeros(8), found.agreement]))  # otherwise a mean over more prompts
    torch.testing.assert_close(weight_shifts([with_more], 8, 8), (shifts, moved))
