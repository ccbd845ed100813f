"""Groups of prompts by difficulty: no luck taken for difficulty, labels in their own order."""

import math

import numpy as np
import pytest
import torch

from passk_trl.evaluation import evaluate_counts, group_by_label, split_by_success
from success_counts import counts_of


def test_bands_do_not_mistake_luck_for_difficulty():
    """Prompts that are all alike fare alike in every band, but not on the rollouts that chose the bands."""
    success_NG = torch.from_numpy(np.random.default_rng(11).binomial(1, 0.4, size=(4000, 8)))
    bands, measuring = split_by_success(success_NG)
    assert list(bands) == ["never solved", "below half", "half or more", "always solved"]
    assert sorted(i for prompts in bands.values() for i in prompts) == list(range(4000))
    for prompts in bands.values():
        evaluation = evaluate_counts([counts_of(success_NG[prompts, measuring].sum(dim=1), 4)], num_resamples=10)
        pass_at_1 = evaluation.pass_at_k.policies[0].value[0]
        assert pass_at_1 == pytest.approx(0.4, abs=3 * math.sqrt(0.24 / (4 * len(prompts))))
    assert success_NG[bands["never solved"], :4].sum() == 0


def test_difficulties_are_in_their_own_order():
    assert list(group_by_label([10, 9, 10])) == ["9", "10"]
    assert group_by_label(["hard", "easy", "hard"]) == {"easy": [1], "hard": [0, 2]}
