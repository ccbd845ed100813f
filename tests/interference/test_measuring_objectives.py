"""The conflict of other objectives with pass@1, against that of pass@k and against exact enumeration."""

from fractions import Fraction

import pytest
import torch

from bandit_world import PHI, SUCCESS, dot, exact_prompt_states
from objective_zoo import exact_weight
from passk_trl.interference import measure_interference, measure_objectives
from passk_trl.objectives import objective_from
from probes import random_gram
from reward_groups import as_fraction


@pytest.mark.parametrize("sketches", [1, 4])
def test_pass_at_k_as_an_objective_has_the_numbers_of_its_k(sketches):
    """Also with a sketched Gram matrix and sampling weights. Prompts without contrast have ĝ = 0."""
    counts, n = [0, 1, 3, 8, 6, 2, 5, 4, 7, 1, 2, 6], 8
    with_contrast = torch.tensor([0 < c < n for c in counts])
    gram = torch.stack([random_gram(12, seed) for seed in range(sketches)])
    gram = gram * with_contrast * with_contrast[:, None]
    sampling = torch.linspace(0.5, 2, 12, dtype=torch.float64)
    report = measure_interference(gram, counts, n, sampling_weights=sampling)
    objectives = [objective_from(f"pass@{k:g}") for k in report.ks.tolist()]
    measured = measure_objectives(gram, counts, n, objectives, sampling_weights=sampling)
    columns = {
        "inner_product": report.inner_product,
        "inner_product_low": report.inner_product_low,
        "inner_product_high": report.inner_product_high,
        "norm_squared": report.norm_squared,
        "cosine": report.cosine,
        "cosine_low": report.cosine_low,
        "cosine_high": report.cosine_high,
    }
    for column, expected in columns.items():
        actual = torch.tensor([getattr(each, column) for each in measured], dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    assert [each.conflict for each in measured] == report.conflict.tolist()


@pytest.mark.parametrize("name", ["majority@3", "power:2", "pass@3", "maxrl@3"])
def test_the_inner_product_is_unbiased_by_exact_enumeration(name):
    """Three prompts of two types, four rollouts each, every outcome: E[I_f] = ⟨∇J_f, ∇J_1⟩ in rational numbers."""
    n, share = 4, Fraction(1, 2)
    states = exact_prompt_states(n, (0, 0), (share, share))
    omega = [
        as_fraction(w) for w in objective_from(name).gradient_weight(torch.tensor(n), torch.arange(n + 1)).tolist()
    ]
    mean = {weighted: [sum(chance * (omega[c] if weighted else 1) * g[axis] for (_, c, g), chance in states.items())
                       for axis in range(3)] for weighted in (True, False)}  # fmt: skip
    gradients = [[p * (1 - p) * x for x in phi] for p, phi in zip(SUCCESS, PHI, strict=True)]
    of_f, of_1 = (
        [share * sum(w * g[axis] for w, g in zip(weights, gradients, strict=True)) for axis in range(2)]
        for weights in ([exact_weight(name, p) for p in SUCCESS], [1, 1])
    )
    # Two different prompts are independent, so the expectation over pairs is the product of the two means.
    assert dot(mean[True], mean[False]) == dot(of_f, of_1)

    prompts = list(states)[:3]
    gram = torch.tensor([[float(dot(g, h)) for _, _, h in prompts] for _, _, g in prompts], dtype=torch.float64)
    [measured] = measure_objectives(gram, [c for _, c, _ in prompts], n, [objective_from(name)])
    pairs = [(a, b) for a in prompts for b in prompts if a is not b]
    expected = sum(omega[a[1]] * dot(a[2], b[2]) for a, b in pairs) / len(pairs)
    assert measured.inner_product == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_objectives_that_agree_and_that_conflict():
    """A quarter of the prompts are rarely solved and oppose the others: objectives that favour them oppose pass@1."""
    side = torch.tensor([1.0] * 72 + [-1.0] * 24)
    measured = measure_objectives(
        side[:, None] * side, [7] * 72 + [1] * 24, 8, list(map(objective_from, ["power:2", "pass@6", "maxrl"]))
    )
    assert [each.conflict for each in measured] == [False, True, True]
    assert measured[0].inner_product_low > 0
    assert all(each.inner_product_low < each.inner_product < each.inner_product_high for each in measured)


def test_too_few_rollouts_for_an_objective_are_refused():
    with pytest.raises(ValueError, match=r"'majority@7', of 7 attempts, with 7 rollouts .*Probe with more"):
        measure_objectives(random_gram(6), [1] * 6, 7, [objective_from("majority@7")])
    assert measure_objectives(random_gram(6), [1] * 6, 7, []) == []
