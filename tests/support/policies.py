"""Small random policies, and scored rollouts for them."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from passk_trl.gradients import ScoredRollouts


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


def rollouts(N: int = 6, n: int = 4, seed: int = 1, vocabulary: int = VOCABULARY) -> ScoredRollouts:
    """Prompts and completions of different lengths. The first prompt is never solved, so its gradient is zero."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(0, vocabulary, (length,), generator=generator).tolist()

    success_NG = torch.randint(0, 2, (N, n), generator=generator)
    success_NG[0] = 0
    return ScoredRollouts(
        [tokens(3, 8) for _ in range(N)], [[tokens(1, 6) for _ in range(n)] for _ in range(N)], success_NG
    )


def relative_error(measured: torch.Tensor, expected: torch.Tensor) -> float:
    return float((measured - expected).norm() / expected.norm())


def qwen(**config) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**{**GROUPED, "tie_word_embeddings": True, **config}))
