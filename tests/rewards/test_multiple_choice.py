"""Multiple choice: where a letter is read, and where it is none."""

import pytest

from completions import message
from passk_trl.rewards import multiple_choice_reward


CITIES = ["Rome", "Paris", "New York", "York"]
LETTERS = ["C", "A", "B"]
VITAMINS = ["Vitamin C", "Vitamin A", "none of these"]

# A completion, the letter of the right choice, the reward.
WITHOUT_CHOICES = [
    # The letter alone.
    ("B", "B", 1),
    ("b", "B", 1),
    ("B.", "B", 1),
    ("B)", "B", 1),
    ("b)", "B", 1),
    ("(B)", "B", 1),
    ("[b]", "B", 1),
    ("(B).", "B", 1),
    ("B:", "B", 1),
    ("B,", "B", 1),
    ("  B\n", "B", 1),
    ("**B**", "B", 1),
    ("`B`", "B", 1),
    ("'B'", "B", 1),
    ("$B$", "B", 1),
    ("Ｂ", "B", 1),
    ("Option B", "B", 1),
    ("choice (b)", "B", 1),
    ("A", "A", 1),
    ("a", "A", 1),
    ("I", "I", 1),
    ("C", "B", 0),
    ("В", "B", 0),  # a Cyrillic letter
    # With the text of the choice.
    ("B) Paris", "B", 1),
    ("B. Paris", "B", 1),
    ("(B) Paris", "B", 1),
    ("b. paris", "B", 1),
    ("B: Paris", "B", 1),
    ("B - Paris", "B", 1),
    ("**B)** Paris", "B", 1),
    ("A) Rome", "A", 1),
    ("A. Rome", "A", 1),
    ("B) Paris\nC) York", "B", 0),
    # In a sentence.
    ("The answer is B", "B", 1),
    ("The answer is B.", "B", 1),
    ("The answer is: (B) Paris", "B", 1),
    ("The correct answer is option b", "B", 1),
    ("Answer: B) Paris", "B", 1),
    ("**Answer:** B", "B", 1),
    ("**Answer**: **B**", "B", 1),
    ("Answer:\nB", "B", 1),
    ("Answer: C. No, wait. Answer: B", "B", 1),
    ("Answer: B. No, wait. Answer: C", "B", 0),
    ("I think it is B, since Paris is in France.", "B", 1),
    ("Of all choices, (b) is right", "B", 1),
    ("A is wrong. The answer is B", "B", 1),
    ("The answer is B because A is in Italy", "B", 0),
    (r"It is \boxed{B}", "B", 1),
    (r"It is \boxed{\text{(B)}}", "B", 1),
    (r"It is \boxed{\mathbf{\text{(B)}}}", "B", 1),
    (r"It is B, so \boxed{C}", "B", 0),
    (r"It is \boxed{B", "B", 0),
    (r"\boxed{B} or rather \boxed{C}", "C", 1),
    # "A" and "I" as words.
    ("A dog", "A", 0),
    ("A\tdog", "A", 0),
    ("The answer is a dog", "A", 0),
    ("I do not know", "I", 0),
    ("I choose A.", "A", 1),
    ("A dog, so B", "B", 1),
    ("The answer is A because dogs bark", "A", 1),
    ("The answer is A, a dog", "A", 1),
    ("A is the right one", "A", 1),
    ("I am sure that option A fits best", "A", 1),
    ("I take (a)", "A", 1),
    ("A\n\nRome is the capital of Italy.", "A", 1),
    ("The answer is option a) Rome", "A", 1),
    # No letter, or a letter that is part of something.
    ("", "A", 0),
    ("Paris", "A", 0),
    ("Bob", "B", 0),
    ("AB", "A", 0),
    ("B2", "B", 0),
    ("C++", "C", 0),
    ("the U.S.A", "A", 0),
    ("the A-team", "A", 0),
    ("B's", "B", 0),
    # Several letters.
    ("A or B", "B", 0),
    ("A, B", "A", 0),
    ("A/B", "B", 0),
    ("both (A) and (B)", "A", 0),
    ("A B", "B", 0),
    ("A\nB", "B", 0),
    # Letters that are denied.
    ("not C but B", "B", 1),
    ("B, not A", "B", 1),
    ("It is not option (A)", "A", 0),
    ("The answer is not B.", "B", 0),
    ("It isn't B", "B", 0),
    ("not A or B", "B", 0),
    ("neither (A) nor (B)", "B", 0),
    ("B or B", "B", 1),
    ("A) Rome B) Paris C) York D) Oslo", "D", 0),
    # What the gold answer may be.
    ("B", "(B)", 1),
    ("B", "b) Paris", 1),
    ("B", r"\boxed{B}", 1),
    ("B", "Answer: B", 1),
    ("B", "Paris", None),
    ("B", "A or B", None),
    ("B", "", None),
    ("B", None, None),
]

# A completion, the gold answer, the choices, the reward.
WITH_CHOICES = [
    ("B", 1, CITIES, 1),
    ("A", 0, CITIES, 1),
    ("A", 1, CITIES, 0),
    ("Paris", 1, CITIES, 1),
    ("paris.", "B", CITIES, 1),
    ("The answer is the Paris", 1, CITIES, 1),
    (r"\boxed{\text{Paris}}", 1, CITIES, 1),
    ("York", 3, CITIES, 1),
    ("York", 2, CITIES, 0),
    ("New York", 2, CITIES, 1),
    ("Paris, the capital", 1, CITIES, 0),  # the text of a choice must be alone
    ("London", 1, CITIES, 0),
    ("B) Paris", 1, CITIES, 1),
    ("Answer: (B) Paris.", 1, CITIES, 1),
    ("B) Rome", 1, CITIES, 0),
    ("A) Paris", 1, CITIES, 0),
    ("B) London", 1, CITIES, 1),
    ("E", 1, CITIES, 0),
    ("B or E", 1, CITIES, 1),  # E is no choice here
    ("B", "Paris", CITIES, 1),
    ("B", "paris", {"text": CITIES, "label": ["A", "B", "C", "D"]}, 1),
    ("C", 0, LETTERS, 0),  # a letter alone names a place, and not a text
    ("A", 0, LETTERS, 1),
    ("Vitamin C", 0, VITAMINS, 1),
    ("vitamin a", 1, VITAMINS, 1),
    ("C", 2, VITAMINS, 1),
    ("A) Vitamin C", 0, VITAMINS, 1),
    ("A) Vitamin A", 0, VITAMINS, 0),
    ("A) Vitamin C", 1, VITAMINS, 0),
    ("12", 1, ["11", "12", "13"], 1),
    ("-5", 1, ["5", "-5"], 1),
    ("−5", 1, ["5", "-5"], 1),
    ("5", 0, ["5", "-5"], 1),
    ("5", 1, ["3", "-5"], 0),
    ("3.5", 0, ["35", "7"], 0),
    (".5", 0, ["5", "7"], 0),
    ("1/2", 0, ["12", "7"], 0),
    ("½", 1, ["12", "1/2"], 1),
    ("5%", 0, ["5%", "5"], 1),
    ("1,000", 0, ["1000", "2000"], 1),
    ("$5.", 0, ["$5", "$6"], 1),
    ("x - 1", 1, ["x + 1", "x - 1"], 1),
    ("x < 3", 0, ["x > 3", "x < 3"], 0),
    ("C++", 1, ["C", "C++"], 1),
    ("well-known", 0, ["Well-known.", "unknown"], 1),
    ("x", 0, ["x", "X"], 0),  # two choices have this text
    ("B", "E", CITIES, None),
    ("B", "London", CITIES, None),
]


@pytest.mark.parametrize(("completion", "gold", "reward"), WITHOUT_CHOICES)
def test_without_choices(completion, gold, reward):
    assert multiple_choice_reward([completion], [gold]) == [reward]
    assert multiple_choice_reward([message(completion)], [gold]) == [reward]


@pytest.mark.parametrize(("completion", "gold", "choices", "reward"), WITH_CHOICES)
def test_with_choices(completion, gold, choices, reward):
    assert multiple_choice_reward([completion], [gold], choices=[choices]) == [reward]


@pytest.mark.parametrize(
    ("gold", "choices", "words"),
    [
        (1, None, r"the index 1, but there are no choices: add a column choices"),
        (4, [CITIES], r"the index 4, but there are 4 choices: set it between 0 and 3"),
        (-1, [CITIES], r"the index -1, but there are 4 choices"),
        (1.0, [CITIES], r"'1\.0' of type float: set it to the letter, the text or the index"),
        (True, [CITIES], r"of type bool: set it to the letter"),
        (["B"], [CITIES], r"of type list: set it to the letter"),
        ("B", ["Rome"], r"choices is 'Rome': set it to a list of 2 to 26 texts"),
        ("B", [["Rome"]], r"choices is .*: set it to a list of 2 to 26 texts"),
        ("B", [{"label": ["A", "B"]}], r"choices is .*: set it to a list"),
    ],
)
def test_what_cannot_be_read_is_refused(gold, choices, words):
    with pytest.raises(ValueError, match=words):
        multiple_choice_reward(["B"], [gold], choices=choices)
