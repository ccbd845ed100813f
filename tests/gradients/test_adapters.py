"""Every kind of adapter that PEFT makes of a policy: its Gram matrix is that of autograd, and covers all of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import (
    AdaLoraConfig,
    AdaptionPromptConfig,
    BeftConfig,
    BOFTConfig,
    C3AConfig,
    CartridgeConfig,
    CPTConfig,
    DeftConfig,
    DeloraConfig,
    FourierFTConfig,
    FrodConfig,
    GloraConfig,
    GraloraConfig,
    HiraConfig,
    HRAConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    OFTConfig,
    OSFConfig,
    PeanutConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    PsoftConfig,
    PveraConfig,
    RandLoraConfig,
    RoadConfig,
    ShadowConfig,
    ShiraConfig,
    SupertuningConfig,
    TinyLoraConfig,
    TrainableTokensConfig,
    UniLoraConfig,
    VBLoRAConfig,
    VeraConfig,
    WaveFTConfig,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from transformers import (
    BitsAndBytesConfig,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from by_definition import assert_measured_whole, perturbed
from passk_trl.gradients.rehearsal import rehearse
from policies import GROUPED, qwen, rollouts


# Adapters say in warnings what they cannot merge, and what they miss on a CPU.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft", "ignore::RuntimeWarning:peft")

PROJECTIONS = ["q_proj", "v_proj", "down_proj"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
MIXTURES = {
    "mixtral": (MixtralConfig, MixtralForCausalLM, {"num_local_experts": 4}),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM, {"num_experts": 4, "moe_intermediate_size": 24}),
    "gpt_oss": (GptOssConfig, GptOssForCausalLM, {"num_local_experts": 4, "head_dim": 8, "sliding_window": 8}),
}
Policy = Callable[[], Any]


def llama(**config: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**GROUPED, tie_word_embeddings=False, **config))


def mixture(family: str) -> Any:
    torch.manual_seed(0)
    config, causal_lm, sizes = MIXTURES[family]
    return causal_lm(config(**GROUPED, tie_word_embeddings=False, num_experts_per_tok=2, **sizes))


def adapter(config: type[PeftConfig], base: Policy = llama, **settings: Any) -> Policy:
    return lambda: get_peft_model(base(), config(**{"target_modules": PROJECTIONS, **settings}))


def virtual_tokens(config: type[PeftConfig], **settings: Any) -> Policy:
    return lambda: get_peft_model(llama(), config(task_type="CAUSAL_LM", **settings))


def lora(base: Policy = llama, **settings: Any) -> Policy:
    return adapter(LoraConfig, base, **{"r": 4, **settings})


def two_adapters(active: list[str]) -> Any:
    model = lora()()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["k_proj", "up_proj"]))
    model.base_model.set_adapter(active)
    return model


# Each forward pass brings the learned tokens within a bound, which is wide here so that they stay as they are.
CPT = {
    "cpt_token_ids": [1, 2],
    "cpt_mask": [1, 1],
    "cpt_tokens_type_mask": [1, 1],
    "opt_projection_format_epsilon": 99.0,
}
LORA = {
    "lora": lora(),
    "all linear layers": lora(target_modules="all-linear"),
    "rslora": lora(use_rslora=True),
    "pissa": lora(init_lora_weights="pissa"),
    "olora": lora(init_lora_weights="olora"),
    "dora": lora(use_dora=True),
    "bias of the model": lora(lambda: llama(attention_bias=True), bias="all"),
    "bias of lora": lora(lora_bias=True),
    "embedding": lora(target_modules=["embed_tokens", "v_proj"]),
    "head": lora(target_modules=["lm_head", "v_proj"]),
    "head alone": lora(target_modules=["lm_head"]),
    "tied embedding": lora(qwen, target_modules=["embed_tokens", "v_proj"], ensure_weight_tying=True),
    "saved head": lora(modules_to_save=["lm_head"]),
    "saved embedding": lora(modules_to_save=["embed_tokens"]),
    "saved head, tied before": lora(qwen, modules_to_save=["lm_head"]),
    "saved embedding, tied before": lora(qwen, modules_to_save=["embed_tokens"]),
    "saved head, still tied": lora(qwen, modules_to_save=["lm_head"], ensure_weight_tying=True),
    "saved embedding, still tied": lora(qwen, modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    "some tokens": lora(trainable_token_indices=[3, 5, 7]),
    "some tokens, tied": lora(qwen, trainable_token_indices=[3, 5, 7]),
    "replicated layers": lora(layer_replication=[(0, 2), (1, 2)]),
    "one of two": lambda: two_adapters(["other"]),
    "two at once": lambda: two_adapters(["default", "other"]),
    **{f"all linear layers of {name}": lora(partial(mixture, name), target_modules="all-linear") for name in MIXTURES},
    **{f"experts of {name}": lora(partial(mixture, name), target_parameters=EXPERTS) for name in MIXTURES},
}
OTHERS = {
    "adalora": adapter(AdaLoraConfig, init_r=4, total_step=10),
    "adaption prompt": virtual_tokens(
        AdaptionPromptConfig, adapter_len=3, adapter_layers=1, target_modules="self_attn"
    ),
    "beft": adapter(BeftConfig),
    "boft": adapter(BOFTConfig),
    "c3a": adapter(C3AConfig, block_size=16),
    "cartridge": virtual_tokens(CartridgeConfig, num_virtual_tokens=3),
    "cpt": virtual_tokens(CPTConfig, **CPT),
    "deft": adapter(DeftConfig),
    "delora": adapter(DeloraConfig),
    "fourierft": adapter(FourierFTConfig, n_frequency=50),
    "frod": adapter(FrodConfig),
    "glora": adapter(GloraConfig),
    "gralora": adapter(GraloraConfig, r=4),
    "hira": adapter(HiraConfig),
    "hra": adapter(HRAConfig, r=4),
    "ia3": adapter(IA3Config, feedforward_modules=["down_proj"]),
    "layer norms": adapter(LNTuningConfig, target_modules=["input_layernorm", "norm"]),
    "loha": adapter(LoHaConfig),
    "lokr": adapter(LoKrConfig),
    "miss": adapter(MissConfig, r=4),
    "oft": adapter(OFTConfig, oft_block_size=8),
    "osf": adapter(OSFConfig),
    "p-tuning": virtual_tokens(PromptEncoderConfig, num_virtual_tokens=3, encoder_hidden_size=16),
    "peanut": adapter(PeanutConfig),
    "prefix tuning": virtual_tokens(PrefixTuningConfig, num_virtual_tokens=3),
    "prompt tuning": virtual_tokens(PromptTuningConfig, num_virtual_tokens=3),
    "psoft": adapter(PsoftConfig, r=4),
    "pvera": adapter(PveraConfig, r=4),
    "randlora": adapter(RandLoraConfig, r=4),
    "road": adapter(RoadConfig, group_size=8),
    "shadow": virtual_tokens(ShadowConfig),
    "shira": adapter(ShiraConfig, r=4),
    "supertuning": adapter(SupertuningConfig, sparsity=0.5),
    "tinylora": adapter(TinyLoraConfig, r=2),
    "trainable tokens": adapter(TrainableTokensConfig, token_indices=[3, 5, 7], target_modules=["embed_tokens"]),
    "unilora": adapter(UniLoraConfig, r=4),
    "vblora": adapter(VBLoRAConfig, vector_length=4, num_vectors=8, topk=2),
    "vera": adapter(VeraConfig, r=4),
    "waveft": adapter(WaveFTConfig, n_frequency=50),
}


@pytest.mark.parametrize("policy", (LORA | OTHERS).values(), ids=LORA | OTHERS)
def test_an_adapter_is_measured_whole(policy):
    model = perturbed(policy())
    assert_measured_whole(model, rollouts())
    rehearse(model, pad_token_id=0)  # refuses none


@pytest.mark.parametrize("policy", [lora(), lora(target_modules=["lm_head", "v_proj"])], ids=["lora", "head"])
def test_a_new_adapter_whose_second_factor_is_zero(policy):
    assert_measured_whole(policy(), rollouts())


def test_lora_on_a_base_of_four_bits(tmp_path):
    llama().save_pretrained(tmp_path)
    four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    base = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=four_bits, dtype=torch.float32)
    quantised = [module for module in base.modules() if isinstance(module, Linear4bit)]
    assert len(quantised) == 14
    for module in quantised:
        # Else a forward pass without gradients repacks the weight on some CPUs, and autograd itself is wrong then.
        module.support_avx512bf16_for_cpu = False
    model = get_peft_model(prepare_model_for_kbit_training(base), LoraConfig(r=4, target_modules="all-linear"))
    assert_measured_whole(perturbed(model), rollouts())
