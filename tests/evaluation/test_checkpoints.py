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
    assert found.unscorable == [12]
    assert found.prompts == [
        {"id": 10, "difficulty": "always solved", "num_correct": (4, 3), "num_samples": (4, 4)},
        {"id": 11, "difficulty": "never solved", "num_correct": (1, 2), "num_samples": (4, 4)},
        {"id": 13, "difficulty": "half or more", "num_correct": (3, 0), "num_samples": (4, 4)},
    ]
    assert found.overall.num_prompts == 3
    assert found.about == {"seed": 3, "confidence": 0.9}
    # the groups are measured on the other half of the rollouts, which has pass@2 at most
    assert {name: group.largest_k for name, group in found.by_difficulty.items()} == {
        "never solved": 2,
        "half or more": 2,
        "always solved": 2,
    }
    assert found.by_difficulty["never solved"].pass_at_k.policies[0].value[0] == pytest.approx(0.5)


def test_labels_take_the_place_of_bands():
    found = report(label_column="level", labels=[2, 1, 1, 2])
    assert found.difficulty == "`level`"
    assert {name: group.num_prompts for name, group in found.by_difficulty.items()} == {"1": 1, "2": 2}
    assert found.by_difficulty["2"].largest_k == 4  # all rollouts measure


def test_a_k_of_more_rollouts_than_there_are_is_refused():
    with pytest.raises(ValueError, match="pass@5 has no unbiased estimate from 4 rollouts"):
        report(ks=[5])


def test_nothing_is_made_of_prompts_that_could_not_be_scored():
    with pytest.raises(ValueError, match="there is no prompt to evaluate"):
        evaluate_checkpoints(["one"], [{0: None}], [0], [1], 0.95, {})
