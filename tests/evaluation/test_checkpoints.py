"""From success by prompt to a report: prompts that could not be scored are left out, each other is in one group."""

import pytest

from passk_trl.evaluation import evaluate_checkpoints


SUCCESSES = [
    {0: [1, 1, 1, 1], 1: [0, 0, 1, 0], 2: None, 3: [1, 0, 1, 1]},
    {0: [1, 0, 1, 1], 1: [0, 1, 1, 0], 2: [1, 1, 1, 1], 3: [0, 0, 0, 0]},
]


def report(**changes):
    arguments = {"ks": [1, 4], "confidence": 0.9, "about": {"seed": 3}, **changes}
    return evaluate_checkpoints(["one", "other"], SUCCESSES, [10, 11, 12, 13], **arguments)


def test_each_scored_prompt_is_in_one_group():
    found = report()
    assert found.unscorable_rows == [12]
    assert found.prompts == [
        {"row": 10, "difficulty": "always solved", "num_correct": [4, 3]},
        {"row": 11, "difficulty": "never solved", "num_correct": [1, 2]},
        {"row": 13, "difficulty": "half or more", "num_correct": [3, 0]},
    ]
    assert found.overall.num_prompts == 3
    assert found.about == {"seed": 3, "confidence": 0.9}
    # the groups are measured on the other half of the rollouts, which has no pass@4
    assert {name: [of_k.k for of_k in group.differences] for name, group in found.by_difficulty.items()} == {
        "never solved": [1],
        "half or more": [1],
        "always solved": [1],
    }
    assert found.by_difficulty["never solved"].policies[0][0].value == pytest.approx(0.5)


def test_labels_take_the_place_of_bands():
    found = report(label_column="level", labels=[2, 1, 1, 2])
    assert found.difficulty == "`level`"
    assert {name: group.num_prompts for name, group in found.by_difficulty.items()} == {"1": 1, "2": 2}
    assert [of_k.k for of_k in found.by_difficulty["2"].differences] == [1, 4]  # all rollouts measure


def test_no_group_can_be_measured_at_a_k_of_more_than_half_the_rollouts():
    assert report(ks=[4]).by_difficulty == {}


def test_nothing_is_made_of_prompts_that_could_not_be_scored():
    with pytest.raises(ValueError, match="there is no prompt to evaluate"):
        evaluate_checkpoints(["one"], [{0: None}], [0], [1], 0.95, {})
