"""The onset of conflict: the first zero of the curve, and its interval."""

import math

import pytest
import torch

from bandit_world import WORLD
from passk_trl.interference import measure_interference
from passk_trl.interference.onset import first_negative, grid_with, interval_of_onset
from probes import ROLLOUTS, every_probe, random_probe


GRID, _ = grid_with(torch.tensor([64.0]).double())


def test_onset_is_the_first_crossing_of_a_curve_that_returns():
    """Prompts of medium difficulty disagree, the hardest agree: I_k turns negative and then positive again, and only
    the k in between are in conflict. There are enough prompts for small error bars."""
    directions, counts = torch.tensor([1.0, -1.6, 1.0]).double(), torch.tensor([27, 6, 1])
    repeats = torch.tensor([600, 200, 60])
    gradients, num_correct = directions.repeat_interleave(repeats)[:, None], counts.repeat_interleave(repeats)
    report = measure_interference(gradients @ gradients.T, num_correct, 32)
    negative = report.inner_product < 0
    assert report.inner_product[0] > 0
    assert report.inner_product[-1] > 0
    assert negative.any()
    first = report.ks[negative][0].item()
    assert first - 1 <= report.onset <= first
    assert report.conflict_ks
    assert set(report.conflict_ks) <= set(report.ks[negative].tolist())
    at_onset = measure_interference(gradients @ gradients.T, num_correct, 32, [report.onset])
    assert abs(at_onset.inner_product.item()) < 1e-6 * report.inner_product[0].item()
    assert at_onset.in_conflict(report.onset) is False


def test_a_pass1_gradient_lost_in_the_noise_has_no_onset():
    gram = 2 * torch.eye(4) - 0.5 * torch.ones(4, 4)
    report = measure_interference(gram, [1, 2, 3, 2], 4)
    assert report.pass1_norm_squared < 0
    assert report.pass1_is_lost
    assert report.onset is None
    assert report.onset_interval[0] == 1.0
    assert report.cosine.isnan().all()


def test_no_probe_of_noise_alone_has_its_onset_at_one():
    """Half of them measure a negative ‖∇J_1‖². Their first k is in conflict in none, not even k = 1 by itself."""
    generator = torch.Generator().manual_seed(0)
    lost = 0
    for _ in range(200):
        gradients = torch.randn(16, 400, generator=generator, dtype=torch.float64)
        report = measure_interference(gradients @ gradients.T, torch.randint(1, 8, (16,), generator=generator), 8)
        lost += report.pass1_is_lost
        assert report.onset is None or report.onset > 1
        assert not report.conflict[0]
        assert 1.0 not in report.conflict_ks
    assert 60 < lost < 140


def test_the_interval_of_the_onset_is_where_the_ends_turn_negative():
    def interval(values, onset=None, margin=1.0):
        ks, curve = torch.arange(1.0, len(values) + 1), torch.tensor(values)
        return interval_of_onset(ks, curve - margin, curve + margin, onset)

    assert interval([4.0, 2.0, 0.0, -2.0, -4.0], onset=3.0) == (pytest.approx(2.5), pytest.approx(3.5))
    assert interval([4.0, 2.0, 0.5]) == (pytest.approx(2 + 1 / 1.5), None)
    assert interval([4.0, 3.0, 2.0]) == (None, None)
    assert interval([0.5, 0.1]) == (1.0, None)


def test_where_no_prompt_has_weight_nothing_is_excluded():
    """c = 8 and 14 of 16: at k ≥ 9 no prompt with a gradient counts."""
    assert measure_interference(torch.zeros(8, 8), [8] * 8, 8).onset_interval == (1.0, None)
    gram = torch.ones(64, 64) + 0.1 * torch.eye(64)
    low, high = measure_interference(gram, [8] * 32 + [14] * 32, 16).onset_interval
    assert 8 < low <= 9
    assert high is None


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ks", [[1, 15], [1, 2, 4, 8], [2, 11]])
def test_the_interval_holds_its_onset_however_few_k_are_measured(seed, ks):
    gram, num_correct = WORLD.probe(24, 16, torch.Generator().manual_seed(seed))
    report = measure_interference(gram, num_correct, 16, ks)
    low, high = report.onset_interval
    if report.onset is not None:
        assert low <= report.onset
        assert high is None or report.onset <= high


def test_a_dip_at_one_measured_k_is_the_onset():
    """The points that are spread evenly in log k all miss it."""
    grid, at = grid_with(torch.tensor([1.0, 33.0, 64.0]).double())
    assert grid[at].tolist() == [1, 33, 64]
    assert (grid - 33).abs().sort().values[1] > 0.1  # the other points miss the dip

    def curve(k):
        return (k - 33).abs() - 0.1

    assert first_negative(curve, grid) == pytest.approx(32.9)


@pytest.mark.parametrize("zero", [1.0 + 1e-6, 1.5, 3.0, 7.123456789, 63.999])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_zero_is_found_to_ten_digits(zero, scale):
    found = first_negative(lambda k: scale * (math.log(zero) - k.log()), GRID)
    assert found == pytest.approx(zero, rel=1e-10)


def test_a_curve_that_is_nowhere_negative_has_no_onset():
    assert first_negative(lambda k: 1 / k, GRID) is None
    assert first_negative(torch.zeros_like, GRID) is None
    assert first_negative(lambda k: (4 - k).clamp(min=0), GRID) is None


def test_a_curve_that_is_negative_at_one_is_lost_in_the_noise():
    assert first_negative(lambda k: -k, GRID) is None
    assert first_negative(lambda k: -k, GRID[:1]) is None
    assert first_negative(lambda k: (k - 2) * (5 - k), GRID) is None


def test_a_curve_that_jumps_below_zero_has_its_onset_at_the_jump():
    assert first_negative(lambda k: torch.where(k < 5.25, 3.0, -1e-3), GRID) == pytest.approx(5.25, rel=1e-10)
    just_above_one = first_negative(lambda k: torch.where(k == 1, 1.0, -1.0), GRID)
    assert just_above_one == pytest.approx(1, rel=1e-10)
    assert just_above_one > 1


def test_a_curve_may_stay_at_zero_before_its_onset():
    assert first_negative(lambda k: (4 - k).clamp(min=0) - (k - 9).clamp(min=0), GRID) == pytest.approx(9, rel=1e-10)


@pytest.mark.parametrize(("end", "expected"), [(0, 1.0), (1, 64 ** (1 / 256))])
def test_a_sign_that_depends_on_rounding_does_not_end_the_search(end, expected):
    """At the point before the crossing or after it, the curve is 0 but for rounding, which differs for one k alone."""
    sign = -1 if end == 0 else 1

    def curve(ks):
        values = torch.where(ks > 1, -1.0, 1.0)
        values[(ks / 64 ** (end / 256) - 1).abs() < 1e-9] = 1e-17 * (sign if len(ks) == 1 else -sign)
        return values

    assert first_negative(curve, GRID) == pytest.approx(expected, rel=1e-9)


def test_a_gram_matrix_whose_entries_cancel_is_measured():
    """Its pass@1 norm is 0 but for rounding, and with it the curve at k = 1."""
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        gram = torch.randint(-2, 3, (12, 12), generator=generator).double()
        gram = (gram + gram.T).fill_diagonal_(0)
        gram[0, 1] = gram[1, 0] = gram[0, 1] - gram.sum() / 2
        counts = torch.randint(0, 17, (12,), generator=generator)
        for estimator in ("unbiased", "plugin"):
            report = measure_interference(0.1 * gram, counts, 16, estimator=estimator)
            assert report.onset is None or 1 < report.onset <= 15


@every_probe
def test_the_curve_changes_its_sign_at_the_onset_of_every_probe(gram, counts, estimator):
    check_onset(gram, counts, ROLLOUTS, estimator)


@pytest.mark.parametrize("seed", range(20))
def test_the_curve_changes_its_sign_at_the_onset_of_a_random_probe(seed):
    gram, counts, n, _ = random_probe(seed, num_prompts=9, n=12)
    check_onset(gram, counts, n, "unbiased")


def check_onset(gram, counts, num_rollouts, estimator):
    def curve(*ks):
        return measure_interference(gram, counts, num_rollouts, list(ks), estimator=estimator).inner_product

    onset = measure_interference(gram, counts, num_rollouts, estimator=estimator).onset
    if onset is not None:
        before, after = curve(max(onset * (1 - 1e-9), 1), min(onset * (1 + 1e-9), num_rollouts - 1))
        assert before >= 0 > after
