"""Answers in words: which gold answers are words, and which answers say them."""

import pytest

from passk_trl.rewards.words import words_of


@pytest.mark.parametrize(
    ("gold", "words"),
    [
        ("Monday", "monday"),
        (r"\text{Monday}", "monday"),
        (r"It is \boxed{\text{Monday}}.", "monday"),
        ("yes", "yes"),
        ("No solution.", "no solution"),
        (r"\text{no}", "no"),
        ("A", None),
        (r"\textbf{(B)}", None),
        ("xy", None),
        (r"\mathbb{R}", None),
        (r"\infty", None),
        ("pi", None),
        (r"5\text{ cm}", None),
        (r"x \text{ is } 2", None),
        ("12", None),
        ("", None),
        ("By induction the claim holds for every natural number.", None),
    ],
)
def test_words_of_a_gold_answer(gold, words):
    assert words_of(gold) == words
