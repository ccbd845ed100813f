"""Heads that scale or cap logits, are tied, resized, unused or partly frozen, and embeddings with a padding row."""

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
)

from by_definition import assert_measured_whole, gram_by_definition, perturbed, state_of
from passk_trl.gradients import gram_matrix
from policies import GROUPED, qwen, relative_error, rollouts


HEADS = {
    "cohere": (CohereConfig, CohereForCausalLM, {"logit_scale": 0.25}),
    "granite": (GraniteConfig, GraniteForCausalLM, {"logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"final_logit_softcapping": 2.0, "head_dim": 8}),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, {"final_logit_softcapping": 2.0, "head_dim": 8}),
}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", HEADS)
def test_scaled_and_capped_logits(family, tied):
    torch.manual_seed(0)
    config, causal_lm, settings = HEADS[family]
    model = perturbed(causal_lm(config(**GROUPED, tie_word_embeddings=tied, **settings)))
    assert_measured_whole(model, rollouts(), temperature=0.7)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("vocabulary", [45, 64])
def test_a_resized_vocabulary(vocabulary, tied):
    model = qwen(tie_word_embeddings=tied)
    model.resize_token_embeddings(vocabulary)
    assert_measured_whole(model, rollouts(vocabulary=45))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_padding_row(tied):
    assert_measured_whole(qwen(pad_token_id=7, tie_word_embeddings=tied), rollouts())


@pytest.mark.parametrize(
    "frozen", ["lm_head", "embed_tokens", "layers", "layers.0", "norm", "_proj", "bias"], ids=lambda name: f"no {name}"
)
def test_a_partly_frozen_model(frozen):
    model = qwen(tie_word_embeddings=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    assert_measured_whole(model, rollouts())


@pytest.mark.parametrize("parameters", ["embed_tokens", "lm_head", r"lm_head\.weight$"])
def test_a_regular_expression_that_names_one_role_of_a_tied_weight_selects_both(parameters):
    model, data = qwen(), rollouts()
    expected_NN = gram_by_definition(model, data, is_chosen=lambda name: name == "model.embed_tokens.weight")
    measured = gram_matrix(model, data, pad_token_id=0, parameters=parameters)
    assert relative_error(measured.gram_NN, expected_NN) < 1e-5
    assert measured.coverage.total == model.lm_head.weight.numel()


def test_a_head_that_is_never_called_has_no_gradient():
    model, data = qwen(), rollouts()
    expected_NN = gram_by_definition(model, data)
    model.value_head = nn.Linear(32, 1)
    before = state_of(model)
    measured = gram_matrix(model, data, pad_token_id=0)
    assert state_of(model) == before
    assert relative_error(measured.gram_NN, expected_NN) < 1e-5


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_the_batch_size_does_not_matter(batch_size):
    assert_measured_whole(qwen(), rollouts(), batch_size=batch_size)
