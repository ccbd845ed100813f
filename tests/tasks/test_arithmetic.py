"""The tasks: seeded, disjoint between splits, verifiable, and as ambiguous as documented."""

from itertools import combinations

import pytest
from math_verify import parse, verify

from passk_trl.tasks import RULES, SPLITS, WORDINGS, ambiguous_arithmetic, many_strategies, split_pairs


def questions(**settings):
    return [row["prompt"][0]["content"] for row in ambiguous_arithmetic(300, **settings)]


def numbers(question):
    return tuple(int(word.rstrip(".")) for word in question.split() if word.rstrip(".").isdigit())


def test_same_seed_same_rows_other_seed_others():
    assert ambiguous_arithmetic(50, seed=3).to_list() == ambiguous_arithmetic(50, seed=3).to_list()
    assert questions(seed=3) != questions(seed=4)


def test_splits_share_no_pair_of_numbers_and_use_them_all():
    pairs = {split: set(split_pairs(split)) for split in SPLITS}
    assert all(pairs[one].isdisjoint(pairs[other]) for one, other in combinations(SPLITS, 2))
    assert len(set.union(*pairs.values())) == 70 * 69 // 2


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 1])
def test_questions_stay_in_their_split(split, seed):
    assert {numbers(question) for question in questions(split=split, seed=seed)} <= set(split_pairs(split))


def test_questions_are_all_different():
    assert len(set(questions())) == 300


def test_prompt_is_one_user_message_and_solution_the_boxed_answer():
    for row in ambiguous_arithmetic(100):
        (message,) = row["prompt"]
        assert message["role"] == "user"
        assert row["answer"] == RULES[row["rule"]](*numbers(message["content"]))
        assert row["solution"] == rf"\boxed{{{row['answer']}}}"


def test_solutions_verify_and_the_other_rule_does_not():
    for row in ambiguous_arithmetic(30):
        a, b = numbers(row["prompt"][0]["content"])
        gold = parse(row["solution"])
        for rule, apply in RULES.items():
            completion = rf"{rule.capitalize()} \boxed{{{apply(a, b)}}}"
            assert verify(gold, parse(completion)) is (rule == row["rule"])


def test_every_wording_asks_for_both_rules_and_leans_as_documented():
    rows = ambiguous_arithmetic(8000).to_list()
    share = {}
    for wording in WORDINGS:
        rules = [row["rule"] for row in rows if row["wording"] == wording]
        share[wording] = rules.count("difference") / len(rules)
    for wording, lean in WORDINGS.items():
        assert share[wording] == pytest.approx(0.25 * (1 + 0.3 * lean), abs=0.05)


@pytest.mark.parametrize(("share", "rule"), [(0, "sum"), (1, "difference")])
def test_minority_share_at_its_ends(share, rule):
    assert set(ambiguous_arithmetic(50, minority_share=share, cue=0)["rule"]) == {rule}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "validation"}, "'train', 'probe', 'test'"),
        ({"num_prompts": 0}, "between 1 and"),
        ({"num_prompts": 100_000}, "between 1 and"),
        ({"minority_share": 0.9, "cue": 0.3}, "set minority_share between 0"),
        ({"minority_share": -0.1}, "set minority_share between 0"),
        ({"cue": 1.5}, "cue between -1 and 1"),
    ],
)
def test_refuses_what_it_cannot_draw(settings, words):
    with pytest.raises(ValueError, match=words):
        ambiguous_arithmetic(**{"num_prompts": 10, **settings})


def test_a_misspelt_rule_is_named():
    with pytest.raises(ValueError, match=r"shares has \['differnce'\]: set the rules sum, difference, first, second"):
        many_strategies(10, shares={"sum": 0.5, "differnce": 0.5})
