"""Experts: our forward is the model's own, gradients are autograd's, and transformers is left as it was."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import MixtralConfig, MixtralForCausalLM

import zoo
from passk_trl.gradients import gram_matrix
from passk_trl.gradients.experts import Experts, experts_forward, experts_replaced, forward_with_taps, is_experts
from passk_trl.gradients.projections import Projections
from passk_trl.gradients.store import ExactStore, SketchStore
from passk_trl.gradients.taps import new_anchor


GATED, UNGATED, TRANSPOSED_WITH_BIAS = "qwen3_moe", "nemotron_h", "gpt_oss"
FAMILIES = [GATED, UNGATED, TRANSPOSED_WITH_BIAS]
TOKENS, TOP_K = 8, 2


def experts_of(model):
    return [module for module in model.modules() if is_experts(module)]


def routed(module, seed=0):
    """Hidden states that need gradients, and the experts that they are sent to: the last gets none."""
    generator = torch.Generator().manual_seed(seed)
    width = module.down_proj.size(-1 if module.is_transposed else -2)
    hidden = torch.randn(TOKENS, width, generator=generator).requires_grad_()
    index = torch.rand(TOKENS, module.num_experts - 1, generator=generator).topk(TOP_K).indices
    return hidden, index, torch.rand(TOKENS, TOP_K, generator=generator)


def shapes_of(module):
    return {name: parameter.shape for name, parameter in module.named_parameters(recurse=False)}


def formed(module, store, prompts, hidden, index, weights):
    """Takes tokens through the experts and back, which fills the store."""
    anchor = new_anchor()
    own = {name: name for name in shapes_of(module)}
    forward = forward_with_taps(Experts(module, own), store, prompts, anchor)
    torch.autograd.grad(forward(module, hidden, index, weights).square().sum(), anchor)
    return store


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_our_forward_gives_what_the_models_own_gives(family, implementation):
    model = zoo.tiny_model(family)
    model.set_experts_implementation(implementation)
    module = experts_of(model)[0]
    inputs = routed(module)
    assert torch.allclose(experts_forward(module, *inputs), module(*inputs), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_prompts_in_one_pass_have_the_gradients_that_autograd_gives_each(family):
    module = experts_of(zoo.tiny_model(family))[0]
    hidden, index, weights = routed(module)
    rows = formed(module, ExactStore(3, shapes_of(module)), [2, 0], hidden, index, weights).rows()
    own = dict(module.named_parameters(recurse=False))
    for prompt, tokens in ((2, slice(0, TOKENS // 2)), (0, slice(TOKENS // 2, None))):
        output = module(hidden[tokens], index[tokens], weights[tokens])
        expected = torch.autograd.grad(output.square().sum(), list(own.values()))
        for name, gradient in zip(own, expected, strict=True):
            assert torch.allclose(rows[name][prompt, 0], gradient.flatten(), rtol=1e-4, atol=1e-5), name
            assert gradient[0].any()
            assert not gradient[-1].any()  # no token is sent to this expert
    assert not any(kept[1].any() for kept in rows.values())


def test_no_whole_gradient_is_formed_for_a_sketch():
    config = MixtralConfig(
        vocab_size=8,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    (module,) = experts_of(MixtralForCausalLM(config))
    inputs, shapes = routed(module), shapes_of(module)
    smallest = min(map(torch.Size.numel, shapes.values()))
    with Largest(module) as largest:
        formed(module, SketchStore(2, shapes, Projections(seed=0)), [0, 1], *inputs)
    assert 0 < largest.numbers < smallest
    with Largest(module) as largest:
        formed(module, ExactStore(2, shapes), [0, 1], *inputs)
    assert largest.numbers > smallest


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that is formed, other than views of a module's parameters."""

    def __init__(self, module):
        super().__init__()
        self.own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() not in self.own:
                self.numbers = max(self.numbers, each.numel())
        return result


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_only_the_modules_given_are_replaced(implementation):
    model, bystander = zoo.tiny_model(GATED), zoo.tiny_model(GATED)
    model.set_experts_implementation(implementation)
    first, second = experts_of(model)
    inputs = routed(first)
    own = second(*inputs)
    with experts_replaced(model, {first: lambda module, hidden, *_: torch.zeros_like(hidden)}):
        assert not first(*inputs).any()
        assert torch.equal(second(*inputs), own)
        assert experts_of(bystander)[0](*inputs).any()
    with experts_replaced(model, {second: lambda module, hidden, *_: hidden}):
        assert first(*inputs).any()  # no longer replaced


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_the_implementation_is_set_back(implementation):
    model, data = zoo.tiny_model(TRANSPOSED_WITH_BIAS), zoo.rollouts()
    model.set_experts_implementation(implementation)
    gram_matrix(model, data, pad_token_id=0)
    assert model.get_experts_implementation() == {"": implementation}
    experts_of(model)[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gram_matrix(model, data, pad_token_id=0)
    assert model.get_experts_implementation() == {"": implementation}
