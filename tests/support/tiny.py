"""The smallest real parts of a training run: a random Qwen2 with about ten thousand parameters, tokenizer, tasks."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from passk_trl import PassKGRPOConfig


CHARACTERS = "0123456789+-?"

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}

_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_FAMILIES: dict[str, dict[str, Any]] = {
    "gemma3_text": {**_SHAPE, "head_dim": 16, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "jamba": {  # one layer of each kind: Mamba with a dense MLP, attention with experts
        **_SHAPE,
        "tie_word_embeddings": False,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "mamba_d_state": 4,
        "mamba_d_conv": 4,
        "mamba_dt_rank": 4,
    },
    "llama": _SHAPE,
    "mixtral": {**_SHAPE, "tie_word_embeddings": False, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**_SHAPE, **_EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {**_SHAPE, **_EXPERTS, "head_dim": 16},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per character."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *CHARACTERS])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokens.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return fast


def policy(seed: int = 0, **config: Any) -> Qwen2ForCausalLM:
    """A Qwen2 with random weights; `config` changes its shape."""
    torch.manual_seed(seed)
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": 1}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=3 + len(CHARACTERS), **special, **{**_SHAPE, **config}))


def policy_of(family: str, seed: int = 0) -> PreTrainedModel:
    """A model of a family of transformers. No weight is at its initial value, so that none is without effect."""
    torch.manual_seed(seed)
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": 1}
    config = AutoConfig.for_model(family, vocab_size=3 + len(CHARACTERS), **special, **_FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def checkpoint(directory: Any, architecture: str = "qwen2") -> str:
    """Saves a tiny policy of an architecture with its tokenizer; returns the path, for `model_name_or_path`."""
    model: Any = policy()
    if architecture == "llama":
        shape = {name: getattr(model.config, name) for name in ("vocab_size", *_SHAPE)}
        model = LlamaForCausalLM(LlamaConfig(**shape, bos_token_id=None, eos_token_id=1))
    model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return str(directory)


def saved_policy(path: Path, **config: Any) -> Path:
    """Saves a tiny Qwen2 with its tokenizer; returns the path."""
    policy(**config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def questions(count: int = 32) -> Dataset:
    """Prompts whose completion must start with a given digit."""
    rows = [{"prompt": [{"role": "user", "content": f"{i}?"}], "solution": str(i % 10)} for i in range(count)]
    return Dataset.from_list(rows)


def starts_right(completions: list, solution: list[str], **kwargs: Any) -> list[float]:
    """1 where a completion starts with the solution: a few of a hundred rollouts of a random policy."""
    return [
        float(completion[0]["content"][:1] == digit) for completion, digit in zip(completions, solution, strict=True)
    ]


def starts_low(completions: list, **kwargs: Any) -> list[float]:
    """1 where a completion starts with a digit below 5 or a sign: about half of a random policy's rollouts."""
    return [float(completion[0]["content"][:1] in tuple("01234+-")) for completion in completions]


class Counting:
    """A reward function that counts its calls and completions, and is killed at the `fatal`-th call."""

    __name__ = "starts_low"
    score = staticmethod(starts_low)  # kept here, since a test may put an instance in the function's place

    def __init__(self, fatal: int | None = None) -> None:
        self.fatal, self.calls, self.completions = fatal, 0, 0

    def __call__(self, completions: list, **kwargs: Any) -> list[float]:
        self.calls += 1
        if self.calls == self.fatal:
            raise KeyboardInterrupt
        self.completions += len(completions)
        return self.score(completions)


def training_args(output_dir: Any, config: type = PassKGRPOConfig, **overrides: Any) -> Any:
    """A config for six short steps on a CPU, each logged, with gradient accumulation."""
    defaults = {
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "num_generations": 8,
        "max_completion_length": 4,
        "max_steps": 6,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    return config(output_dir=str(output_dir), **{**defaults, **overrides})


def splits() -> DatasetDict:
    """What a recipe's `dataset_name: tiny.splits` loads. The training prompts are in no other split."""
    rows = questions(48)
    return DatasetDict({"train": rows.select(range(16, 48)), "probe": questions(16), "test": questions(8)})


def plain_splits() -> DatasetDict:
    """The same questions as plain text, in columns with other names."""
    rows = [{"question": f"{i}?", "gold": str(i % 10), "level": i} for i in range(32)]
    return DatasetDict({"test": Dataset.from_list(rows)})


def math_splits() -> DatasetDict:
    """Rows with the columns that MATH has on the hub."""
    row = {"level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{2}$."}
    return _halves([{"problem": f"What is $1+1$, for the {i}th time?", **row} for i in range(4200)])


def gsm8k_splits() -> DatasetDict:
    """Rows with the columns that GSM8K has on the hub."""
    answer = "She has $1 + $1 = $<<1+1=2>>2 then.\n#### 2"
    return _halves([{"question": f"Ann has $1 and gets $1. How much? ({i})", "answer": answer} for i in range(200)])


def _halves(rows: list[dict]) -> DatasetDict:
    half = len(rows) // 2
    return DatasetDict({"train": Dataset.from_list(rows[:half]), "test": Dataset.from_list(rows[half:])})
