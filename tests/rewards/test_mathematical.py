"""Mathematical equality: what is read as an answer, and what counts as equal."""

import time

import pytest
import trl.rewards

from completions import message
from passk_trl.rewards import accuracy_reward, mathematical


@pytest.mark.parametrize(
    ("completion", "gold", "reward"),
    [
        (r"so \boxed{12}", "12", 1.0),
        (r"so \boxed{12}", r"Half of it is $6$, hence \boxed{12}.", 1.0),
        (r"so \boxed{\frac{2}{4}}", r"\frac12", 1.0),
        (r"so \boxed{0.5}", "1/2", 1.0),
        (r"so \boxed{(x+1)^2}", "x^2+2x+1", 1.0),
        (r"so \boxed{4, 3}", "3,4", 1.0),
        (r"so \boxed{\{1,2\}}", r"\{2, 1\}", 1.0),
        (r"so \boxed{\left\{1,2\right.\}}", "12", 0.0),
        (r"so \boxed{B}", "B", 1.0),
        (r"so \boxed{C}", "B", 0.0),
        ("12", "12", 1.0),
        (r"\frac{1}{2}", "0.5", 1.0),
        ("The answer is 12.", "12", 1.0),
        ("The answer is $12$.", "12", 1.0),
        ("18 - 6 = 12\n#### 12", "6 and 6\n#### 12", 1.0),
        ("The answer is 13.", "12", 0.0),
        ("I do not know.", "12", 0.0),
        ("", "12", 0.0),
        (r"first \boxed{12}, then \boxed{13}", "12", 0.0),
        (r"first \boxed{13}, then \boxed{12}", "12", 1.0),
        (r"The answer is 12: \boxed{1", "12", 0.0),
        (r"The answer is \boxed{12}. No: \boxed{1", "12", 1.0),
        (r"The answer is 12: \boxed{13}", "12", 0.0),
        (r"so \boxed{}", "12", 0.0),
        (r"so \boxed{12}", "no formula here", None),
        (r"so \boxed{12}", "", None),
        ("no formula here", "no formula here", None),
    ],
)
def test_accuracy(completion, gold, reward):
    assert accuracy_reward([completion], [gold]) == [reward]
    assert accuracy_reward([message(completion)], [gold]) == [reward]


def test_accuracy_judges_the_last_message_and_ignores_other_columns():
    conversation = [*message(r"\boxed{12}"), {"role": "tool", "content": "13"}, *message(r"\boxed{13}")]
    assert accuracy_reward(completions=[conversation], solution=[13], prompts=["?"], log_extra=print) == [1.0]


def test_accuracy_agrees_with_trl_where_trl_can_judge():
    golds = ["12", r"\frac{1}{3}", "$x^2+2x+1$", r"\boxed{(1, 2]}", "-5", "no formula here"]
    answers = ["12", r"\frac{2}{6}", "(x+1)^2", "(1, 2]", "5", "7"]
    completions = [message(rf"First $1$, so \boxed{{{answer}}}") for answer in answers]
    expected = trl.rewards.accuracy_reward(completions, golds)
    assert accuracy_reward(completions, golds) == expected == [1.0, 1.0, 1.0, 1.0, 0.0, None]


def test_a_seen_answer_is_not_compared_again():
    mathematical._accuracy.cache_clear()
    texts = [f"By way {i}, the answer is \\boxed{{ {i % 4} }}" for i in range(256)]
    assert sum(accuracy_reward(texts, ["3"] * 256)) == 64
    assert mathematical._accuracy.cache_info().misses == 4


def test_unfinished_boxes_repeated_without_end_are_read_in_one_pass():
    text = r"\boxed{" * 50_000
    start = time.monotonic()
    assert accuracy_reward([text], ["12"]) == [0.0]
    assert time.monotonic() - start < 5
