"""The exact success of the quickstart policy: it does not depend on padding, and rollouts agree with it."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from exact_success import prompt_ids, success, success_gradients
from passk_trl.tasks import ambiguous_arithmetic
from plugin_versus_unbiased import sampled


ROWS = list(ambiguous_arithmetic(64, split="probe"))


@torch.no_grad()
def test_rollouts_agree_with_it(policy_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy_path), AutoTokenizer.from_pretrained(policy_path)
    exact = success(model, tokenizer, ROWS).double()
    one_by_one = torch.cat([success(model, tokenizer, [row]) for row in ROWS]).double()
    assert torch.allclose(exact, one_by_one, rtol=1e-4)
    torch.manual_seed(0)
    rollouts = sampled(model, tokenizer, ROWS, [prompt_ids(tokenizer, row) for row in ROWS], num_rollouts=64)
    difference = rollouts.success_NG.mean(dim=1) - exact
    error = (exact * (1 - exact) / 64).sqrt()
    assert (difference.abs() < 4.5 * error + 1e-9).all()
    assert abs(difference.mean()) < 4 * error.square().mean().sqrt() / 8


def test_its_gradient_is_that_of_the_success(policy_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(policy_path), AutoTokenizer.from_pretrained(policy_path)
    p_N, gradient_ND = success_gradients(model, tokenizer, ROWS[:2])
    step = 1e-3 * gradient_ND[0] / gradient_ND[0].norm()
    with torch.no_grad():
        flat = torch.nn.utils.parameters_to_vector(model.parameters())
        torch.nn.utils.vector_to_parameters(flat + step.float(), model.parameters())
        after = success(model, tokenizer, ROWS[:2]).double()
    assert torch.allclose(after - p_N, gradient_ND @ step, rtol=0.05, atol=1e-5)
