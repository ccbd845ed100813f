"""Probe prompts: never also trained on, whatever their rows; stratified draws whose weights undo the strata."""

import pytest
import torch
from datasets import Dataset

from passk_trl.interference import measure_interference
from passk_trl.rollouts.probe_sets import (
    bands,
    draw_stratified,
    hold_out,
    overlap,
    stratum_weights,
    weights_of_kept,
)


def chat(text: str, system: str | None = None) -> list[dict]:
    return [{"role": "system", "content": system}] * (system is not None) + [{"role": "user", "content": text}]


def test_overlap_is_by_content_not_by_row():
    train = Dataset.from_dict({"prompt": [chat(f"{i}?") for i in range(10)]})
    probe = Dataset.from_dict({"prompt": [chat(f" {i}? ", system="x") for i in (20, 3, 21, 9)]})
    assert overlap(probe, train) == [1, 3]


def test_what_is_held_out_is_not_trained_on_even_where_rows_repeat():
    prompts = [f"{i % 30}?" for i in range(100)]  # each prompt three or four times
    train, probe = hold_out(Dataset.from_dict({"prompt": prompts, "row": list(range(100))}), 8, seed=1)
    assert len(probe) == len(set(probe["prompt"])) == 8
    assert overlap(train, probe) == []
    assert len(train) == 100 - sum(prompt in set(probe["prompt"]) for prompt in prompts)
    assert hold_out(Dataset.from_dict({"prompt": prompts}), 8, seed=1)[1]["prompt"] == probe["prompt"]
    assert hold_out(Dataset.from_dict({"prompt": prompts}), 8, seed=2)[1]["prompt"] != probe["prompt"]
    with pytest.raises(ValueError, match="30 prompts cannot be held out of 30 different ones"):
        hold_out(Dataset.from_dict({"prompt": prompts}), 30)


def test_bands_part_what_is_never_and_always_solved():
    assert bands([0, 0.1, 0.25, 0.3, 0.9, 1]) == [
        *("never", "0 to 0.25", "0 to 0.25", "0.25 to 0.5"),
        *("0.75 to 1", "always"),
    ]
    with pytest.raises(ValueError, match=r"a success rate is 1\.5"):
        bands([1.5])


def test_each_stratum_is_as_likely_and_the_weights_undo_it():
    strata = ["rare"] * 5 + ["common"] * 95
    rows = draw_stratified(strata, 20_000, torch.Generator().manual_seed(0))
    weights = stratum_weights(strata)[rows]
    rare = torch.tensor([row < 5 for row in rows])
    assert abs(rare.double().mean() - 0.5) < 0.02
    assert weights[rare].unique().tolist() == [pytest.approx(0.1)]
    assert weights[~rare].unique().tolist() == [pytest.approx(1.9)]
    values = torch.arange(100, dtype=torch.float64).square()
    assert abs((weights * values[rows]).mean() / values.mean() - 1) < 0.03


def test_a_row_is_repeated_only_where_its_stratum_has_no_other():
    strata = ["rare"] * 5 + ["common"] * 95
    for seed in range(20):
        rows = draw_stratified(strata, 40, torch.Generator().manual_seed(seed))
        common = [row for row in rows if row >= 5]
        assert len(set(common)) == len(common)
        times = [rows.count(row) for row in range(5)]
        assert max(times) - min(times) <= 1
    plain = draw_stratified([0] * 50, 50, torch.Generator().manual_seed(0))
    assert sorted(plain) == list(range(50))  # one stratum is a draw without strata


def test_weights_stay_as_they_are_if_all_prompts_were_measured():
    drawn = torch.tensor([0.2, 1.8, 0.2, 1.8], dtype=torch.float64)
    assert torch.equal(weights_of_kept(drawn, drawn), drawn)


def test_the_weights_of_what_could_be_measured_are_those_of_its_own_shares():
    """Half of the rare prompts cannot be measured. Of the others, s = (share in the data) / (share in the draw)."""
    strata = ["rare"] * 20 + ["common"] * 80
    weights = stratum_weights(strata)
    rows = draw_stratified(strata, 40_000, torch.Generator().manual_seed(0))
    kept = [row for row in rows if row >= 10]  # the first ten rare prompts cannot be measured
    found = weights_of_kept(weights[kept], weights[rows])
    in_data, in_draw = 10 / 90, sum(row < 20 for row in kept) / len(kept)
    assert found[torch.tensor([row < 20 for row in kept])].mean().item() == pytest.approx(in_data / in_draw, rel=0.02)
    assert found.mean().item() == pytest.approx(1, rel=0.02)


def test_stratified_probes_are_unbiased_for_the_data_as_it_is_and_surer():
    """A dataset with one in ten prompts that pull the other way, whose gradients and success are known."""
    generator = torch.Generator().manual_seed(0)
    hard = torch.arange(400) % 10 == 0
    gradient = torch.where(hard[:, None], torch.tensor([-1.0, 0.6]), torch.tensor([0.4, 0.3])).double()
    p, k, n, num_prompts = torch.where(hard, 0.1, 0.9).double(), 4, 8, 32
    weight = k * (1 - p) ** (k - 1)
    truth = float((weight[:, None] * gradient).mean(0) @ gradient.mean(0))
    strata = hard.tolist()

    def estimate(rows: list[int], weights: torch.Tensor | None) -> float:
        # Counts without their noise: n rollouts of which np are right would have ω_k ≈ the weight itself.
        correct = torch.binomial(torch.full((num_prompts,), float(n)).double(), p[rows], generator=generator)
        # ĝ = (c(n−c)/(n(n−1)) / p(1−p)) ∇p is unbiased for ∇p.
        size = correct * (n - correct) / (n * (n - 1)) / (p * (1 - p))[rows]
        rows_gradient = size[:, None] * gradient[rows]
        report = measure_interference(
            rows_gradient @ rows_gradient.T, correct.long(), n, [k], sampling_weights=weights
        )
        return report.inner_product.item()

    plain = torch.tensor(
        [estimate(torch.randint(400, (num_prompts,), generator=generator).tolist(), None) for _ in range(400)]
    )
    weights = stratum_weights(strata)
    draws = [draw_stratified(strata, num_prompts, generator) for _ in range(400)]
    stratified = torch.tensor([estimate(rows, weights[rows]) for rows in draws])
    for estimates in (plain, stratified):
        assert abs(estimates.mean() - truth) < 4 * estimates.std() / 400**0.5
    assert stratified.std() < plain.std()
