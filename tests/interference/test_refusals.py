"""A measure refuses what is out of range, and says what is wrong."""

import math

import pytest
import torch

from passk_trl.interference import measure_interference
from probes import COUNTS, ROLLOUTS, N


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": torch.zeros(2, 2), "num_correct": [0, 0]}, "`gram` must be a square matrix over at least 3 prompts"),
        ({"gram": torch.zeros(6)}, "`gram` must be a square"),
        ({"gram": torch.zeros(6, 5)}, r"but got shape \(6, 5\)"),
        ({"gram": torch.eye(6).index_fill(0, torch.tensor([1, 4]), math.nan)}, r"rows \[1, 4\]: leave them out"),
        ({"gram": torch.eye(6) + torch.tensor([[0.0] * 5 + [0.1]] + [[0.0] * 6] * 5)}, "`gram` must be symmetric"),
        ({"num_correct": [0, 1, 2, 3, 4, 9]}, "`num_correct` must be from 0 to 8 .* prompt 5, but got 9"),
        ({"num_correct": [0, 1, 2, 3, 4, -1]}, "but got -1"),
        ({"num_correct": [0, 1, 2, 3, 4, 0.5]}, "`num_correct` must be a whole number"),
        ({"num_correct": [0, 1, 2]}, "for each of 6 prompts"),
        ({"num_samples": [8, 8]}, "`num_samples` must be a whole number for each of 6 prompts"),
        ({"num_samples": 1, "num_correct": [0] * 6}, "`num_samples` must be at least 2"),
        ({"ks": [1, 8]}, "`ks` must be at most 7 with 8 rollouts .* but got 8: .* Probe with more"),
        ({"ks": [2, 1]}, "`ks` must be strictly increasing"),
        ({"ks": [2, 2]}, "`ks` must be strictly increasing"),
        ({"ks": [0.5, 2]}, "of at least 1"),
        ({"ks": []}, "`ks` must be"),
        ({"confidence": 95}, "`confidence` must be between 0 and 1"),
        ({"estimator": "exact"}, "`estimator` must be 'unbiased' or 'plugin', but got 'exact'"),
        ({"sampling_weights": [1.0, 2.0]}, "one entry for each of 6 prompts"),
        ({"sampling_weights": [1.0, 1.0, 1.0, 1.0, 1.0, -1.0]}, "`sampling_weights` must be finite, non-negative"),
        ({"sampling_weights": [0.0] * 6}, "not all zero"),
    ],
)
def test_refusals_say_what_is_wrong(change, message):
    arguments = {"gram": torch.eye(N), "num_correct": COUNTS["spread"], "num_samples": ROLLOUTS} | change
    with pytest.raises(ValueError, match=message):
        measure_interference(**arguments)
