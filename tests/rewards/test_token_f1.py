"""F1 of the words of short answers, against SQuAD's definition."""

from collections import Counter
from fractions import Fraction

import pytest

from completions import message
from passk_trl.rewards import short_answer_reward, token_f1_reward
from passk_trl.rewards.short_answer import normalized
from passk_trl.rewards.token_f1 import token_f1


SQUAD = {"text": ["Denver Broncos", "The Broncos"], "answer_start": [177, 180]}

# A completion, the gold answer, the score.
VERDICTS = [
    # The same words.
    ("Paris", "Paris", 1),
    ("The Paris!", "paris", 1),
    ("York New", "New York", 1),  # in any order
    ("New\u00a0York", "New York", 1),
    ("the", "a", 0),
    ("A", "a", 1),
    ("the Second World War", "World War", Fraction(4, 5)),
    ("the Second World War.", "The World War", Fraction(4, 5)),
    ("Second-World War", "Second World War", Fraction(2, 5)),  # a hyphen is left out, as in SQuAD
    ("Second World War", "Second-World War", Fraction(2, 5)),
    ("O’Brien", "O'Brien", 1),
    ("Ｎｅｗ Ｙｏｒｋ", "new york", 1),
    # Some words in common.
    ("New York City", "New York", Fraction(4, 5)),
    ("New York", "New York City", Fraction(4, 5)),
    ("York", "New York City", Fraction(1, 2)),
    ("New Orleans", "New York", Fraction(1, 2)),
    ("New", "New York", Fraction(2, 3)),
    ("in 1989", "1989", Fraction(2, 3)),
    ("in the year 1989", "1989", Fraction(1, 2)),
    ("November 9, 1989", "9 November 1989", 1),
    ("9th November 1989", "9 November 1989", Fraction(2, 3)),
    ("1989", "9 November 1989", Fraction(1, 2)),
    ("John Kennedy", "John Fitzgerald Kennedy", Fraction(4, 5)),
    ("President John Fitzgerald Kennedy", "John Fitzgerald Kennedy", Fraction(6, 7)),
    ("J. F. Kennedy", "John F. Kennedy", Fraction(2, 3)),
    ("Kennedy Kennedy Kennedy", "Kennedy", Fraction(1, 2)),
    ("to be or not to be", "to be", Fraction(1, 2)),
    ("to be", "to be or not to be", Fraction(1, 2)),
    ("to be to", "to be or not to be", Fraction(2, 3)),
    ("be to be", "to to be", Fraction(2, 3)),
    ("one two three four", "one two three five", Fraction(3, 4)),
    ("one two three four", "five six", 0),
    ("blue and red", "red and blue", 1),
    ("blue, red", "red and blue", Fraction(4, 5)),
    ("blue", "red and blue", Fraction(1, 2)),
    ("and", "red and blue", Fraction(1, 2)),
    ("red/blue", "red blue", 0),  # one word, as in SQuAD
    ("an oak", "oak tree", Fraction(2, 3)),
    ("oaks", "oak", 0),
    ("Oak", "oak", 1),
    ("café au lait", "cafe au lait", Fraction(2, 3)),
    ("cafe\u0301 au lait", "café au lait", 1),
    ("北京", "北京", 1),
    ("北京 市", "北京", Fraction(2, 3)),
    # What the answer is.
    ("The capital of France is Paris.", "Paris", Fraction(1, 3)),
    ("The answer is Paris.", "Paris", 1),
    ("It lies in France. Answer: the Paris", "Paris", 1),
    ("Answer: Rome. Final answer: Paris", "Paris", 1),
    ("Answer: Paris, which lies on the Seine", "Paris", Fraction(1, 3)),
    ("Answer: Paris\nwhich lies on the Seine", "Paris", 1),
    (r"Rome, no: \boxed{New York City}", "New York", Fraction(4, 5)),
    (r"\boxed{\text{New York}}", "New York", 1),
    (r"New York \boxed{", "New York", 0),
    (r"\boxed{}", "New York", 0),
    ("", "New York", 0),
    ("!?", "New York", 0),
    # Several accepted answers: the best one counts.
    ("Broncos", SQUAD, 1),
    ("Denver", SQUAD, Fraction(2, 3)),
    ("Denver Colorado", SQUAD, Fraction(1, 2)),
    ("Seattle", SQUAD, 0),
    ("New York", ["NYC", "New York City"], Fraction(4, 5)),
    ("NYC", ["New York City", "NYC"], 1),
    ("City", {"value": "NYC", "aliases": ["New York City"], "normalized_aliases": []}, Fraction(1, 2)),
    ("1989", 1989, 1),
    ("Paris", [], None),
    ("Paris", {"text": []}, None),
    ("Paris", None, None),
]


@pytest.mark.parametrize(("completion", "gold", "score"), VERDICTS)
def test_token_f1(completion, gold, score):
    expected = None if score is None else pytest.approx(float(score), abs=1e-12)
    assert token_f1_reward([completion], [gold]) == [expected]
    assert token_f1_reward([message(completion)], [gold]) == [expected]


@pytest.mark.parametrize("answer", ["x", "x y", "x x y", "z z", "y x z x", ""])
@pytest.mark.parametrize("gold", ["x", "y x", "x x x", "z y x w"])
def test_it_is_the_harmonic_mean_of_precision_and_recall(answer, gold):
    common = sum(min(answer.split().count(word), gold.split().count(word)) for word in Counter(answer.split()))
    expected = 0
    if common:
        precision, recall = Fraction(common, len(answer.split())), Fraction(common, len(gold.split()))
        expected = 2 * precision * recall / (precision + recall)
    assert token_f1(normalized(answer), normalized(gold)) == pytest.approx(float(expected), abs=1e-12)


def test_what_matches_exactly_in_squads_way_scores_one():
    answers = ["the U.S.A.", "Jay-Z", "Café", "A", "+"]
    assert token_f1_reward(answers, answers) == short_answer_reward(answers, answers) == [1] * 5


def test_a_gold_answer_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"^solution is .* set it to a string"):
        token_f1_reward(["Paris"], [{"answer": "Paris"}])
