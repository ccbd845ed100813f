"""Every verifier of answers judges any text, whatever a policy writes: it never raises, and takes linear time."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passk_trl.rewards import (
    accuracy_reward,
    exact_match_reward,
    first_line_reward,
    multiple_choice_reward,
    quantity_reward,
    short_answer_reward,
    token_f1_reward,
)
from passk_trl.rewards.code.program_text import program_of
from passk_trl.rewards.completions import last_boxed
from passk_trl.rewards.mathematical import _answer
from passk_trl.rewards.reasoning import readings


CHOICES = ["Rome", "Paris"]
GOLDS = {
    accuracy_reward: "12",
    exact_match_reward: "12",
    first_line_reward: "12",
    short_answer_reward: ["Paris", "A"],
    token_f1_reward: {"text": ["New York"]},
    multiple_choice_reward: "B",
    quantity_reward: "3.5 km",
}
# Pieces that the rules look for. A text of many of them is where a slow rule would show.
PIECES = [
    "1", "1 ", "1,", "1,234", "1/", "1 1/2 ", "1e", "1.5e3", "$", "-", "½", "5 km ", "5 m/", "5 m^2", "°", "%", "''",
    "A", "A ", "(", ") ", "B. ", "answer", "answer is ", "Answer: A", "*", "**", "_", " ", "\n", "\u00a0", "\\", "{",
    r"\boxed{", r"\text{", r"\frac{1}{", r"\times", "{,}", "or ", "=", "x", "the ", "\u0301", "\u0334\u0327", "北",
    "\x00", "\t", "(A)", "[", "A or ", "not ", ";", ":", "<answer>", "</answer>", "<think>", "</think>", "`", "```",
    "```\n", "\n```python\n", "}", "1/0 m ", "1e999 m ", " 5 cm",
]  # fmt: skip


def judge(verifier, completions):
    extra = {"choices": [CHOICES] * len(completions)} if verifier is multiple_choice_reward else {}
    return verifier(completions, [GOLDS[verifier]] * len(completions), **extra)


ALL = pytest.mark.parametrize("verifier", GOLDS, ids=lambda verifier: verifier.__name__)
# Others than `accuracy_reward`, which gives long texts to math_verify and its time limit.
OWN = pytest.mark.parametrize(
    "verifier", [each for each in GOLDS if each is not accuracy_reward], ids=lambda verifier: verifier.__name__
)


@ALL
@pytest.mark.parametrize("completion", ["", [], [{"role": "assistant", "content": None}], [{"role": "assistant"}]])
def test_a_completion_without_text_is_wrong(verifier, completion):
    assert judge(verifier, [completion]) == [0]


# A draft in the thinking of a policy, and its answer.
THOUGHT = {
    accuracy_reward: r"\boxed{13}?</think> It is 12.",
    exact_match_reward: r"\boxed{13}?</think>12",
    first_line_reward: "13?</think>12",
    short_answer_reward: "The answer is Rome?</think>Paris",
    token_f1_reward: "The answer is Rome?</think>New York",
    multiple_choice_reward: "The answer is A?</think>B",
    quantity_reward: "The answer is 5 km?</think>3500 m",
}


@ALL
def test_what_a_policy_thinks_is_not_judged(verifier):
    assert judge(verifier, ["<think>" + THOUGHT[verifier]]) == [1]
    draft, _, answer = THOUGHT[verifier].rpartition("</think>")
    assert judge(verifier, [f"<think>{answer}</think>{draft}"]) == [0]


@pytest.mark.parametrize(
    "verifier", [accuracy_reward, short_answer_reward, token_f1_reward, multiple_choice_reward, quantity_reward]
)
def test_an_answer_in_tags_is_judged_and_not_what_is_around_it(verifier):
    draft, _, answer = THOUGHT[verifier].rpartition("</think>")
    draft = draft.replace(r"\boxed{13}?", "It is 13?")
    assert judge(verifier, [f"{draft} <answer>{answer}</answer> I hope."]) == [1]
    assert judge(verifier, [f"{answer} <answer>{draft}</answer> I hope."]) == [0]


@OWN
@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_any_text_is_judged(verifier, text):
    (reward,) = judge(verifier, [text])
    assert 0 <= reward <= 1


SIZES = pytest.mark.parametrize("size", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])


def grows_linearly(work: Callable[[int], object], size: int) -> bool:
    """
    Whether four times the size takes about four times the processor time. If quadratic, it would be sixteen times.
    Less than 20 ms are too few to compare. A busy machine may spoil one comparison, so three are made.
    """

    def seconds(size: int) -> float:
        began = time.process_time()
        work(size)
        return time.process_time() - began

    def compares(size: int) -> bool:
        smaller, larger = seconds(size // 4), seconds(size)
        return larger < 8 * smaller or larger < 0.02

    return any(compares(size + 256 * attempt) for attempt in range(3))  # other texts: a cache must not answer


def test_a_quadratic_rule_would_be_seen():
    assert grows_linearly(lambda size: re.search("A+$", "A" * size), 20_000)
    assert not grows_linearly(lambda size: re.search("A+$", "A" * size + "B"), 20_000)


@OWN
@SIZES
@pytest.mark.parametrize("before", ["", "The answer is ", r"\boxed{"])
def test_a_long_text_takes_linear_time(verifier, before, size):
    for piece in PIECES:

        def work(size: int, piece: str = piece) -> None:
            judge(verifier, [before + piece * (size // len(piece)) + end for end in "!}"])

        assert grows_linearly(work, size), piece


READERS = {
    "box": last_boxed,
    "mathematical": _answer,
    "reasoning": lambda text: readings(text, "a b"),
    "program": program_of,
    "program in a fence": lambda text: program_of("```" + text),
}


@SIZES
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("before", ["", r"\boxed{"])
def test_an_answer_is_found_in_linear_time(reader, before, size):
    for piece in PIECES:

        def work(size: int, piece: str = piece) -> None:
            pieces = size // len(piece)
            for end in ("!", "}" * pieces):
                READERS[reader](before + piece * pieces + end)

        assert grows_linearly(work, size), piece
