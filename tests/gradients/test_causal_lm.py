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
    # Its embedding is scaled, so no rule covers it: it is named and left out, also in its role as the head.
    assert measured.coverage.left_out == reference.coverage.left_out == ("model.embed_tokens.weight",)
    assert relative_error(measured.gram_NN, reference.gram_NN) < 1e-5


def test_a_head_that_is_more_than_linear_is_refused():
    model = qwen(tie_word_embeddings=False)
    model.lm_head.register_forward_hook(lambda _m, _i, output: output * 2)
    with pytest.raises(ValueError, match="method='parameters'"):
        gram_matrix(model, rollouts(), 0)
