"""Gold answers that a verifier cannot read are named before training starts."""

import pytest
from datasets import Dataset

from passk_trl.rewards import (
    accuracy_reward,
    exact_match_reward,
    first_line_reward,
    multiple_choice_reward,
    quantity_reward,
    short_answer_reward,
    token_f1_reward,
)
from passk_trl.rewards.golds import check_golds


def prompts(**columns) -> Dataset:
    return Dataset.from_dict({"prompt": ["?"] * len(columns["solution"]), **columns})


@pytest.mark.parametrize(
    ("reward", "columns"),
    [
        (short_answer_reward, {"solution": [["Paris"], []]}),
        (token_f1_reward, {"solution": [{"text": ["Paris"], "answer_start": [0]}, {"text": [], "answer_start": []}]}),
        (multiple_choice_reward, {"solution": ["B", "?"]}),
        (multiple_choice_reward, {"solution": [0, 1], "choices": [["Rome", "Paris"]] * 2}),
        (quantity_reward, {"solution": ["5 km", "5 apples"]}),
        (exact_match_reward, {"solution": ["", None]}),
        (accuracy_reward, {"solution": ["no formula"]}),  # not tried
        (short_answer_reward, {"solution": []}),
    ],
)
def test_what_can_be_read_in_part_passes(reward, columns):
    check_golds(reward, prompts(**columns), "train prompts")


@pytest.mark.parametrize(
    ("reward", "columns", "words"),
    [
        (
            short_answer_reward,
            {"solution": [{"answer": "Paris"}]},
            r"^train prompts: solution is \"\{'answer': 'Paris'\}",
        ),
        (
            exact_match_reward,
            {"solution": [["ab"]]},
            r"^train prompts: solution is .* of type list: set it to one",
        ),
        (first_line_reward, {"solution": [{"text": "ab"}]}, r"of type dict: set it to one string, or reward_funcs to"),
        (first_line_reward, {"solution": [None]}, r"^first_line_reward can read none"),
        (
            multiple_choice_reward,
            {"solution": [0, 1]},
            r"^train prompts: solution is the index 0, but there are no choi",
        ),
        (
            multiple_choice_reward,
            {"solution": [2], "choices": [["Rome", "Paris"]]},
            r"^train prompts: .*between 0 and 1",
        ),
        (
            multiple_choice_reward,
            {"solution": ["Paris", "Rome"]},
            r"can read none of the gold answers .* such as 'Paris'",
        ),
        (quantity_reward, {"solution": ["5 apples"]}, r"^quantity_reward can read none .*set reward_funcs to another"),
        (
            short_answer_reward,
            {"solution": [[], []]},
            r"^short_answer_reward can read none of the gold answers of the tr",
        ),
    ],
)
def test_what_cannot_be_read_is_named(reward, columns, words):
    with pytest.raises(ValueError, match=words):
        check_golds(reward, prompts(**columns), "train prompts")
