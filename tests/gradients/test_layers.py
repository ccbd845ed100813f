"""The rules of each kind of layer, and which layers they cover."""

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


def test_layers_of_another_kind_are_named():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match=r"'transformer.wpe' mixes the tokens of all rollouts.*set parameters"):
        gram_matrix(model, rollouts(), pad_token_id=0)  # one row of positions for all rollouts
    coverage = gram_matrix(model, rollouts(), pad_token_id=0, parameters="attn|mlp|ln|wte").coverage
    assert "transformer.h.0.attn.c_attn.weight" in coverage.left_out  # a Conv1D
    assert 0 < coverage.fraction < 1
    assert coverage.total == sum(p.numel() for name, p in model.named_parameters() if "wpe" not in name)


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
