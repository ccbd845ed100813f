"""Made-up probes: Gram matrices and counts, typical and extreme, and reports with a given curve."""

import itertools

import pytest
import torch

from passk_trl.interference import InterferenceReport, measure_interference
from passk_trl.interference.intervals import student_t
from passk_trl.interference.onset import interval_of_onset


def random_probe(seed, num_prompts=7, n=6, dimension=4):
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(num_prompts, dimension, generator=generator, dtype=torch.float64) + 0.7
    num_correct = torch.randint(0, n + 1, (num_prompts,), generator=generator)
    sampling_weights = torch.rand(num_prompts, generator=generator, dtype=torch.float64) + 0.5
    return gradients @ gradients.T, num_correct, n, sampling_weights


N, ROLLOUTS = 6, 8
MIXED = torch.tensor([3.0, -1.0, 2.0, 0.5, -2.5, 1.0]).double()
GRAMS = {
    "identity": torch.eye(N).double(),
    "zero": torch.zeros(N, N).double(),
    "ones": torch.ones(N, N).double(),
    "rank-one": torch.outer(MIXED, MIXED),
    "opposed": torch.outer(MIXED.sign(), MIXED.sign()) + 0.1 * torch.eye(N).double(),
    "random": random_probe(3, N)[0],
    "not-semidefinite": random_probe(4, N)[0] - 3,
    "tiny": 1e-150 * random_probe(5, N)[0],
    "huge": 1e100 * random_probe(6, N)[0],
}
COUNTS = {"spread": [0, 1, 3, 5, 7, 8], "none": [0] * N, "all": [ROLLOUTS] * N, "hard-opposed": [6, 1, 7, 5, 0, 8]}
every_probe = pytest.mark.parametrize(
    ("gram", "counts", "estimator"),
    [
        pytest.param(gram, counts, estimator, id=f"{a}-{b}-{estimator}")
        for (a, gram), (b, counts), estimator in itertools.product(
            GRAMS.items(), COUNTS.items(), ["unbiased", "plugin"]
        )
    ],
)


def assert_same_curves(report, expected, names):
    for name in names:
        value, wanted = getattr(report, name), getattr(expected, name)
        scale = 1e-9 * wanted.double().abs().nan_to_num().max().item()
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=scale, equal_nan=True)


def report_with_curve(inner_product: list[float], margin: float, sign: float = 1.0) -> InterferenceReport:
    """A report whose interval is ± `margin`, at k = 1, 2, 3 …"""
    report = measure_interference(torch.eye(3), [1, 1, 1], len(inner_product) + 1)
    values, factor = torch.tensor(inner_product, dtype=torch.float64), student_t(0.95, 2)
    turns = [k for k in range(1, len(values)) if values[k] < 0 <= values[k - 1]]
    onset = turns[0] + float(values[turns[0] - 1] / (values[turns[0] - 1] - values[turns[0]])) if turns else None
    changed = {
        "inner_product": values,
        "inner_product_se": torch.full_like(values, margin) / factor,
        "band_factor": factor,
        "onset": onset,
        "onset_interval": interval_of_onset(report.ks, values - margin, values + margin, onset),
    }
    return InterferenceReport(**{**vars(report), "agreement": values[:3].abs() * sign, **changed})


def random_gram(num_prompts: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(num_prompts, 6, generator=generator, dtype=torch.float64) + 0.3
    return gradients @ gradients.T


# Four prompts of one-dimensional gradients 1, 1, 1 and -2, from 4 rollouts each: three easy ones, one hard.
FOUR_GRADIENTS = torch.tensor([1.0, 1.0, 1.0, -2.0], dtype=torch.float64)
FOUR_GRAM = FOUR_GRADIENTS[:, None] * FOUR_GRADIENTS
FOUR_CORRECT = torch.tensor([3, 3, 3, 1])
