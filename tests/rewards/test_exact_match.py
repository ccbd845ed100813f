"""Exact match, letter for letter: only white space does not count, and only a box sets an answer apart."""

import pytest

from completions import message
from passk_trl.rewards import exact_match_reward


# A completion, the gold answer, the reward.
VERDICTS = [
    # The last complete box is the answer, of the gold answer too.
    (r"so \boxed{ab}", "ab", 1),
    (r"so \boxed{ab}, of course", "ab", 1),
    (r"so \boxed{ab}", r"hence \boxed{ab}.", 1),
    ("ab", r"hence \boxed{ab}.", 1),
    (r"\boxed {ab}", "ab", 1),
    (r"\boxed{a} or \boxed{b}", "a", 0),
    (r"\boxed{a} or \boxed{b}", "b", 1),
    (r"\boxed{a} and \boxed{b", "a", 1),
    (r"\boxed{a \boxed{b}}", r"a \boxed{b}", 0),  # the gold answer's own box counts
    (r"\boxed{b \boxed{a}}", r"\boxed{b \boxed{a}}", 1),
    (r"\boxed{a}, so b", "b", 0),
    (r"\boxed{ab", "ab", 0),
    (r"\boxed{ab", r"\boxed{ab", 1),  # no complete box: the whole texts are compared
    (r"\boxed{}", "ab", 0),
    (r"\boxed{}", "", 1),
    (r"\boxed{\text{a}}", r"\text{a}", 1),
    (r"\boxed{\text{a}}", "a", 0),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", 1),
    (r"\boxed{\frac{1}{2}}", r"\frac12", 0),
    (r"\boxed{\{1\}}", r"\{1\}", 1),
    (r"\boxed{$a$}", "a", 0),
    (r"\fbox{a}", "a", 0),
    (r"\boxed[a]", "a", 0),
    # Without a box, the whole text is.
    ("so ab", "ab", 0),
    ("ab", "so ab", 0),
    ("The answer is ab", "ab", 0),
    ("Answer: ab", "ab", 0),
    ("ab.", "ab", 0),
    ("'ab'", "ab", 0),
    ("**ab**", "ab", 0),
    ("", "ab", 0),
    ("ab", "", 0),
    ("", "", 1),
    # White space.
    (" a\n b ", "a b", 1),
    ("a b", " a \t b", 1),
    ("a\u00a0b", "a b", 1),
    ("a\u3000b", "a b", 1),
    ("ab", "a b", 0),
    ("a b", "ab", 0),
    (r"\boxed{ a  b }", "a b", 1),
    ("\n\n", "", 1),
    ("a\u200bb", "a b", 0),  # of no width: no white space
    ("a\u200bb", "ab", 0),
    (r"a\ b", "a b", 0),
    # Every letter counts.
    ("AB", "ab", 0),
    ("ab", "ba", 0),
    ("the ab", "ab", 0),
    ("a,b", "a, b", 0),
    ("café", "cafe", 0),
    ("cafe\u0301", "café", 0),
    ("ａｂ", "ab", 0),
    ("а", "a", 0),  # a Cyrillic letter
    ("−5", "-5", 0),
    ("“ab”", '"ab"', 0),
    # Numbers are letters too.
    ("12", "12", 1),
    ("12", 12, 1),
    ("12.0", 12.0, 1),
    ("12", 12.0, 0),
    ("0.50", "0.5", 0),
    ("1,200", "1200", 0),
    ("1/2", "0.5", 0),
    ("+5", "5", 0),
    ("012", "12", 0),
    ("x=5", "5", 0),
    ("5 km", "5km", 0),
    ("50%", r"50\%", 0),
    ("None", None, None),
    ("", None, None),
]


@pytest.mark.parametrize(("completion", "gold", "reward"), VERDICTS)
def test_exact_match(completion, gold, reward):
    assert exact_match_reward([completion], [gold]) == [reward]
    assert exact_match_reward([message(completion)], [gold]) == [reward]
