"""The LM head, evaluated separately from the backbone."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from passk_trl.gradients import gram_matrix
from policies import GROUPED, qwen, relative_error, rollouts


def test_capped_logits():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=2.0))
    data = rollouts()
    measured = gram_matrix(model, data, pad_token_id=0, temperature=0.7)
    reference = gram_matrix(model, data, pad_token_id=0, temperature=0.7, method="parameters")
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, reference.gram_NN) < 1e-5


def double(_module, _inputs, output):
    return output * 2


def square(_module, _inputs, output):
    return output + output.square()


@pytest.mark.parametrize("change", [double, square])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_head_that_is_more_than_linear(change, tied):
    model, data = qwen(tie_word_embeddings=tied), rollouts()
    model.lm_head.register_forward_hook(change)
    measured = gram_matrix(model, data, 0)
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, gram_matrix(model, data, 0, method="parameters").gram_NN) < 1e-5
