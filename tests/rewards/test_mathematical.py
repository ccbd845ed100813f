"""Mathematical equality: what is read as an answer, and what counts as equal."""

import time

import pytest
import trl.rewards

from completions import message
from passk_trl.rewards import accuracy_reward, mathematical


# The content of a box, the gold answer, whether they are equal.
BOXED = [
    # Percent, money and units. What a number counts does not matter.
    (r"50\%", "50", 1),
    (r"50\%", "0.5", 1),
    ("0.5", "50%", 1),
    (r"12.5\%", "1/8", 1),
    ("5", "50%", 0),
    ("250", "2.5", 0),
    (r"\$1,200", "1200", 1),
    ("3.50", r"\$3.50", 1),
    ("€3.50", "3.5", 1),
    ("500 ₹", "500", 1),
    (r"5 \text{ cm}^2", "5", 1),
    (r"10\text{ km/h}", "10", 1),
    (r"5\text{ cm}", "6", 0),
    # Thousands.
    ("1,200,000", "1200000", 1),
    ("1{,}200", "1200", 1),
    (r"1\,200", "1200", 1),
    ("1,20", "120", 0),
    ("1,200", "1", 0),
    # Mixed numbers, and fractions with a sign.
    (r"2\frac{1}{2}", "2.5", 1),
    ("2 1/2", r"\frac{5}{2}", 1),
    ("1 1/4", "5/4", 1),
    ("2 1/2", "2", 0),
    ("2 1/2", "1", 0),
    ("-2 1/2", "-2.5", 1),
    (r"-1\frac{1}{2}", "-0.5", 0),
    ("7 10/3", "31/3", 0),
    ("x=2 1/2", "5/2", 1),
    ("(1 1/2, 3)", "(1.5, 3)", 1),
    ("2½", "2.5", 1),
    (r"-\frac{3}{4}", r"\frac{3}{-4}", 1),
    (r"-\frac{3}{4}", r"\frac{3}{4}", 0),
    # Scientific notation.
    ("1.5e3", "1500", 1),
    (r"1.5\cdot10^{-3}", "0.0015", 1),
    ("3x10^2", "300", 1),
    ("6.02e23", r"6.02\times10^{23}", 1),
    (r"2\times10^3", r"2\times10^4", 0),
    # Signs and degrees.
    (r"\pm 3", "3,-3", 1),
    (r"\pm 3", "3", 0),
    ("3", r"\pm 3", 0),
    (r"1\pm\sqrt{2}", r"1-\sqrt2, 1+\sqrt2", 1),
    ("−5", "-5", 1),
    ("１２．５", "12.5", 1),
    ("x²+1", "x^2+1", 1),
    (r"90^\circ", "90", 1),
    ("45°", "45", 1),
    (r"45^\circ", "90", 0),
    ("∞", r"\infty", 1),
    (r"\infty", r"-\infty", 0),
    ("5.", "5", 1),
    ("5,", "5", 1),
    ("= 5", "5", 1),
    (r"\approx 3.14", "3.14", 1),
    ("minus 5", "-5", 1),
    ("negative 5", "5", 0),
    ("1⁄2", "0.5", 1),
    # As programs write formulas.
    ("2**3 + 2**2", "12", 1),
    ("2 ** 10", "1024", 1),
    ("x**(1/2)", r"x^{\frac12}", 1),
    ("**12**", "12", 1),
    ("sqrt(8)", r"2\sqrt{2}", 1),
    ("2√3", r"2\sqrt3", 1),
    ("√4", "2", 1),
    ("2pi", r"2\pi", 1),
    ("pin", r"\pi n", 0),
    # Sets, intervals and lists.
    (r"\{1,2,3\}", r"\{3,2,1\}", 1),
    (r"\{1,2\}", r"\{1,2,3\}", 0),
    ("(1,2)", "(2,1)", 0),
    ("(1,2)", "[1,2]", 0),
    (r"(-\infty,2)", r"(-\infty,2]", 0),
    (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)", 1),
    (r"(-\infty,\infty)", r"\mathbb{R}", 1),
    (r"\varnothing", r"\emptyset", 1),
    (r"\emptyset", "0", 0),
    ("3,4,5", "3,4", 0),
    (r"21, 36, \text{ and } 82", r"19, 46, \text{ and } 82", 0),
    # Matrices.
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", 1),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", 0),
    # Equations.
    ("x=5", "5", 1),
    ("5", "x=5", 1),
    ("x=5", "x=6", 0),
    ("y=2x+1", "y=1+2x", 1),
    ("2x+1=y", "y=2x+1", 1),
    (r"x=1\text{ or }x=2", "1,2", 1),
    ("n=1,2,3", "n=2,3,4", 0),
    ("x>3", "x<3", 0),
    (r"x\ge3", "x>3", 0),
    # Expressions.
    (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}", 1),
    ("a-b", "b-a", 0),
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}", 1),
    (r"1-\frac1e", r"1+\frac1e", 0),
    (r"\binom{5}{2}", "10", 1),
    (r"\log_2 8", "3", 1),
    (r"\frac{22}{7}", r"\pi", 0),
    ("2+3i", "2-3i", 0),
    ("12:00", "1:00", 0),
    ("3:4", "4:3", 0),
    # Text.
    (r"\text{Monday}", r"\text{Tuesday}", 0),
    (r"\text{Tuesday}", r"\text{Tuesday}", 1),
    (r"\textbf{(B)}", "B", 1),
    ("six", "6", 0),
]

# What `math_verify` judges otherwise than a person would: a box, the gold answer, the reward, the reason.
KNOWN_TO_BE_JUDGED_OTHERWISE = [
    (r"5\text{ cm}", r"5\text{ m}", 1, "units are dropped: quantity_reward reads them"),
    (r"\text{yes}", "Yes", None, "a word is no formula: short_answer_reward compares words"),
    (r"90^\circ", r"\frac{\pi}{2}", 0, "a degree sign is dropped"),
    (r"\sin(30^\circ)", "0.5", 0, "a degree sign is dropped"),
    (r"1010_{2}", "1010", 1, "a base is dropped"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", 1, "numbers are compared to six decimals"),
    (r"2\times10^{-20}", r"3\times10^{-20}", 1, "numbers are compared to six decimals"),
    ("5", "5.0000001", 0, "an integer is equal only to itself"),
    (r"\frac{1}{3}", "0.3333", 0, "a rounded answer is another number"),
    ("x<2", r"(-\infty,2)", 0, "a relation is no interval"),
    (r"1\le x\le2", "[1,2]", 0, "a relation is no interval"),
    ("a=1,b=2", "2,1", 1, "names are dropped, and what is left is a set"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)", 0, "a vector is no pair"),
    ("i^2", "-1", 0, "i is a variable here"),
    ("2 000", "2000", 0, "a space multiplies"),
    (r"0.\overline{3}", "1/3", 0, "a period is not read"),
    (r"12\text{ oranges and 3 apples}", "12", 1, "text after a number is dropped"),
    ("B)", "B", 0, "multiple_choice_reward reads letters"),
]


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
        (r"so \boxed{12}", "no formula here", None),
        (r"so \boxed{12}", "", None),
        ("no formula here", "no formula here", None),
    ],
)
def test_accuracy(completion, gold, reward):
    assert accuracy_reward([completion], [gold]) == [reward]
    assert accuracy_reward([message(completion)], [gold]) == [reward]


@pytest.mark.parametrize(("answer", "gold", "reward"), BOXED)
def test_a_box_with_a_hard_answer(answer, gold, reward):
    assert accuracy_reward([rf"So \boxed{{{answer}}}."], [gold]) == [reward]


@pytest.mark.parametrize(("answer", "gold", "reward", "reason"), KNOWN_TO_BE_JUDGED_OTHERWISE)
def test_known_to_be_judged_otherwise(answer, gold, reward, reason):
    assert accuracy_reward([rf"So \boxed{{{answer}}}."], [gold]) == [reward], f"{reason}: move it to BOXED"


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
