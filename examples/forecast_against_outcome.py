"""Compares the monitor's forecast for each optimiser step with the exact change of pass@1.

    python examples/forecast_against_outcome.py [--pass-at-k 8] [--steps 40]     # ten seconds a step on a CPU core

The quickstart policy is trained with a probe after each step. Its pass@1 over all probe prompts is known without
sampling, before and after each step. The script prints, for each step, the forecast ⟨∇J_1, Δθ⟩ with its 95% margin and
the exact change. It also prints how many of the forecasts that are larger than their margin have the right sign.
"""

import argparse
import tempfile

import torch
from transformers import TrainerCallback

from exact_success import success
from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.policy import cached_policy
from passk_trl.rewards import accuracy_reward
from passk_trl.tasks import quickstart


class ExactPass1(TrainerCallback):
    """Records the exact pass@1 on the probe prompts at the start of each step, and at the end of training."""

    def __init__(self, rows: list[dict]):
        self.rows = rows
        self.pass_at_1: list[float] = []

    @torch.no_grad()
    def on_step_begin(self, args, state, control, model, processing_class, **kwargs) -> None:
        self.pass_at_1.append(float(success(model, processing_class, self.rows).double().mean()))

    def on_train_end(self, *args, **kwargs) -> None:
        self.on_step_begin(*args, **kwargs)

    @property
    def changes(self) -> list[float]:
        return torch.tensor(self.pass_at_1, dtype=torch.float64).diff().tolist()


def run(pass_at_k: int, steps: int) -> list[tuple[float, float, float]]:
    """For each step: forecast, margin and exact change of pass@1."""
    splits = quickstart()
    monitor = ConflictMonitor(splits["probe"], every=1, num_prompts=128, num_rollouts=16)
    exact = ExactPass1(list(splits["probe"]))
    with tempfile.TemporaryDirectory() as folder:
        args = PassKGRPOConfig(
            folder,
            pass_at_k=pass_at_k,
            max_steps=steps,
            num_generations=16,
            per_device_train_batch_size=256,
            max_completion_length=10,
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_strategy="no",
            report_to=[],
            save_strategy="no",
        )
        model = str(cached_policy())
        callbacks = [exact, monitor]
        PassKGRPOTrainer(model, accuracy_reward, args, splits["train"], callbacks=callbacks).train()
    forecasts = [(float(each.change[0]), float(each.margin[0])) for each in monitor.forecasts]  # the first k is 1
    return [(*forecast, change) for forecast, change in zip(forecasts, exact.changes, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pass-at-k", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    steps = run(options.pass_at_k, options.steps)
    print("step   forecast              exact change of pass@1")
    for number, (forecast, margin, change) in enumerate(steps, start=1):
        sign = "" if abs(forecast) <= margin else "right" if forecast * change > 0 else "wrong"
        print(f"{number:4}   {forecast:+.5f} ± {margin:.5f}   {change:+.5f}  {sign}")
    certain = [forecast * change > 0 for forecast, margin, change in steps if abs(forecast) > margin]
    print(f"{sum(certain)} of the {len(certain)} forecasts larger than their margin have the right sign.")


if __name__ == "__main__":
    main()
