"""What a probe costs: gradients and interference for all k, over a plain forward and backward of the same rollouts.

    python benchmarks/probe.py [--repetitions 3]

The plain pass is TRL's own: log-probabilities through its fused LM head, one backward pass into `.grad`, in batches of
the same size. Generation is left out of both. Both are timed in turn in the same process and the median ratio counts.
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


def probe(model: Qwen2ForCausalLM, rollouts: ScoredRollouts, ks: list[int] | None = None) -> None:
    gram = gram_matrix(model, rollouts, pad_token_id=0, batch_size=PROMPTS_AT_A_TIME)
    measure_interference(gram.gram_NN, rollouts.num_correct_N, ROLLOUTS, ks)


def seconds(function, *args) -> float:
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def backward_passes(model: Qwen2ForCausalLM, rollouts: ScoredRollouts, ks: list[int]) -> int:
    passes = []
    handle = model.model.layers[0].register_full_backward_hook(lambda *_: passes.append(True))
    probe(model, rollouts, ks)
    handle.remove()
    return len(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    rollouts = random_rollouts()
    tokens = f"({PROMPT_TOKENS} + {COMPLETION_TOKENS}) tokens"
    print(f"{PROMPTS} prompts x {ROLLOUTS} rollouts x {tokens}, fp32, CPU, all k = 1..{ROLLOUTS - 1}")
    print(f"{'parameters':>11}{'hidden':>8}{'plain s':>9}{'probe s':>9}{'ratio':>7}")
    for hidden_size, layers in ((64, 2), (256, 4), (512, 4)):
        model = policy(hidden_size, layers)
        add_fused_lm_head(model)
        plain_pass(model, rollouts)  # first calls allocate
        pairs = [(seconds(plain_pass, model, rollouts), seconds(probe, model, rollouts)) for _ in range(repetitions)]
        ratio = statistics.median(of_probe / plain for plain, of_probe in pairs)
        plain, of_probe = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{model.num_parameters():>11,}{hidden_size:>8}{plain:>9.2f}{of_probe:>9.2f}{ratio:>7.2f}")
    counts = [backward_passes(model, rollouts, ks) for ks in ([1], list(range(1, ROLLOUTS)))]
    print(
        f"backward passes for 1 k: {counts[0]}, for {ROLLOUTS - 1} k: {counts[1]} ({PROMPTS_AT_A_TIME} prompts each)"
    )


if __name__ == "__main__":
    main()
