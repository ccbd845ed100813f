"""A report has the curves of all prompts, and the prompts behind their difference."""

import numpy as np
import pytest

from evaluations import report
from passk_trl.evaluation import evaluate_counts
from passk_trl.evaluation.evaluation_report import report_on
from success_counts import N, counts_of, drawn_counts


def test_a_comparison_has_the_prompts_at_1_and_at_the_largest_k():
    found = report()
    assert (found.ks, [each.k for each in found.contributions]) == ([1, 2, 4, 8, 16], [1, 16])
    assert len(found.prompts) == found.overall.num_prompts == N
    assert report(num_policies=1).contributions == []


def test_the_curves_are_those_of_the_counts_and_the_seed():
    counts = [counts_of(drawn_counts(np.random.default_rng(0), np.full(N, 0.5)))]
    found = report_on(["one"], {}, range(N), counts, [2], 0.9, seed=5)
    assert found.overall == evaluate_counts(counts, 0.9, seed=5)
    assert found.ks == [2]


def test_a_k_of_more_than_the_fewest_rollouts_is_refused():
    counts = [counts_of(drawn_counts(np.random.default_rng(0), np.full(N, 0.5)))]
    with pytest.raises(ValueError, match="pass@17 has no unbiased estimate from 16 rollouts"):
        report_on(["one"], {}, range(N), counts, [17], 0.9)
