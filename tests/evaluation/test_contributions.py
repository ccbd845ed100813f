"""The prompts behind a difference: all of it is accounted for, the largest come first."""

import numpy as np
import pytest
import torch

from passk_trl.evaluation import evaluate_counts, find_contributions
from success_counts import N, counts_of, drawn_counts, drawn_rates, n


def test_gain_and_loss_add_up_to_the_difference():
    rng = np.random.default_rng(0)
    counts = [counts_of(drawn_counts(rng, drawn_rates(rng))) for _ in range(2)]
    difference = evaluate_counts(counts, num_resamples=10).pass_at_k.difference
    for k in (1, 5, n):
        found = find_contributions(range(N), counts, k)
        assert found.gain + found.loss == pytest.approx(difference.value[k - 1])
        assert found.loss < 0 < found.gain
        assert 0 < found.num_gaining + found.num_losing <= N


def test_the_largest_come_first_with_their_counts():
    counts = [counts_of(torch.tensor(c), 4) for c in ([4, 3, 0, 0, 2, 1], [0, 0, 1, 3, 2, 0])]
    at_1, at_4 = (find_contributions("abcdef", counts, k) for k in (1, 4))
    assert [prompt.id for prompt in at_1.most_gaining] == ["a", "b", "f"]
    assert [prompt.id for prompt in at_1.most_losing] == ["d", "c"]
    assert (at_1.num_gaining, at_1.num_losing) == (3, 2)
    first = at_1.most_losing[0]
    assert (first.num_correct, first.num_samples, first.difference) == ([0, 3], [4, 4], pytest.approx(-0.75))
    # at k = 4 each is 1 or −1, and pass@1 decides the order
    assert [prompt.id for prompt in at_4.most_gaining] == ["a", "b", "f"]
    assert [prompt.difference for prompt in at_4.most_gaining] == [1, 1, 1]
    assert [prompt.id for prompt in at_4.most_losing] == ["d", "c"]


def test_no_more_than_five_are_listed():
    counts = [counts_of(torch.full((9,), c)) for c in (n, 0)]
    found = find_contributions(range(9), counts, 2)
    assert (len(found.most_gaining), found.num_gaining, found.most_losing) == (5, 9, [])
