"""What looks like a plain layer, norm or head and is not: measured whole all the same, as autograd has it."""

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from by_definition import assert_measured_whole, gram_by_definition
from passk_trl.gradients import gram_matrix
from policies import SHAPE, VOCABULARY, qwen, relative_error, rollouts
from tiny import policy_of


WIDTH, INNER = SHAPE["hidden_size"], SHAPE["intermediate_size"]


def untied():
    return qwen(tie_word_embeddings=False)


# Layers of another class.


class Detached(nn.Linear):
    def forward(self, hidden):
        return F.linear(hidden, self.weight.detach())


class ShrunkGradient(nn.Linear):
    def forward(self, hidden):
        return F.linear(hidden, 0.1 * self.weight + 0.9 * self.weight.detach())


class Tripled(nn.Linear):
    def forward(self, hidden):
        return 3 * F.linear(hidden, self.weight)


@pytest.mark.parametrize("like_linear", [Detached, ShrunkGradient, Tripled])
@pytest.mark.parametrize("is_zero", [False, True], ids=["random", "zero"])
def test_a_linear_layer_of_another_class(like_linear, is_zero):
    model = qwen()
    for layer in model.model.layers:
        layer.mlp.down_proj.__class__ = like_linear
        if is_zero:
            nn.init.zeros_(layer.mlp.down_proj.weight)
    assert_measured_whole(model, rollouts())


def test_a_forward_that_is_replaced_on_one_layer():
    model = qwen()
    linear = model.model.layers[0].mlp.down_proj
    plain = linear.forward
    linear.forward = lambda hidden: 2 * plain(hidden)
    assert_measured_whole(model, rollouts())


class IgnoresPadding(nn.Embedding):
    def forward(self, ids):
        return F.embedding(ids, self.weight)


def test_an_embedding_that_does_not_heed_its_padding_index():
    model = qwen()
    model.model.embed_tokens.__class__ = IgnoresPadding
    model.model.embed_tokens.padding_idx = 7
    assert_measured_whole(model, rollouts(vocabulary=10))


def test_an_embedding_that_does_not_use_its_scale():
    model = qwen()
    model.model.embed_tokens.embed_scale = 3.0
    assert_measured_whole(model, rollouts())


class UnderAnotherName(nn.LayerNorm):
    def __init__(self):
        super().__init__(WIDTH)
        nn.init.normal_(self.weight)
        nn.init.normal_(self.bias)


class WrongEps(nn.Module):
    eps = 1e-6

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH))

    def forward(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + 1e-5)


@pytest.mark.parametrize("norm", [UnderAnotherName, WrongEps])
def test_a_norm_of_another_class(norm):
    model = qwen()
    for layer in model.model.layers:
        layer.input_layernorm = norm()
    assert_measured_whole(model, rollouts())


# Hooks that change gradients.


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"])
def test_a_hook_that_masks_the_gradient_of_a_parameter(name, tied):
    model = qwen(tie_word_embeddings=tied)
    parameter = model.get_parameter(name)
    mask = torch.zeros_like(parameter)
    mask[len(mask) // 2 :] = 1
    parameter.register_hook(lambda gradient: gradient * mask)
    assert_measured_whole(model, rollouts())


def test_a_hook_before_the_head():
    model = untied()
    model.lm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    assert_measured_whole(model, rollouts())


# Parameters and steps after the head.


class ScaledLogits(type(qwen())):
    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits * self.scale
        return outputs


class ShiftedLogits(type(qwen())):
    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.logits = outputs.logits + self.shift
        return outputs


class TwoHeads(type(qwen())):
    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        last = self.kept.pop()[:, -outputs.logits.size(1) :]
        outputs.logits = outputs.logits + 0.1 * self.second(last)
        return outputs


class MaskedLogits(type(qwen())):
    """Never predicts the last token."""

    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        is_last = torch.arange(VOCABULARY) == VOCABULARY - 1
        outputs.logits = outputs.logits.masked_fill(is_last, float("-inf"))
        return outputs


def scaled_logits():
    model = qwen()
    model.__class__ = ScaledLogits
    model.scale = nn.Parameter(torch.tensor(1.7))
    return model


def shifted_logits():
    model = qwen()
    model.__class__ = ShiftedLogits
    model.shift = nn.Parameter(torch.zeros(VOCABULARY))
    return model


def second_head():
    model = untied()
    model.__class__ = TwoHeads
    model.kept = []
    model.model.norm.register_forward_hook(lambda _module, _inputs, output: model.kept.append(output))
    model.second = nn.Linear(WIDTH, VOCABULARY)
    nn.init.zeros_(model.second.weight)
    nn.init.zeros_(model.second.bias)
    return model


def weight_norm_head():
    model = untied()
    nn.utils.parametrizations.weight_norm(model.lm_head)
    return model


def rescaled_head():
    return peft.get_peft_model(untied(), peft.IA3Config(target_modules=["lm_head"], feedforward_modules=[]))


@pytest.mark.parametrize("model_of", [scaled_logits, shifted_logits, second_head, weight_norm_head, rescaled_head])
def test_parameters_at_the_head_and_after_it(model_of):
    assert_measured_whole(model_of(), rollouts())


def test_logits_masked_with_minus_infinity():
    for model in (qwen(), untied()):
        model.__class__ = MaskedLogits
        assert_measured_whole(model, rollouts(vocabulary=VOCABULARY - 1))


# Layers within a model that turns or changes their inputs.


class Around(nn.Module):
    """An MLP in other company."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp


class TokenMajor(Around):
    """Flattens rows and tokens, tokens first."""

    def forward(self, hidden):
        turned = hidden.transpose(0, 1)
        return self.mlp(turned.reshape(-1, WIDTH)).view(turned.shape).transpose(0, 1)


class Flipped(Around):
    def forward(self, hidden):
        return self.mlp(hidden.flip(0)).flip(0)


class ChangesItsInput(Around):
    """Changes the input of a linear layer after its call; under autocast, autograd has kept a copy."""

    def __init__(self, mlp):
        super().__init__(mlp)
        self.beside = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden):
        changed = hidden * 1.0
        beside = self.beside(changed)
        changed += 3 * torch.tanh(beside.float())
        return self.mlp(changed)


class MixesRows(Around):
    def forward(self, hidden):
        changed = self.mlp(hidden)
        return changed - changed.mean(0, keepdim=True)


def with_mlps(around):
    model = qwen()
    for layer in model.model.layers:
        layer.mlp = around(layer.mlp)
    return model


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("around", [TokenMajor, Flipped])
def test_rows_in_another_order(around, batch_size):
    assert_measured_whole(with_mlps(around), rollouts(), batch_size=batch_size)


def test_an_input_that_is_changed_after_the_call():
    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    model = with_mlps(ChangesItsInput)
    measured = gram_matrix(model, rollouts(), 0, autocast=autocast)
    with autocast():
        expected = gram_by_definition(model, rollouts())
    assert relative_error(measured.gram_NN, expected) < 3e-2


def test_rollouts_that_influence_one_another_are_refused():
    with pytest.raises(ValueError, match="influence one another"):
        gram_matrix(with_mlps(MixesRows), rollouts(), 0)


class ReadsExperts(Around):
    """Uses the weights of two experts once more, past their module."""

    def forward(self, hidden):
        weights = self.mlp.experts.down_proj
        return self.mlp(hidden) + 0.1 * hidden @ weights[0] @ weights[1].T


def test_experts_whose_weights_are_read_past_their_module():
    model = policy_of("qwen3_moe")
    model.model.layers[0].mlp = ReadsExperts(model.model.layers[0].mlp)
    assert_measured_whole(model, rollouts(vocabulary=16))


# The surroundings.


def test_within_inference_mode():
    model, data = qwen(), rollouts()
    with torch.inference_mode():
        measured = gram_matrix(model, data, 0)
    assert relative_error(measured.gram_NN, gram_by_definition(model, data)) < 1e-5


class MergesInEvaluation(nn.Linear):
    """Adds its adapter to the weight in evaluation, and takes it out again for training, as loralib does."""

    def __init__(self):
        super().__init__(INNER, WIDTH, bias=False)
        self.delta = nn.Parameter(0.1 * torch.randn(WIDTH, INNER))
        self.is_merged = False

    def train(self, mode=True):
        if self.is_merged == mode:
            self.weight.data += (1 - 2 * mode) * self.delta.data
            self.is_merged = not mode
        return super().train(mode)

    def forward(self, hidden):
        return F.linear(hidden, self.weight if self.is_merged else self.weight + self.delta)


def test_a_module_that_changes_its_weights_in_evaluation_is_restored():
    model = qwen()
    layer = model.model.layers[0].mlp.down_proj = MergesInEvaluation()
    weight = layer.weight.detach().clone()
    model.train()
    gram_matrix(model, rollouts(), 0)
    assert layer.training
    assert not layer.is_merged
    assert torch.allclose(layer.weight, weight)
