import pytest
import torch

from passk_trl.control import GuardedMix, Mix
from situations import report, rewards, situation


EASY, HARD = rewards([12] * 4), rewards([4] * 4)


def test_while_pass1_does_not_move_it_is_mix():
    guarded = GuardedMix(horizon=2)
    for batch in (HARD, HARD, HARD):
        now = situation(batch, [report(True)])
        torch.testing.assert_close(guarded.decide(now).advantages_PG, Mix().decide(now).advantages_PG)


def test_pass1_above_the_floor_lowers_the_share():
    guarded = GuardedMix(horizon=2, gain=0.4)
    probed = [report(True)]
    measured = Mix().decide(situation(HARD, probed)).figures["share"]
    better = rewards([5] * 4)
    batches = (HARD, HARD, better, better, better)
    shares = [guarded.decide(situation(batch, probed)).figures["share"] for batch in batches]
    # The running mean over two batches was 0.5/16 and 0.75/16 above the floor. It acts from the next batch on.
    assert shares == pytest.approx([measured] * 3 + [measured - 0.4 * 0.5 / 16, measured - 0.4 * 0.75 / 16])


def test_with_pass1_far_above_the_floor_it_trains_passk_alone():
    guarded = GuardedMix(horizon=2)
    batches = (HARD, HARD, EASY, EASY, EASY)
    shares = [guarded.decide(situation(batch, [report(True)])).figures["share"] for batch in batches]
    assert shares[0] > 0
    assert shares[-1] == 0


def test_the_integral_does_not_grow_while_the_share_is_1():
    guarded, probed = GuardedMix(), [report(True)]
    for batch, times in ((rewards([8] * 4), 20), (rewards([2] * 4), 140)):
        for _ in range(times):
            share = guarded.decide(situation(batch, probed)).figures["share"]
    assert share == 1
    after = [guarded.decide(situation(rewards([10] * 4), probed)).figures["share"] for _ in range(40)]
    assert after[-1] < 1  # with the whole sum of shortfalls it would still be 1 after a hundred batches


def test_where_pass1_falls_below_the_floor_it_mixes_more():
    guarded = GuardedMix(horizon=2, gain=0.1, rate=0.02)
    probed = [report(True)]
    measured = Mix().decide(situation(EASY, probed)).figures["share"]
    batches = (EASY, EASY, HARD, HARD, HARD, HARD)
    shares = [guarded.decide(situation(batch, probed)).figures["share"] for batch in batches]
    assert shares[:3] == [measured] * 3
    assert measured < shares[3] < shares[4] < shares[5] < 1
    # The running mean over two batches was 4/16, 6/16 and 7/16 below the floor.
    assert shares[5] - measured == pytest.approx(0.1 * 7 / 16 + 0.02 * (4 + 6 + 7) / 16)


def test_it_returns_to_mix_once_pass1_has_risen():
    guarded = GuardedMix(horizon=2, rate=0.02)
    batches = (EASY, EASY, HARD, EASY, EASY, EASY, EASY)
    shares = [guarded.decide(situation(batch)).figures["share"] for batch in batches]
    assert max(shares) == shares[3] > 0
    assert shares == [*shares[:4], *sorted(shares[4:], reverse=True)]
    better = [guarded.decide(situation(rewards([15] * 4))).figures["share"] for _ in range(8)]
    assert better[-1] == 0


def test_without_a_probe_it_is_guard():
    guarded = GuardedMix(floor=0.5, horizon=1)
    shares = [guarded.decide(situation(HARD)).figures["share"] for _ in range(2)]
    assert shares == pytest.approx([0, (3.0 + 0.05) * 0.25])


def test_it_is_blind_where_one_of_its_two_measures_is_missing():
    guarded, probed = GuardedMix(horizon=1), [report(True)]
    reasons = [guarded.decide(situation(HARD, reports)).blind for reports in ([], probed, [])]
    assert "no report yet" in reasons[0]
    assert reasons[1] is None
    assert "no report yet" in reasons[2]
    assert "not known before 2 batches" in GuardedMix(horizon=2).decide(situation(HARD, probed)).blind


def test_another_one_with_the_remembered_attributes_decides_the_same():
    first, second = GuardedMix(horizon=2), GuardedMix(horizon=2)
    for batch in (EASY, EASY, HARD):
        first.decide(situation(batch))
    for name in first.remembered:
        setattr(second, name, getattr(first, name))
    assert first.decide(situation(HARD)).figures == second.decide(situation(HARD)).figures


def test_no_probes_to_average_are_refused():
    with pytest.raises(ValueError, match="probes=0 is not a number of probes"):
        GuardedMix(probes=0)
