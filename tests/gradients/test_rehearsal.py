"""The rehearsal: what cannot be measured is said in one sentence, and what can passes without a trace."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

from passk_trl.gradients.rehearsal import depends_on_padding, rehearse
from policies import GROUPED, VOCABULARY, qwen


class _Hiding(torch.autograd.Function):
    """Multiplies by the weight of a layer, whose gradient it does not give to autograd."""

    @staticmethod
    def forward(ctx, hidden, layer):
        ctx.layer = layer
        return hidden @ layer.weight.T

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ ctx.layer.weight, None


class HiddenLinear(torch.nn.Linear):
    def forward(self, hidden):
        return _Hiding.apply(hidden, self)


def hiding():
    model = qwen()
    model.model.layers[1].mlp.down_proj = HiddenLinear(48, 32, bias=False)
    return model


def test_parameters_that_a_custom_function_hides_are_named():
    message = (
        r"model.layers.1.mlp.down_proj.weight \(1,536 parameters\) are used inside a torch.autograd.Function that "
        "does not give autograd their gradients, so they cannot be measured; set parameters="
    )
    with pytest.raises(ValueError, match=message):
        rehearse(hiding(), pad_token_id=0)
    rehearse(hiding(), pad_token_id=0, parameters="q_proj|v_proj")


def test_a_model_that_fails_is_told_by_its_class():
    model = qwen()
    model.model.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="a rehearsal of the gradients of Qwen2ForCausalLM failed with ZeroDivision"):
        rehearse(model, pad_token_id=0)


def test_padding_shifts_absolute_positions_alone():
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=1, n_head=2))
    for model, shifts in ((gpt2, True), (qwen(), False)):
        model.train()
        frozen = next(iter(model.base_model.children())).eval()
        assert depends_on_padding(model) == shifts
        assert model.training
        assert not frozen.training
    assert not depends_on_padding(qwen(num_hidden_layers=4), half_precision)


def test_experts_in_mixed_precision_are_not_refused():
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 12, "hidden_size": 64, "head_dim": 16, "moe_intermediate_size": 32}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**{**GROUPED, **shape}, num_experts=32, num_experts_per_tok=4))
    rehearse(model, pad_token_id=0, autocast=half_precision)


def half_precision():
    return torch.autocast("cpu", dtype=torch.bfloat16)
