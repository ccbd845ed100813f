"""The limit that the mitigation benchmark publishes: nobody can be beyond it, and it can be reached."""

from itertools import product

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from exact_success import success
from frontier import Skills, best_pass_at_k, expected_pass_at_k, reachable_gain, skills
from passk_trl.tasks import ambiguous_arithmetic


def some_skills(applied: list[list[float]]) -> Skills:
    applied_N2 = torch.tensor(applied, dtype=torch.float64)
    odds_N2 = torch.tensor([[0.8, 0.2], [0.7, 0.3]], dtype=torch.float64)
    return Skills(torch.full((2, 2), 0.5, dtype=torch.float64), applied_N2, odds_N2)


@pytest.mark.parametrize("pass1", [0.3, 0.45, 0.55])
def test_no_way_to_name_the_rules_is_beyond_the_frontier_and_one_is_on_it(pass1):
    of = some_skills([[0.9, 0.3], [0.8, 0.6]])
    shares = torch.linspace(0, 1, 201, dtype=torch.float64)
    reached = []
    for first, second in product(shares.tolist(), repeat=2):
        named_N2 = torch.tensor([[1 - first, first], [1 - second, second]], dtype=torch.float64)
        if float(expected_pass_at_k(of, 1, named_N2).mean()) >= pass1:
            reached.append(float(expected_pass_at_k(of, 8, named_N2).mean()))
    best = best_pass_at_k(of, 8, pass1)
    assert best - 2e-3 < max(reached) < best + 1e-5  # two questions, so the grid's steps are coarse from below


def test_a_pass1_that_no_way_has_is_out_of_reach():
    assert torch.tensor(best_pass_at_k(some_skills([[0.5, 0.5]] * 2), 8, 0.9)).isnan()


def test_who_learns_more_can_reach_more():
    start, learnt = some_skills([[0.9, 0.3]] * 2), some_skills([[0.95, 0.7]] * 2)
    assert reachable_gain(start, learnt, 8) > reachable_gain(start, start, 8) > 0


def test_skills_are_what_success_is_made_of(policy_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy_path), AutoTokenizer.from_pretrained(policy_path)
    rows = ambiguous_arithmetic(32, split="test").to_list()
    of = skills(model, tokenizer, rows)
    asked_N2 = torch.tensor([[row["rule"] == rule for rule in ("sum", "difference")] for row in rows]).double()
    with torch.no_grad():
        exact_N = success(model, tokenizer, rows).double()
    # Success also counts a right answer under the wrong rule's name, of which there is next to none.
    torch.testing.assert_close(expected_pass_at_k(of._replace(odds_N2=asked_N2), 1), exact_N, rtol=0, atol=0.02)
    assert of.odds_N2.sum(dim=1).eq(1).all()
    assert of.odds_N2[:, 1].min() < 0.2 < 0.3 < of.odds_N2[:, 1].max()
