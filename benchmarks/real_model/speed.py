"""What an audit of SmolLM2-135M-Instruct costs, beside `generate` and forward + backward over the same tokens.

    OMP_NUM_THREADS=2 python benchmarks/real_model/speed.py [--rounds 3]

Rollouts: the audit's own sampling and scoring of 8 prompts × 16 rollouts in the chat template, beside `generate` with
the same batch and settings. Gradients: a sketch of all parameters, beside the log-probabilities of the same rollouts
and one backward pass into `.grad`, in batches of the same size. A ratio is the median over the rounds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from datasets import Dataset
from trl.trainer.utils import selective_log_softmax

from passk_trl import PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.gradients.scored_rollouts import longest_first, padded
from passk_trl.policy import cached_smollm2
from passk_trl.rewards import accuracy_reward
from passk_trl.rollouts.sampling import sample_rollouts
from passk_trl.tasks import mixed_sums


PROMPTS, ROLLOUTS, TOKENS, AT_A_TIME = 8, 16, 16, 4


def trainer_of(data: Dataset, folder: str) -> PassKGRPOTrainer:
    args = PassKGRPOConfig(
        folder,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        per_device_train_batch_size=PROMPTS * ROLLOUTS,
        num_generations=ROLLOUTS,
        max_completion_length=TOKENS,
        report_to=[],
    )
    return PassKGRPOTrainer(str(cached_smollm2()), accuracy_reward, args=args, train_dataset=data)


def plain_generate(trainer: PassKGRPOTrainer, data: Dataset) -> None:
    prompts = [prompt for prompt in data["prompt"] for _ in range(ROLLOUTS)]
    batch = trainer.processing_class.apply_chat_template(
        prompts, add_generation_prompt=True, tokenize=True, return_dict=True, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        trainer.model.generate(**batch.to(trainer.model.device), generation_config=trainer.generation_config)


def plain_pass(trainer: PassKGRPOTrainer, rollouts: ScoredRollouts) -> None:
    model, order = trainer.model, longest_first(rollouts)
    for first in range(0, len(order), AT_A_TIME):
        batch = padded(rollouts, order[first : first + AT_A_TIME], trainer.processing_class.pad_token_id, model.device)
        keep = batch.completion_length
        logits = model(batch.input_ids, batch.attention_mask, use_cache=False, logits_to_keep=keep + 1).logits
        log_probs = selective_log_softmax(logits[:, :-1], batch.input_ids[:, -keep:])
        (batch.group(log_probs) * batch.token_weights_BK).sum().backward()
    model.zero_grad()


def sketch(trainer: PassKGRPOTrainer, rollouts: ScoredRollouts) -> None:
    gram_matrix(trainer.model, rollouts, trainer.processing_class.pad_token_id, store="sketch", batch_size=AT_A_TIME)


def seconds(way: Callable[[], object]) -> float:
    torch.manual_seed(0)  # all draw the same tokens
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    data = mixed_sums(PROMPTS).map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(data, folder)
        rows = list(range(PROMPTS))
        sample = partial(sample_rollouts, trainer, data, rows, ROLLOUTS, None, lambda count: None)
        rollouts, _ = sample()
        # Half of them correct, so that no gradient is zero.
        rollouts = ScoredRollouts(
            rollouts.prompt_ids, rollouts.completion_ids, torch.arange(PROMPTS * ROLLOUTS).view(PROMPTS, -1) % 2
        )
        ways = {
            "rollouts": (partial(plain_generate, trainer, data), sample),
            "gradients": (partial(plain_pass, trainer, rollouts), partial(sketch, trainer, rollouts)),
        }
        print(f"{PROMPTS} prompts x {ROLLOUTS} rollouts x {TOKENS} tokens, {rounds} rounds, wall time")
        print("| | plain | ours | ratio |\n|---|---|---|---|")
        for name, (plain, ours) in ways.items():
            times = [(seconds(plain), seconds(ours)) for _ in range(rounds + 1)][1:]
            plain_s, ours_s = (median(each) for each in zip(*times, strict=True))
            ratio = median(b / a for a, b in times)
            print(f"| {name} | {plain_s:.1f} s | {ours_s:.1f} s | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
