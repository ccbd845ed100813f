"""Mathematical equality: what is read as an answer, and what counts as equal."""

import csv
import time
from pathlib import Path

import pytest
import trl.rewards

from completions import message
from passk_trl.rewards import accuracy_reward, mathematical


with (Path(__file__).parents[2] / "benchmarks/verifier/pairs.tsv").open(encoding="utf-8", newline="") as file:
    PAIRS = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


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
        ("It is 5/2", "2.5", 1.0),
        ("It is 2 1/2.", "2.5", 1.0),
        ("The answer is 1.5e3.", "1500", 1.0),
        ("The answer is **12**.", "12", 1.0),
        ("So it costs $1,200.", "1200", 1.0),
        ("It is 25°", "25", 1.0),
        ("the answer is −5", "-5", 1.0),
        ("First 3, then 4", "3", 0.0),
        ("I do not know.", "12", 0.0),
        ("", "12", 0.0),
        (r"first \boxed{12}, then \boxed{13}", "12", 0.0),
        (r"first \boxed{13}, then \boxed{12}", "12", 1.0),
        (r"The answer is 12: \boxed{1", "12", 0.0),
        (r"The answer is \boxed{12}. No: \boxed{1", "12", 1.0),
        (r"The answer is 12: \boxed{13}", "12", 0.0),
        (r"so \boxed{}", "12", 0.0),
        (r"so \boxed{12}", "no formula here", 0.0),
        ("no formula here", "no formula here", 1.0),
        (r"so \boxed{12}", "a gold answer that is a whole sentence of words", None),
        (r"so \boxed{12}", "", None),
        (r"so \boxed{12}", None, None),
    ],
)
def test_accuracy(completion, gold, reward):
    assert accuracy_reward([completion], [gold]) == [reward]
    assert accuracy_reward([message(completion)], [gold]) == [reward]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['completion']} for {pair['gold']}")
def test_a_hard_pair(pair):
    """`ours` is the verdict on a pair that is judged otherwise than a person would: mended ones must be noted too."""
    [reward] = accuracy_reward([pair["completion"]], [pair["gold"]])
    verdict = pair["ours"] or pair["right"]
    assert reward == (None if verdict == "None" else float(verdict)), pair["about"]


def test_the_table_has_many_pairs_of_both_verdicts():
    assert len({(pair["completion"], pair["gold"]) for pair in PAIRS}) == len(PAIRS) >= 150
    assert min(sum(pair["right"] == right for pair in PAIRS) for right in "01") >= 75


def test_accuracy_judges_the_policys_last_message_and_ignores_other_columns():
    tool = {"role": "tool", "content": "13"}
    calls = {"role": "assistant", "tool_calls": [{"type": "function"}]}
    conversations = [
        [*message(r"\boxed{12}"), tool, *message(r"\boxed{13}")],
        [*message(r"\boxed{13}"), {"role": "tool", "content": "12"}],
        [calls, tool],
        [tool],
    ]
    golds = [13] * len(conversations)
    assert accuracy_reward(conversations, golds, prompts=["?"] * 4, log_extra=print) == [1.0, 1.0, 0.0, 0.0]


def test_accuracy_agrees_with_trl_where_trl_can_judge():
    golds = ["12", r"\frac{1}{3}", "$x^2+2x+1$", r"\boxed{(1, 2]}", "-5", ""]
    answers = ["12", r"\frac{2}{6}", "(x+1)^2", "(1, 2]", "5", "7"]
    completions = [message(rf"First $1$, so \boxed{{{answer}}}") for answer in answers]
    expected = trl.rewards.accuracy_reward(completions, golds)
    assert accuracy_reward(completions, golds) == expected == [1.0, 1.0, 1.0, 1.0, 0.0, None]


def test_a_seen_answer_is_not_compared_again():
    mathematical._equality.cache_clear()
    texts = [f"By way {i}, the answer is \\boxed{{ {i % 4} }}" for i in range(256)]
    assert sum(accuracy_reward(texts, ["3"] * 256)) == 64
    assert mathematical._equality.cache_info().misses == 4


@pytest.mark.parametrize("text", ["12 " * 30_000, r"\boxed{" + "{" * 3000 + "12" + "}" * 3001, "x=" * 5000 + "12"])
def test_a_formula_without_end_is_wrong_at_once(text):
    start = time.process_time()
    assert accuracy_reward([text], ["12"]) == [0.0]
    assert time.process_time() - start < 1


def test_unfinished_boxes_repeated_without_end_are_read_in_one_pass():
    text = r"\boxed{" * 50_000
    start = time.monotonic()
    assert accuracy_reward([text], ["12"]) == [0.0]
    assert time.monotonic() - start < 5
