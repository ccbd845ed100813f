"""The Gram matrix through activations against an independent one, over architectures, adapters and paddings."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from passk_trl.gradients import ScoredRollouts, gradient_rows, gram_matrix
from policies import GROUPED, qwen, relative_error, rollouts


DENSE = [(Qwen2Config, Qwen2ForCausalLM), (Qwen3Config, Qwen3ForCausalLM), (LlamaConfig, LlamaForCausalLM)]


def gram_by_definition(model: torch.nn.Module, data: ScoredRollouts, temperature: float) -> torch.Tensor:
    """K_ij by its definition: in float64, with one backward pass for each rollout, without padding."""
    model = model.double().eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for prompt, group, success_G in zip(data.prompt_ids, data.completion_ids, data.success_NG.double(), strict=True):
        gradient = 0
        for completion, success in zip(group, success_G, strict=True):
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
            score = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None]).sum()
            parts = torch.autograd.grad(score, trained, allow_unused=True, materialize_grads=True)
            gradient = gradient + (success - success_G.mean()) / (len(group) - 1) * torch.cat(
                [p.flatten() for p in parts]
            )
        rows.append(gradient)
    return torch.stack(rows) @ torch.stack(rows).T


@pytest.mark.parametrize("architecture", DENSE, ids=lambda pair: pair[1].__name__)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_both_methods_match_the_definition(architecture, tied, lora):
    torch.manual_seed(0)
    config, causal_lm = architecture
    model = causal_lm(config(**GROUPED, tie_word_embeddings=tied))
    if lora:
        adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
        model = get_peft_model(model, adapter)
    data = rollouts()
    through_activations = gram_matrix(model, data, pad_token_id=0, temperature=0.7, batch_size=4)
    through_parameters = gram_matrix(model, data, pad_token_id=0, temperature=0.7, method="parameters")
    expected_NN = gram_by_definition(model, data, temperature=0.7)
    assert relative_error(through_activations.gram_NN, expected_NN) < 1e-5
    assert relative_error(through_parameters.gram_NN, expected_NN) < 1e-5
    assert through_activations.coverage.fraction == 1
    trained = {id(p): p for p in model.parameters() if p.requires_grad}.values()
    assert through_activations.coverage.total == sum(p.numel() for p in trained)


def test_half_precision():
    model, data = qwen(), rollouts()
    exact = gram_matrix(model, data, 0).gram_NN
    assert relative_error(gram_matrix(model.bfloat16(), data, 0).gram_NN, exact) < 2e-2
    mixed = gram_matrix(model.float(), data, 0, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16)).gram_NN
    assert relative_error(mixed, exact) < 2e-2


def test_the_model_is_left_as_it_was():
    model, data = qwen(attention_dropout=0.5), rollouts()
    model.gradient_checkpointing_enable()
    model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    hooks = [list(module._forward_hooks) for module in model.modules()]
    first = gram_matrix(model, data, 0).gram_NN
    assert torch.equal(first, gram_matrix(model, data, 0).gram_NN)  # no dropout
    assert [module.training for module in model.modules()] == modes
    assert model.is_gradient_checkpointing
    assert all(p.grad is None for p in model.parameters())
    assert [list(module._forward_hooks) for module in model.modules()] == hooks


def test_hooks_do_not_stay_behind_a_failure():
    model, data = qwen(), rollouts()

    def fail(*_):
        raise RuntimeError("out of memory")

    handle = model.model.layers[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        gram_matrix(model, data, 0)
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_sketched_step_is_unbiased_for_its_product_with_each_gradient():
    model, data = qwen(), rollouts()
    generator = torch.Generator().manual_seed(3)
    moved = {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}
    exact_N = gram_matrix(model, data, pad_token_id=0, step=moved.__getitem__).step_MN[0]
    rows = gradient_rows(model, data, pad_token_id=0).rows
    expected_N = sum(kept[:, 0].double() @ moved[name].double().flatten() for name, kept in rows.items())
    assert (exact_N - expected_N).norm() < 1e-5 * expected_N.norm()
    draws = [gram_matrix(model, data, 0, store="sketch", seed=seed, step=moved.__getitem__) for seed in range(30)]
    estimates_SN = torch.cat([draw.step_MN for draw in draws])
    errors_N = estimates_SN.std(dim=0) / len(estimates_SN) ** 0.5
    assert ((estimates_SN.mean(dim=0) - exact_N).abs() <= 4.5 * errors_N).all()
    assert (errors_N > 0).sum() >= 3
    assert draws[0].gram_MNN.shape[1:] == (data.num_prompts, data.num_prompts)
