"""Compares the time of a step of PassKGRPOTrainer with one of trl.GRPOTrainer: same model, data and options.

    python benchmarks/training_step.py [--rounds 5] [--steps 10]

Both trainers run in turn, for several rounds, in one process, on the quickstart's policy, task and batch. The script
prints the ratio of the median step times, and the time of the advantages alone, for 512 prompts x 64 rollouts.
"""

import argparse
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from passk_trl import PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.estimators import passk_advantages
from passk_trl.policy import cached_policy
from passk_trl.rewards import accuracy_reward
from passk_trl.tasks import quickstart


class StepTimes(TrainerCallback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(time.perf_counter() - self.began)


def step_times(trainer_class: type, config: type, train: Dataset, steps: int, **objective) -> list[float]:
    """Seconds of each step but the first, which includes the cost of first calls."""
    with tempfile.TemporaryDirectory() as output_dir:
        args = config(
            output_dir=output_dir,
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=256,
            num_generations=16,
            max_completion_length=10,
            max_steps=steps + 1,
            gradient_checkpointing=False,
            loss_type="dr_grpo",
            scale_rewards="none",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            **objective,
        )
        times = StepTimes()
        trainer_class(str(cached_policy()), accuracy_reward, args=args, train_dataset=train, callbacks=[times]).train()
    return times.seconds[1:]


def milliseconds_of_advantages(repetitions: int = 50) -> float:
    rewards_PG = (torch.rand(512, 64, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        passk_advantages(rewards_PG, 8)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    train = quickstart()["train"]
    contenders = {
        "trl.GRPOTrainer": (GRPOTrainer, GRPOConfig, {}),
        "PassKGRPOTrainer, pass@8": (PassKGRPOTrainer, PassKGRPOConfig, {"pass_at_k": 8}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, (trainer_class, config, objective) in contenders.items():
            seconds[name] += step_times(trainer_class, config, train, options.steps, **objective)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<26}{1000 * median:>9.1f} ms a step, median of {len(seconds[name])}")
    of_trl, ours = medians.values()
    print(f"ratio: {ours / of_trl:.3f}")
    advantages = milliseconds_of_advantages()
    share = advantages / (1000 * ours)
    print(f"advantages of 512 prompts x 64 rollouts: {advantages:.2f} ms, {share:.2%} of a step")


if __name__ == "__main__":
    main()
