import math

import pytest
import torch

from passk_trl.control import Guard
from situations import rewards, situation


def shares(guard: Guard, num_correct: int, batches: int) -> list[float]:
    return [guard.decide(situation(rewards([num_correct] * 4))).figures["share"] for _ in range(batches)]


def test_a_falling_pass1_raises_its_share_and_a_rising_one_lowers_it():
    guard = Guard(horizon=4)
    steady = shares(guard, 8, 8)
    assert steady == [0.3] * 8  # pass@1 is where it started
    falling = shares(guard, 4, 7)[1:]
    assert falling == sorted(falling)
    assert falling[-1] > falling[0] > 0.3
    rising = shares(guard, 16, 20)
    assert rising[-1] < max(rising)
    assert all(0 <= share <= 1 for share in falling + rising)


def test_a_batch_that_could_not_be_scored_changes_nothing():
    guard = Guard(horizon=1)
    shares(guard, 8, 2)
    before = guard.state()
    assert guard.decide(situation(torch.full((4, 16), torch.nan))).advantages_PG.eq(0).all()
    assert guard.state() == before


def test_a_given_floor_is_held():
    assert shares(Guard(floor=0.9, horizon=1), 8, 2)[1] > 0.3
    assert shares(Guard(floor=0.1, horizon=1), 8, 2)[1] < 0.3


def test_a_batch_does_not_decide_its_own_share():
    """Or its expected gradient would not be the mixture with that share."""
    after = [shares(seasoned(), num_correct, 2) for num_correct in (0, 8, 16)]
    first, second = zip(*after, strict=True)
    assert len(set(first)) == 1
    assert list(second) == sorted(second, reverse=True)
    assert len(set(second)) == 3


def seasoned() -> Guard:
    guard = Guard(horizon=1)
    shares(guard, 8, 3)
    return guard


def test_it_is_blind_until_it_knows_pass1_and_where_nothing_could_be_scored():
    guard, unscored = Guard(horizon=2), torch.full((4, 16), torch.nan)
    batches = [unscored, *[rewards([8] * 4)] * 3, unscored, rewards([8] * 4)]
    decisions = [guard.decide(situation(batch)) for batch in batches]
    assert [each.logged["blind"] for each in decisions] == [1, 1, 1, 0, 1, 0]
    assert "not known before 2 batches" in decisions[1].blind
    assert "could be scored" in decisions[4].blind
    assert [each.figures.get("pass@1") for each in decisions] == [None, *[0.5] * 5]
    assert [each.figures["share"] for each in decisions] == [0.3] * 6


def test_the_learned_floor_is_the_first_batches_pass1_plus_standard_errors():
    unequal = rewards([0, 16, 0, 16])
    guard = Guard(horizon=4, margin=2.0)
    for _ in range(4):
        guard.decide(situation(unequal))
    assert guard.learned_floor == pytest.approx(0.5 + 2 * 0.5 / 16**0.5)
    assert guard.shortfall == pytest.approx(0.25)
    learned = guard.learned_floor
    guard.decide(situation(unequal))
    assert guard.learned_floor == learned


def test_another_guard_with_the_remembered_attributes_decides_the_same():
    first = Guard(horizon=3)
    shares(first, 8, 5)
    second = Guard(horizon=3)
    for name in first.remembered:
        setattr(second, name, getattr(first, name))
    assert shares(first, 6, 5) == shares(second, 6, 5)


def test_checkpoints_have_the_keys_of_earlier_versions():
    guard = Guard(horizon=1)
    shares(guard, 8, 1)
    expected = {"integral": 0.3, "running": 0.5, "batches": 1, "held": 0.5, "prompts": 4, "squares": 1.0}
    added = {"mean_weight": guard.mean_weight, "batches_weighed": 2}
    assert guard.state()["attributes"] == expected | added


@pytest.mark.parametrize(
    "arguments",
    [{"horizon": 0}, {"start": 1.5}, {"gain": -1.0}, {"rate": math.nan}, {"floor": 60}, {"floor": math.nan}],
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Guard(**arguments)
