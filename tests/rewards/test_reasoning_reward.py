"""The scorers of reasoning-gym: what is read as an answer, what gets the reward, and that no completion harms."""

import json
import logging
import threading

import pytest

from completions import message
from passk_trl.child_process import ChildProcess
from passk_trl.rewards import load_reward, reasoning, reasoning_gym_reward
from passk_trl.rewards.reasoning import readings, reasoning_gym_score
from reasoning_tasks import TASKS, columns, rows


def row(task: str, answer: str | None, /, **metadata) -> dict[str, str]:
    """A row as `reasoning_gym_splits` makes them, with an entry by hand."""
    entry = {"question": "?", "answer": answer, "metadata": metadata}
    return {"task": task, "settings": "{}", "solution": answer or "", "entry": json.dumps(entry)}


SUM = row("chain_sum", "-6")
MANY = row("chain_sum", "1234")
LEGS = row("leg_counting", "12")
DAY = row("calendar_arithmetic", "Monday", task="weekday_offset")
YES = row("syllogism", "Yes", is_valid=True)
BACKWARD = row("spell_backward", "tac")
WORDS = row("word_sorting", "ant, bee, cow", sorted_words=["ant", "bee", "cow"])
NUMBERS = row("number_sorting", "['-3', '2', '10']", direction="ascending")
FRACTION = row(
    "fraction_simplification", "2/3", style="plain", numerator=4, denominator=6,
    simplified_numerator=2, simplified_denominator=3,
)  # fmt: skip
PRIMES = row("prime_factorization", "2 × 2 × 3", number=12, factors=[2, 2, 3])
LOGIC = row("propositional_logic", None, premises=["(P ∧ Q)"], variables=["P", "Q"])
COUNTDOWN = row("countdown", "3*4 + 5", numbers=[3, 4, 5], target=17)
COMPLEX = row("complex_arithmetic", "2.0 + 3.0i", result=[2.0, 3.0])
MATRIX = row("binary_matrix", "0 1\n1 2")
INTEGRAL = row("simple_integration", "x**2 + C", integrand="2*x", variable="x")
CUBE = row("rubiks_cube", None, cube_size=3, scramble_moves="R")


@pytest.mark.parametrize(
    ("question", "completion", "reward"),
    [
        (SUM, "-6", 1.0),
        (SUM, " -6\n", 1.0),
        (SUM, "-6.0", 1.0),
        (SUM, "The answer is -6.", 1.0),
        (SUM, "2 - 8 = -6", 1.0),
        (SUM, "**-6**", 1.0),
        (SUM, r"\boxed{-6}", 1.0),
        (SUM, r"It is 5, no: \boxed{5}, or \boxed{-6}.", 1.0),
        (SUM, "<answer>-6</answer>", 1.0),
        (SUM, "<answer>5</answer> or <answer> -6 </answer>", 1.0),
        (SUM, r"<answer>5</answer> \boxed{-6}", 1.0),
        (SUM, "First 5.\nThen\n-6", 1.0),
        (SUM, "The answer is −6.", 1.0),
        (SUM, r"\boxed{−6}", 1.0),
        (MANY, "−1234", 0.0),
        (SUM, "6", 0.0),
        (SUM, "10-6", 0.0),  # a difference, not a negative number
        (SUM, "-6 or 5", 0.0),
        (SUM, "-66", 0.0),
        (SUM, r"\boxed{5} -6", 0.0),
        (SUM, r"\boxed{-6", 0.0),
        (SUM, "<answer>5</answer> -6", 0.0),
        (SUM, "minus six", 0.0),
        (SUM, "", 0.0),
        (MANY, "1234", 1.0),
        (MANY, "1,234", 1.0),
        (MANY, "It makes 1,234.", 1.0),
        (MANY, "It makes 1234.00 in all.", 1.0),
        (MANY, "12 34", 0.0),
        (MANY, "234", 0.0),
        (LEGS, "12 legs", 1.0),
        (LEGS, "They have 4 + 8 = 12 legs.", 1.0),
        (LEGS, "They have 12 legs: 4 and 8.", 0.0),
        (LEGS, "twelve", 0.0),
        (DAY, "Monday", 1.0),
        (DAY, "monday", 0.0),  # 0.1 from the scorer: the case counts
        (DAY, "It is Monday.", 1.0),
        (DAY, "It is a Monday!", 1.0),
        (DAY, "It is **Monday**", 1.0),
        (DAY, "Let me see.\nMonday", 1.0),
        (DAY, r"\boxed{\text{Monday}}", 1.0),
        (DAY, r"\boxed{\text{Tuesday}}", 0.0),
        (DAY, "<answer>It is <answer>Monday</answer>", 1.0),
        (DAY, "<think>Tuesday? </answer></think><answer>Monday</answer>", 1.0),
        (DAY, "Tuesday", 0.0),  # 0.1 from the scorer, for a day of the week
        (DAY, "Monday or Tuesday", 0.0),
        (YES, "Yes", 1.0),
        (YES, "The answer is: Yes", 1.0),
        (YES, "No", 0.0),
        (YES, "Yes, or No", 0.0),
        (BACKWARD, "tac", 1.0),
        (BACKWARD, "It is spelled 'tac'.", 1.0),
        (BACKWARD, "cat", 0.0),
        (BACKWARD, "t-a-c", 0.0),
        (WORDS, "ant, bee, cow", 1.0),
        (WORDS, "ant,bee,cow", 1.0),
        (WORDS, "Sorted:\nant, bee, cow", 1.0),
        (WORDS, "Sorted: ant, bee, cow", 0.0),  # several words: the whole text or a line
        (WORDS, "bee, ant, cow", 0.0),
        (NUMBERS, "['-3', '2', '10']", 1.0),
        (NUMBERS, '["-3", "2", "10"]', 1.0),
        (NUMBERS, "-3, 2, 10", 0.0),
        (FRACTION, "2/3", 1.0),
        (FRACTION, "So it is 2/3.", 1.0),
        (FRACTION, "4/6", 0.0),
        (PRIMES, "2 × 2 × 3", 1.0),
        (PRIMES, "3 × 2 × 2", 1.0),
        (PRIMES, "4 × 3", 0.0),
        (PRIMES, "two, two and three", 0.0),  # ValueError
        (LOGIC, "(Q ∧ P)", 1.0),  # no reference answer: the scorer judges by itself
        (LOGIC, "P", 0.0),  # 0.25 from the scorer, which takes no single variable
        (LOGIC, "(P ∨ ¬P)", 0.0),
        (LOGIC, "¬P", 0.0),
        (COUNTDOWN, "3*4 + 5", 1.0),
        (COUNTDOWN, "5 + 4*3", 1.0),
        (COUNTDOWN, r"\boxed{5 + 4*3}", 1.0),
        (COUNTDOWN, "17", 0.0),
        (COUNTDOWN, "3 + 4 + 5", 0.0),
        (COMPLEX, "2 + 3i", 1.0),
        (COMPLEX, "2 - 3i", 0.0),
        (COMPLEX, "nan", 0.0),  # 1 from the scorer
        (COMPLEX, "nan + nani", 0.0),
        (MATRIX, "0 1\n1 2", 1.0),
        (MATRIX, "<answer>\n0 1\n1 2\n</answer>", 1.0),
        (MATRIX, "[[0, 1], [1, 2]]", 0.0),  # 0.1 from the scorer
        (MATRIX, "1 2", 0.0),
        (INTEGRAL, "x**2 + C", 1.0),
        (INTEGRAL, "x*x + 7 + C", 1.0),
        (INTEGRAL, "Integral(2*x, x) + C", 0.0),
        (CUBE, "R'", 1.0),
        (CUBE, "R", 0.0),
    ],
)  # fmt: skip
def test_verdicts(question, completion, reward):
    for written in (completion, message(completion)):
        assert reasoning_gym_reward([written], **{name: [value] for name, value in question.items()}) == [reward]


def test_it_is_loaded_by_name():
    assert load_reward("reasoning_gym_reward") is reasoning_gym_reward


def test_a_partial_score_is_a_score_and_no_reward():
    day = {name: [value] * 3 for name, value in DAY.items()}
    completions = ["Monday", "Tuesday", "never"]
    assert reasoning_gym_score(completions, **day) == [1.0, 0.1, 0.0]
    assert reasoning_gym_reward(completions, **day) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("text", ["", "  \n ", r"\boxed{", r"\boxed{\boxed{a}"])
def test_texts_without_an_answer(text):
    assert [each for each in readings(text, "a b") if each] in ([], ["a"])


def test_a_mixture_sends_each_row_to_its_own_scorer():
    questions = [SUM, DAY, WORDS, LOGIC]
    mixed = {name: [each[name] for each in questions] for name in SUM}
    assert reasoning_gym_reward(["-6", "Monday", "ant, bee, cow", "(Q ∧ P)"], **mixed) == [1.0] * 4
    assert reasoning_gym_reward(["Monday", "-6", "(Q ∧ P)", "ant, bee, cow"], **mixed) == [0.0] * 4


NASTY = [
    "", " \n\t", "0", "-1", "1e999", "nan", "None", "true", "[]", "{}", '{"a": 1}', "[[1, 2], [3]]", "((((((((",
    r"\boxed{}", "<answer></answer>", "🙂 ünïcödé \x00\u202e", "(lambda: 1)()", "__import__('os').getpid()",
    "a" * 20000, "1 " * 2000, "1/0", "\\frac{1}{0}", "move(box_1, square[0.5, 0.5])",
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task):
    """Its own reference answer is right and a wrong text is wrong, and it takes any text."""
    its_rows = rows(task)
    its = columns(its_rows)
    own = reasoning_gym_reward([each["solution"] for each in its_rows], **its)
    if task in WITHOUT_REFERENCE:
        assert its["solution"] == [""] * len(its_rows)
        assert own == [0.0] * len(its_rows)
    elif task in SOMETIMES_UNSCORABLE:
        assert set(own) == {1.0, None}
    else:
        assert own == [1.0] * len(its_rows)
    assert set(reasoning_gym_reward([r"\boxed{wrong zz}"] * len(its_rows), **its)) <= {0.0, None}
    one = columns(its_rows[:1])
    scores = [reasoning_gym_score([text], **one)[0] for text in NASTY]
    assert all(0 <= score <= 1 for score in scores)


# Their scorers judge an answer by itself, and there is no reference answer.
WITHOUT_REFERENCE = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}

# Some reference answers are the integral itself, `Integral(…)`, which is refused as an answer.
SOMETIMES_UNSCORABLE = {"intermediate_integration"}


def test_an_entry_that_its_own_reference_does_not_solve_is_unscorable():
    broken = row("calendar_arithmetic", "Monday", task="no_such_task")
    wrong = row("simple_integration", "x**3 + C", integrand="2*x", variable="x")
    for question in (broken, wrong):
        its = {name: [value] for name, value in question.items()}
        assert reasoning_gym_reward([question["solution"]], **its) == [None]


@pytest.mark.parametrize(
    ("question", "payload"),
    [
        (MATRIX, "open({path!r}, 'w').close()"),
        (COUNTDOWN, "open({path!r}, 'w').close()"),
        (INTEGRAL, "open({path!r}, 'w')"),
        (COUNTDOWN, "exec('import pathlib; pathlib.Path({path!r}).touch()')"),
    ],
    ids=["eval", "parse_expr", "sympy.parse_expr", "exec"],
)
def test_no_completion_is_run_as_code(question, payload, tmp_path):
    its = {name: [value] for name, value in question.items()}
    assert reasoning_gym_reward([payload.format(path=str(tmp_path / "ran"))], **its) == [0.0]
    assert not (tmp_path / "ran").exists()


def test_a_scorer_that_does_not_end_or_fails_is_wrong_counted_and_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(reasoning, "_warned", set())
    reasoning._reply.cache_clear()
    logged = []
    questions = [COUNTDOWN, PRIMES, PRIMES, SUM]
    mixed = {name: [each[name] for each in questions] for name in SUM}
    with caplog.at_level(logging.WARNING, "passk_trl.rewards.reasoning"):
        rewards = reasoning_gym_reward(
            ["9**9**9**9", "a × b", "x × y", "-6"], **mixed, log_metric=lambda *pair: logged.append(pair)
        )
    assert rewards == [0.0, 0.0, 0.0, 1.0]
    assert logged == [("reasoning_gym/scorer_failed", 0.75)]
    assert [record.args[0] for record in caplog.records] == ["countdown", "prime_factorization"]


def test_it_scores_in_any_thread():
    results = []
    its = {name: [value] for name, value in SUM.items()}
    threads = [
        threading.Thread(target=lambda n=n: results.append(reasoning_gym_reward([f"-6.{n}"], **its))) for n in "0123"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(results) == [[0.0], [0.0], [0.0], [1.0]]


def test_a_row_without_a_reference_answer_is_scored():
    its = {name: [value] for name, value in {**LOGIC, "solution": None}.items()}
    assert reasoning_gym_reward(["(Q ∧ P)"], **its) == [1.0]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(reasoning, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'reasoning-gym is not installed: pip install "passk-trl\[reasoning-gym\]"'):
        reasoning_gym_reward(["-6"], **{name: [value] for name, value in SUM.items()})


def test_a_process_of_scorers_that_cannot_start_stops_the_training(monkeypatch):
    reasoning._reply.cache_clear()
    monkeypatch.setattr(reasoning, "_process", ChildProcess("passk_trl.rewards.no_such_module", seconds=9))
    with pytest.raises(RuntimeError, match=r"no_such_module cannot start"):
        reasoning_gym_reward(["-6"], **{name: [value] for name, value in SUM.items()})


def test_a_failure_on_one_reading_is_no_failure_if_another_is_right(caplog, monkeypatch):
    monkeypatch.setattr(reasoning, "_warned", set())
    its = {name: [value] for name, value in PRIMES.items()}
    assert reasoning_gym_reward(["The factors:\n2 × 2 × 3"], **its) == [1.0]
    assert not caplog.records
