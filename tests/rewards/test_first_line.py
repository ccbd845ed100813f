"""The first line, letter for letter: where it is, and what ends it."""

import pytest

from completions import message
from passk_trl.rewards import first_line_reward


# A completion, the gold answer, the reward.
VERDICTS = [
    ("11", "11", 1),
    (" 11\n4 + 3 = 7", "11", 1),
    ("11\r\n4 + 3 = 7", "11", 1),
    ("\n\n 11 \n12", "11", 1),
    ("11", " 11\n", 1),
    ("11", 11, 1),
    ("12\n11", "11", 0),
    ("11 apples", "11", 0),
    ("11.", "11", 0),
    ("1 1", "11", 0),
    ("Eleven", "eleven", 0),
    ("**11**", "11", 0),
    (r"\boxed{11}", "11", 0),
    ("the sum is easy\n</think>\n11\n", "11", 1),
    ("", "11", 0),
    ("\n", "11", 0),
    ("", "", 1),
    ("None", None, None),
    ("", None, None),
]


@pytest.mark.parametrize(("completion", "gold", "reward"), VERDICTS)
def test_first_line(completion, gold, reward):
    assert first_line_reward([completion], [gold]) == [reward]
    assert first_line_reward([message(completion)], [gold]) == [reward]
