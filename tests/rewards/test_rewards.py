import os
import sys
import threading
import time

import pytest
import trl.rewards

from passk_trl import rewards
from passk_trl.rewards import accuracy_reward, exact_match_reward, load_reward, load_rewards


ENDLESS = r"\boxed{9^{9^9}}"  # sympy would count its digits for hours


def in_thread(function, *args):
    """Run a function in a background thread and return what it returned."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join(timeout=60)
    assert results, "the background thread failed or hangs"
    return results[0]


def said(text):
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def no_memory():
    """Forget the remembered results, so that the work is done where the test asks for it."""
    rewards._accuracy.cache_clear()
    rewards._parse.cache_clear()


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
    assert accuracy_reward([said(completion)], [gold]) == [reward]


def test_accuracy_judges_the_last_message_and_takes_every_column():
    conversation = [*said(r"\boxed{12}"), {"role": "tool", "content": "13"}, *said(r"\boxed{13}")]
    assert accuracy_reward(completions=[conversation], solution=[13], prompts=["?"], log_extra=print) == [1.0]


def test_accuracy_agrees_with_trl_where_trl_can_judge():
    golds = ["12", r"\frac{1}{3}", "$x^2+2x+1$", r"\boxed{(1, 2]}", "-5", "no formula here"]
    answers = ["12", r"\frac{2}{6}", "(x+1)^2", "(1, 2]", "5", "7"]
    completions = [said(rf"First $1$, so \boxed{{{answer}}}") for answer in answers]
    expected = trl.rewards.accuracy_reward(completions, golds)
    assert accuracy_reward(completions, golds) == expected == [1.0, 1.0, 1.0, 1.0, 0.0, None]


def test_accuracy_in_a_background_thread_is_that_of_the_main_thread(no_memory):
    completions = [r"\boxed{12}", r"\boxed{\frac{2}{4}}", "The answer is 3.", r"\boxed{12}"]
    golds = ["12", "0.5", "4", "no formula here"]
    threaded = in_thread(accuracy_reward, completions, golds)
    assert rewards._child.poll() is None
    rewards._accuracy.cache_clear()
    assert threaded == accuracy_reward(completions, golds) == [1.0, 1.0, 0.0, None]


@pytest.mark.parametrize("run", [lambda f, *args: f(*args), in_thread], ids=["main thread", "background thread"])
def test_an_endless_expression_is_wrong_after_seconds(run, no_memory):
    start = time.monotonic()
    assert run(accuracy_reward, [ENDLESS, r"\boxed{12}"], ["12", "12"]) == [0.0, 1.0]
    assert time.monotonic() - start < 30


def test_a_killed_child_process_is_replaced(no_memory):
    assert in_thread(accuracy_reward, [r"\boxed{12}"], ["12"]) == [1.0]
    rewards._child.kill()
    rewards._child.wait()
    assert in_thread(accuracy_reward, [r"\boxed{13}"], ["12"]) == [0.0]
    assert rewards._child.poll() is None


def test_a_seen_answer_is_not_parsed_again(no_memory):
    texts = [f"By way {i}, the answer is \\boxed{{ {i % 4} }}" for i in range(256)]
    assert sum(accuracy_reward(texts, ["3"] * 256)) == 64
    assert rewards._accuracy.cache_info().misses == 4


def test_unfinished_boxes_repeated_without_end_are_read_in_one_pass():
    text = r"\boxed{" * 50_000
    start = time.monotonic()
    assert accuracy_reward([text], ["12"]) == [0.0]
    assert time.monotonic() - start < 5


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
    assert exact_match_reward([said(completion)], [gold]) == [reward]


def test_load_reward_by_name():
    assert load_rewards(["exact_match_reward", "accuracy_reward"]) == [exact_match_reward, accuracy_reward]
    assert load_reward("reasoning_accuracy_reward") is trl.rewards.reasoning_accuracy_reward
    assert load_reward("think_format_reward") is trl.rewards.think_format_reward
    assert load_reward("trl.rewards.accuracy_reward") is trl.rewards.accuracy_reward


def test_load_reward_gives_the_overlong_punishment_of_trl_grpo():
    punishment = load_reward("get_soft_overlong_punishment")
    assert punishment(completion_ids=[[0] * 1024, [0] * 1152, [0] * 1281]) == [0.0, -0.5, -1.0]


def test_load_reward_imports_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "house_rewards.py").write_text("def shorter(completions, **kwargs):\n    return [1.0]\nBONUS = 2\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    monkeypatch.chdir(tmp_path)
    assert load_reward("house_rewards.shorter")(["a"]) == [1.0]
    with pytest.raises(ValueError, match=r"'house_rewards.BONUS' is a int: set reward_funcs"):
        load_reward("house_rewards.BONUS")
    with pytest.raises(ImportError, match=r"'house_rewards.longer' cannot be imported .*set reward_funcs"):
        load_reward("house_rewards.longer")


@pytest.mark.parametrize("name", ["no_such_package.reward", ".reward", "passk_trl."])
def test_load_reward_refuses_a_path_that_leads_nowhere(name):
    with pytest.raises(ImportError, match=r"cannot be imported .*set reward_funcs"):
        load_reward(name)


def test_load_reward_lists_what_it_knows():
    with pytest.raises(ValueError, match=r"'acuracy_reward': set reward_funcs to any of accuracy_reward, exact_match"):
        load_reward("acuracy_reward")
