"""The Gram matrix by the activations road against an independent one, over architectures, adapters and paddings."""

import itertools

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from passk_trl.gradients import ScoredRollouts, gradient_rows, gram_matrix


VOCABULARY = 50
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": None,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
DENSE = [(Qwen2Config, Qwen2ForCausalLM), (Qwen3Config, Qwen3ForCausalLM), (LlamaConfig, LlamaForCausalLM)]


def rollouts(N: int = 6, n: int = 4, seed: int = 1) -> ScoredRollouts:
    """Prompts and completions of all sorts of length; the first prompt all wrong, so without gradient."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()

    success_NG = torch.randint(0, 2, (N, n), generator=generator)
    success_NG[0] = 0
    return ScoredRollouts(
        [tokens(3, 8) for _ in range(N)], [[tokens(1, 6) for _ in range(n)] for _ in range(N)], success_NG
    )


def relative_error(measured: torch.Tensor, expected: torch.Tensor) -> float:
    return float((measured - expected).norm() / expected.norm())


def gram_by_definition(model: torch.nn.Module, data: ScoredRollouts, temperature: float) -> torch.Tensor:
    """K_ij in float64 with one backward pass for each rollout, unpadded: the definition, spelled out."""
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
def test_both_roads_are_the_definition(architecture, tied, lora):
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


def test_layer_norms_with_bias_and_an_untied_head_with_none():
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, hidden_dropout=0.1))
    for parameter in model.parameters():  # biases and norms start at 0 and 1, where mistakes hide
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    data = rollouts()
    measured = gram_matrix(model, data, pad_token_id=0, batch_size=2)
    assert measured.coverage.fraction == 1
    assert relative_error(measured.gram_NN, gram_matrix(model, data, 0, method="parameters").gram_NN) < 1e-5


def test_capped_logits():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=2.0))
    data = rollouts()
    measured = gram_matrix(model, data, pad_token_id=0, temperature=0.7)
    reference = gram_matrix(model, data, pad_token_id=0, temperature=0.7, method="parameters")
    # Its embedding scales what it looks up: no plain embedding, so named and left out, in its role as the head too.
    assert measured.coverage.left_out == reference.coverage.left_out == ("model.embed_tokens.weight",)
    assert relative_error(measured.gram_NN, reference.gram_NN) < 1e-5


def test_layers_of_another_kind_are_named_not_dropped_in_silence():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match=r"'transformer.wpe' mixes the tokens of all rollouts.*set parameters"):
        gram_matrix(model, rollouts(), pad_token_id=0)  # one row of positions serves all rollouts
    coverage = gram_matrix(model, rollouts(), pad_token_id=0, parameters="attn|mlp|ln|wte").coverage
    assert "transformer.h.0.attn.c_attn.weight" in coverage.left_out  # a Conv1D
    assert 0 < coverage.fraction < 1
    assert coverage.total == sum(p.numel() for name, p in model.named_parameters() if "wpe" not in name)


def qwen(**config) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**{**GROUPED, "tie_word_embeddings": True, **config}))


def test_batch_size_does_not_matter():
    model, data = qwen(), rollouts()
    grams = [gram_matrix(model, data, 0, batch_size=size).gram_NN for size in (1, 2, 4, None)]
    for one, other in itertools.pairwise(grams):
        assert relative_error(one, other) < 1e-5


def test_logits_in_blocks_are_the_same(monkeypatch):
    model, data = qwen(), rollouts()
    whole = gram_matrix(model, data, 0).gram_NN
    monkeypatch.setattr("passk_trl.gradients.through_activations._LOGITS_AT_A_TIME", 0)
    for tokens in (3, 70):  # parts of a prompt; a few prompts
        monkeypatch.setattr("passk_trl.gradients.through_activations._FEWEST_TOKENS_AT_A_TIME", tokens)
        assert relative_error(gram_matrix(model, data, 0).gram_NN, whole) < 1e-5


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


def test_the_last_layer_alone_needs_no_backward_below_it():
    model, data = qwen(), rollouts()
    reached = []
    model.model.layers[0].mlp.down_proj.register_full_backward_hook(lambda *_: reached.append(True))
    gram_matrix(model, data, 0, parameters=r"^model\.norm$")
    assert reached == []
    gram_matrix(model, data, 0)
    assert reached == [True]


def test_a_padding_row_of_the_embedding_has_no_gradient():
    model, data = qwen(pad_token_id=7), rollouts()
    reference = gram_matrix(model, data, 0, method="parameters").gram_NN
    assert relative_error(gram_matrix(model, data, 0).gram_NN, reference) < 1e-5


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


@pytest.mark.parametrize("store", ["exact", "sketch"])
def test_when_memory_runs_out_batches_are_halved_and_nothing_counts_twice(store):
    model, data = qwen(), rollouts()
    whole = gram_matrix(model, data, 0, store=store).gram_MNN
    sizes = []

    def limited(_module, _inputs, output):
        sizes.append(len(output) // data.num_rollouts)
        if sizes[-1] > 1:  # in the backward pass, when some layers have added to the store already
            output.register_hook(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory left")))

    handle = model.model.layers[0].mlp.register_forward_hook(limited)
    assert torch.allclose(gram_matrix(model, data, 0, store=store, batch_size=4).gram_MNN, whole, rtol=1e-4, atol=1e-7)
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1]
    handle.remove()
    model.model.layers[0].mlp.register_forward_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        gram_matrix(model, data, 0, store=store)


@pytest.mark.parametrize("store", ["exact", "sketch"])
def test_one_prompt_that_memory_has_no_room_for_is_halved_by_its_rollouts(store):
    model, data = qwen(), rollouts(n=5)
    whole = gram_matrix(model, data, 0, store=store).gram_MNN
    sizes = []

    def limited(_module, _inputs, output):
        sizes.append(len(output))
        if sizes[-1] > 2:
            output.register_hook(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("no memory left")))

    model.model.layers[0].mlp.register_forward_hook(limited)
    divided = gram_matrix(model, data, 0, store=store, batch_size=1).gram_MNN
    assert torch.allclose(divided, whole, rtol=1e-4, atol=1e-7)
    assert sizes == [5, 3] + 6 * [2, 1, 1, 1]


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


def test_one_backward_pass_for_each_batch_of_prompts():
    model, data = qwen(), rollouts(N=6)
    backward_passes = []
    model.model.embed_tokens.register_full_backward_hook(lambda *_: backward_passes.append(True))
    done = []
    gram_matrix(model, data, 0, batch_size=2, on_batch=done.append)
    assert len(backward_passes) == 3
    assert done == [2, 2, 2]


def test_a_head_that_is_more_than_linear_is_refused():
    model = qwen(tie_word_embeddings=False)
    model.lm_head.register_forward_hook(lambda _m, _i, output: output * 2)
    with pytest.raises(ValueError, match="method='parameters'"):
        gram_matrix(model, rollouts(), 0)


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method='magic' is unknown; set 'activations' or 'parameters'"):
        gram_matrix(qwen(), rollouts(), 0, method="magic")
