import pytest

from completions import message
from passk_trl.rewards import exact_match_reward


@pytest.mark.parametrize(
    ("completion", "gold", "reward"),
    [
        (r"so \boxed{ a  b }", "a b", 1.0),
        (r"so \boxed{a b}", r"hence \boxed{a b}.", 1.0),
        (" a\n b ", "a b", 1.0),
        (r"so \boxed{\text{a}}", r"\text{a}", 1.0),
        (r"so \boxed{0.50}", "0.5", 0.0),
        (r"so \boxed{ab}", "a b", 0.0),
        ("so a", "a", 0.0),
        (r"\boxed{a} or \boxed{b}", "a", 0.0),
    ],
)
def test_exact_match(completion, gold, reward):
    assert exact_match_reward([completion], [gold]) == [reward]
    assert exact_match_reward([message(completion)], [gold]) == [reward]
