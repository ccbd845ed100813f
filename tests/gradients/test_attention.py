"""Kinds of attention and of positions, whose rollouts are padded in a batch and are not in the definition."""

from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from by_definition import assert_measured_whole, perturbed
from passk_trl.gradients import gram_matrix
from policies import GROUPED, VOCABULARY, qwen, relative_error, rollouts


def attending(implementation: str) -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM._from_config(Qwen2Config(**GROUPED), attn_implementation=implementation)


def mistral(window: int) -> Any:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=window))


def gpt2(**config: Any) -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=2, **config))


def opt(word_embed_proj_dim: int) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"pad_token_id": 1, "bos_token_id": None, "eos_token_id": None}
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "word_embed_proj_dim": word_embed_proj_dim}
    return OPTForCausalLM(OPTConfig(**shape, **special, **sizes))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_an_implementation_of_attention(implementation):
    assert_measured_whole(attending(implementation), rollouts())


def test_flex_attention_says_itself_that_it_has_no_backward_pass_on_cpus():
    model = attending("flex_attention")
    with pytest.raises(NotImplementedError, match="does not support backward on CPU"):
        gram_matrix(model, rollouts(), pad_token_id=0)


@pytest.mark.parametrize("window", [2, 4])
def test_a_window_shorter_than_the_sequence(window):
    model, data = mistral(window), rollouts()
    shortened = assert_measured_whole(model, data).gram_NN
    assert relative_error(shortened, gram_matrix(mistral(64), data, pad_token_id=0).gram_NN) > 1e-2


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize(
    "policy",
    [gpt2, lambda: gpt2(scale_attn_by_inverse_layer_idx=True), lambda: opt(32), lambda: opt(16)],
    ids=["gpt2", "gpt2 with scaled attention", "opt", "opt with projections"],
)
def test_absolute_positions_count_from_the_first_token_and_not_from_the_padding(policy, batch_size):
    assert_measured_whole(perturbed(policy()), rollouts(), batch_size=batch_size)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant):
    model = qwen()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model.train()
    assert_measured_whole(model, rollouts())
    assert model.is_gradient_checkpointing


def test_dropout_is_off():
    model = gpt2(resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    assert_measured_whole(model, rollouts())
