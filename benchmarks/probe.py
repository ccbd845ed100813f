"""What a probe costs: gradients and interference for all k, over a plain forward and backward of the same rollouts.

    python benchmarks/probe.py [--repetitions 1] [--hidden-sizes 64 256 512]

The plain pass is TRL's own: log-probabilities through its fused LM head, one backward pass into `.grad`, in batches of
the same size. Generation is left out. All are timed in turn in the same process. The monitor's `gram="auto"` keeps
gradients exactly where they fit into 1 GiB, the first size here, and sketches the others.
"""

import argparse
import statistics
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.gradients.rollouts import longest_first, padded
from passk_trl.interference import measure_interference


PROMPTS, ROLLOUTS, PROMPT_TOKENS, COMPLETION_TOKENS, VOCABULARY = 64, 16, 32, 64, 1024
PROMPTS_AT_A_TIME = 4


def policy(hidden_size: int, layers: int) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 32,
        num_key_value_heads=hidden_size // 64,
        tie_word_embeddings=False,
        pad_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def random_rollouts() -> ScoredRollouts:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randint(0, VOCABULARY, shape, generator=generator).tolist()  # noqa: E731
    success_NG = torch.randint(0, 2, (PROMPTS, ROLLOUTS), generator=generator)
    return ScoredRollouts(draw(PROMPTS, PROMPT_TOKENS), draw(PROMPTS, ROLLOUTS, COMPLETION_TOKENS), success_NG)


def plain_pass(model: Qwen2ForCausalLM, rollouts: ScoredRollouts) -> None:
    order = longest_first(rollouts)
    for first in range(0, PROMPTS, PROMPTS_AT_A_TIME):
        batch = padded(rollouts, order[first : first + PROMPTS_AT_A_TIME], 0, torch.device("cpu"))
        labels = batch.input_ids.clone()
        labels[:, : -batch.completion_length] = -100
        output = model(batch.input_ids, batch.attention_mask, labels=labels, fused_lm_head=True)
        log_probs_BK = batch.group(output.log_probs[:, -batch.completion_length :])
        (log_probs_BK * batch.token_weights_BK).sum().backward()
    model.zero_grad()


def probe(model: Qwen2ForCausalLM, rollouts: ScoredRollouts, store: str, ks: list[int] | None = None) -> None:
    gram = gram_matrix(model, rollouts, pad_token_id=0, store=store, batch_size=PROMPTS_AT_A_TIME)
    measure_interference(gram.gram_MNN, rollouts.num_correct_N, ROLLOUTS, ks)


def seconds(function, *args) -> float:
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def backward_passes(model: Qwen2ForCausalLM, rollouts: ScoredRollouts, ks: list[int]) -> int:
    passes = []
    handle = model.model.layers[0].register_full_backward_hook(lambda *_: passes.append(True))
    probe(model, rollouts, "sketch", ks)
    handle.remove()
    return len(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=[64, 256, 512])
    options = parser.parse_args()
    rollouts = random_rollouts()
    tokens = f"({PROMPT_TOKENS} + {COMPLETION_TOKENS}) tokens"
    print(f"{PROMPTS} prompts x {ROLLOUTS} rollouts x {tokens}, fp32, CPU, all k = 1..{ROLLOUTS - 1}")
    print(f"{'parameters':>11}{'hidden':>8}{'plain s':>9}{'exact s':>9}{'ratio':>7}{'sketch s':>10}{'ratio':>7}")
    for hidden_size in options.hidden_sizes:
        model = policy(hidden_size, layers=2 if hidden_size < 256 else 4)
        add_fused_lm_head(model)
        rounds = [
            (
                seconds(plain_pass, model, rollouts),
                seconds(probe, model, rollouts, "exact"),
                seconds(probe, model, rollouts, "sketch"),
            )
            for _ in range(options.repetitions)
        ]
        plain, exact, sketch = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"{model.num_parameters():>11,}{hidden_size:>8}{plain:>9.2f}{exact:>9.2f}{exact / plain:>7.2f}"
            f"{sketch:>10.2f}{sketch / plain:>7.2f}",
            flush=True,
        )
    model = policy(hidden_size=64, layers=1)
    counts = [backward_passes(model, rollouts, ks) for ks in ([1], list(range(1, ROLLOUTS)))]
    print(
        f"backward passes for 1 k: {counts[0]}, for {ROLLOUTS - 1} k: {counts[1]} ({PROMPTS_AT_A_TIME} prompts each)"
    )


if __name__ == "__main__":
    main()
