"""The frontier that the mitigation benchmark publishes: it cannot be crossed, and it can be reached."""

from itertools import product

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from exact_success import success
from frontier import Skills, best_pass_at_k, expected_pass_at_k, reachable_gain, skills_of
from passk_trl.tasks import ambiguous_arithmetic


def some_skills(applied: list[list[float]]) -> Skills:
    applied_N2 = torch.tensor(applied, dtype=torch.float64)
    odds_N2 = torch.tensor([[0.8, 0.2], [0.7, 0.3]], dtype=torch.float64)
    return Skills(torch.full((2, 2), 0.5, dtype=torch.float64), applied_N2, odds_N2)


@pytest.mark.parametrize("pass1", [0.3, 0.45, 0.55])
def test_no_choice_of_rules_crosses_the_frontier_and_one_reaches_it(pass1):
    skills = some_skills([[0.9, 0.3], [0.8, 0.6]])
    shares = torch.linspace(0, 1, 201, dtype=torch.float64)
    reached = []
    for first, second in product(shares.tolist(), repeat=2):
        named_N2 = torch.tensor([[1 - first, first], [1 - second, second]], dtype=torch.float64)
        if float(expected_pass_at_k(skills, 1, named_N2).mean()) >= pass1:
            reached.append(float(expected_pass_at_k(skills, 8, named_N2).mean()))
    best = best_pass_at_k(skills, 8, pass1)
    assert (
        best - 2e-3 < max(reached) < best + 1e-5
    )  # with two questions the grid is coarse, so its best is a bit lower


def test_a_pass1_above_every_choice_is_out_of_reach():
    assert torch.tensor(best_pass_at_k(some_skills([[0.5, 0.5]] * 2), 8, 0.9)).isnan()


def test_more_skill_allows_a_larger_gain():
    start, learnt = some_skills([[0.9, 0.3]] * 2), some_skills([[0.95, 0.7]] * 2)
    assert reachable_gain(start, learnt, 8) > reachable_gain(start, start, 8) > 0


def test_success_is_the_product_of_the_skills(policy_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy_path), AutoTokenizer.from_pretrained(policy_path)
    rows = ambiguous_arithmetic(32, split="test").to_list()
    measured = skills_of(model, tokenizer, rows)
    asked_N2 = torch.tensor([[row["rule"] == rule for rule in ("sum", "difference")] for row in rows]).double()
    with torch.no_grad():
        exact_N = success(model, tokenizer, rows).double()
    # Success also counts right answers under the wrong rule's name. There are almost none.
    torch.testing.assert_close(expected_pass_at_k(measured._replace(odds_N2=asked_N2), 1), exact_N, rtol=0, atol=0.02)
    assert measured.odds_N2.sum(dim=1).eq(1).all()
    assert measured.odds_N2[:, 1].min() < 0.2 < 0.3 < measured.odds_N2[:, 1].max()
