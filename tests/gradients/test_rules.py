"""The rules of each kind of layer, and when they are trusted."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from passk_trl.gradients import gram_matrix
from policies import SHAPE, VOCABULARY, qwen, relative_error, rollouts


def test_layer_norms_with_bias_and_an_untied_head_with_none():
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, hidden_dropout=0.1))
    for parameter in model.parameters():  # biases and norms start at 0 and 1, which hides mistakes
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    data = rollouts()
    measured = gram_matrix(model, data, pad_token_id=0, batch_size=2)
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, gram_matrix(model, data, 0, method="parameters").gram_NN) < 1e-5


def test_gpt2_is_in_closed_form():
    model, data = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_head=2)), rollouts()
    measured = gram_matrix(model, data, pad_token_id=0)
    assert (measured.coverage.fraction, measured.coverage.in_graph) == (1, 0)
    assert relative_error(measured.gram_NN, gram_matrix(model, data, 0, method="parameters").gram_NN) < 1e-5


def test_a_selection_of_modules():
    model, data = qwen(), rollouts()
    chosen = gram_matrix(model, data, 0, parameters=r"q_proj|v_proj")
    reference = gram_matrix(model, data, 0, parameters=r"q_proj|v_proj", method="parameters")
    assert relative_error(chosen.gram_NN, reference.gram_NN) < 1e-5
    assert chosen.coverage.total == sum(
        p.numel() for name, p in model.named_parameters() if "q_proj" in name or "v_proj" in name
    )
    with pytest.raises(ValueError, match=r"parameters='no_such' selects no trainable parameter"):
        gram_matrix(model, data, 0, parameters="no_such")


def test_a_padding_row_of_the_embedding_has_no_gradient():
    model, data = qwen(pad_token_id=7), rollouts()
    reference = gram_matrix(model, data, 0, method="parameters").gram_NN
    assert relative_error(gram_matrix(model, data, 0).gram_NN, reference) < 1e-5
