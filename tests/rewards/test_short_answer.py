"""Exact match of short answers: what counts as the answer, and what as the same."""

import math

import pytest

from completions import message
from passk_trl.rewards import short_answer, short_answer_reward
from passk_trl.rewards.short_answer import normalized


TRIVIA = {"value": "Sunset Boulevard", "aliases": ["Sunset Bl.", "Sunset Blvd"], "normalized_aliases": ["sunset bl"]}
SQUAD = {"text": ["Denver Broncos", "The Broncos"], "answer_start": [177, 180]}

# A completion, the gold answer, the reward.
VERDICTS = [
    # Case, punctuation, articles and white space do not count.
    ("paris", "Paris", 1),
    ("PARIS!", "Paris", 1),
    ("  Paris\n", "Paris", 1),
    ("The Beatles", "Beatles", 1),
    ("Beatles", "the beatles", 1),
    ("a tale of two cities", "A Tale of Two Cities", 1),
    ("Tale of Two Cities", "A Tale of Two Cities", 1),
    ("An apple", "apple", 1),
    ("Apple an", "apple", 1),  # wherever the article stands, as in SQuAD
    ("Theodore", "odore", 0),  # no article, but the start of a word
    ("New   York\tCity", "New York City", 1),
    ("New\nYork", "New York", 1),
    ("NewYork", "New York", 0),
    ("Paris.", "Paris, France", 0),
    ("Paris, France", "Paris", 0),
    ("Paris France", "Paris, France", 1),
    # Punctuation left out, as in SQuAD, or a space, as in TriviaQA.
    ("Jay Z", "Jay-Z", 1),
    ("JayZ", "Jay-Z", 1),
    ("USA", "U.S.A.", 1),
    ("U S A", "U.S.A.", 1),
    ("O'Brien", "OBrien", 1),
    ("O’Brien", "O'Brien", 1),
    ("rock_and_roll", "rock and roll", 1),
    ("rock & roll", "rock and roll", 0),
    ("“Hamlet”", "Hamlet", 1),
    ("`Hamlet´", "Hamlet", 1),
    ("**Hamlet**", "Hamlet", 1),
    ("1989–1991", "1989-1991", 1),
    ("1,000", "1000", 1),
    ("3.5", "35", 1),  # as in SQuAD: numbers have verifiers of their own
    # Letters and Unicode.
    ("café", "cafe", 0),
    ("cafe\u0301", "café", 1),
    ("Ｐａｒｉｓ", "Paris", 1),
    ("１９８９", "1989", 1),
    ("New\u00a0York", "New York", 1),
    ("Pa\u00adris", "Paris", 1),
    ("STRASSE", "Straße", 1),
    ("ﬁve", "five", 1),
    ("北京", "北京", 1),
    ("東京", "北京", 0),
    # Where nothing would be left.
    ("A", "a", 1),
    ("The", "A", 0),
    ("+", "+", 1),
    ("-", "+", 0),
    ("", "a", 0),
    ("...", "a", 0),
    # What the answer is.
    ("The capital of France is Paris.", "Paris", 0),
    ("The answer is Paris.", "Paris", 1),
    ("The answer is: Paris", "Paris", 1),
    ("Let me think.\n**Answer:** Paris\nIt lies on the Seine.", "Paris", 1),
    ("Answer:\n\nParis", "Paris", 1),
    ("Answer： Paris", "Paris", 1),
    ("answer: Rome. Final answer: Paris", "Paris", 1),
    ("answer: Paris. Final answer: Rome", "Paris", 0),
    ("Answer: Paris or Rome", "Paris", 0),
    ("The answer is not Paris", "Paris", 0),
    ("The answers are Paris and Rome", "Paris", 0),
    ("Paris is the answer", "Paris", 0),
    ("The answer is", "Paris", 0),
    (r"So \boxed{Paris}, the answer is Rome", "Paris", 1),
    (r"\boxed{\text{the Paris}}", "Paris", 1),
    (r"\boxed{\text{\textbf{Paris}}}", "Paris", 1),
    (r"\boxed{\mathrm{H_{2}O}}", "H2O", 1),
    (r"\boxed{Rome} or \boxed{Paris}", "Paris", 1),
    (r"\boxed{Rome}, not Paris", "Paris", 0),
    (r"The answer is \boxed{Paris", "Paris", 0),
    (r"\boxed{}", "Paris", 0),
    # Several accepted answers.
    ("JFK", ["John F. Kennedy", "JFK"], 1),
    ("John F Kennedy", ["John F. Kennedy", "JFK"], 1),
    ("Kennedy", ["John F. Kennedy", "JFK"], 0),
    ("sunset bl", TRIVIA, 1),
    ("Sunset Boulevard", TRIVIA, 1),
    ("Boulevard", TRIVIA, 0),
    ("Broncos", SQUAD, 1),
    ("Denver", SQUAD, 0),
    ("1989", 1989, 1),
    ("1989", 1989.0, 1),
    ("19890", 1989.0, 0),
    ("2.5", 2.5, 1),
    ("-3", [-3.0], 1),
    ("nan", math.nan, None),
    ("inf", math.inf, 1),
    ("Paris", [], None),
    ("Paris", {"text": []}, None),
    ("Paris", None, None),
    ("Paris", "  ", None),
    ("", [""], None),
]


@pytest.mark.parametrize(("completion", "gold", "reward"), VERDICTS)
def test_short_answer(completion, gold, reward):
    assert short_answer_reward([completion], [gold]) == [reward]
    assert short_answer_reward([message(completion)], [gold]) == [reward]


@pytest.mark.parametrize("completion", [[], message(None), [{"role": "assistant"}], message(7)])
def test_a_completion_without_text_is_wrong(completion):
    assert short_answer_reward([completion], ["Paris"]) == [0]


def test_the_last_message_is_judged_and_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "Pa"}, {"type": "image"}, {"type": "text", "text": "ris"}]
    assert short_answer_reward([[*message("Rome"), {"role": "assistant", "content": parts}]], ["Paris"]) == [1]


@pytest.mark.parametrize("gold", [True, {"answer": "Paris"}, [["Paris"], {"answer": "Paris"}], b"Paris"])
def test_a_gold_answer_of_another_kind_is_refused(gold):
    with pytest.raises(
        ValueError, match=r"^solution is .* of type \w+: set it to a string, a list of strings, SQuAD's"
    ):
        short_answer_reward(["Paris"], [gold])


def test_the_two_normal_forms():
    assert normalized("The Jay-Z_Album") == "jayzalbum"
    assert normalized("The Jay-Z_Album", spaced=True) == "jay z album"


def test_an_answer_is_read_once_for_all_accepted_answers(monkeypatch):
    read = []
    monkeypatch.setattr(short_answer, "plain_letters", lambda text: read.append(text) or text)
    assert short_answer_reward(["slow to read"], [["Paris"] * 50]) == [0]
    assert read.count("slow to read") == 2  # in SQuAD's way and in TriviaQA's
