"""Weights in half precision: about as far from the gradients of float32 as autograd itself is."""

import copy
from typing import Any

import pytest
import torch
from transformers import GemmaConfig, GemmaForCausalLM, MixtralConfig, MixtralForCausalLM

from by_definition import gram_by_definition
from passk_trl.gradients import gram_matrix
from policies import GROUPED, qwen, relative_error, rollouts


def mixtral() -> Any:
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2))


def gemma() -> Any:
    torch.manual_seed(0)
    return GemmaForCausalLM(GemmaConfig(**GROUPED, head_dim=8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("policy", [qwen, gemma, mixtral])
def test_half_precision(policy, dtype):
    rounded, data = policy().to(dtype), rollouts()
    expected_NN = gram_by_definition(copy.deepcopy(rounded).float(), data)
    error_of_autograd = relative_error(gram_by_definition(rounded, data), expected_NN)
    measured = gram_matrix(rounded, data, pad_token_id=0)
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, expected_NN) < 3 * error_of_autograd
