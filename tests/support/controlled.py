"""Tiny trainers with controllers among their callbacks, and what became of their training."""

from typing import Any

from transformers import TrainerCallback

import engines
import tiny
from passk_trl import PassKGRPOTrainer


# Of a monitor that probes before every step.
PROBE: dict[str, Any] = {"every": 1, "num_prompts": 8, "num_rollouts": 8, "at_start": True}


# Of a monitor that rides, with as many prompts in its window as a batch of `RIDDEN` has.
RIDE: dict[str, Any] = {"ride": True, "window": 8, "every": 1}
RIDDEN: dict[str, Any] = {"gradient_accumulation_steps": 4}


def build(output_dir: Any, *callbacks: TrainerCallback, engine: str = "single", **options: Any) -> PassKGRPOTrainer:
    """A trainer for pass@4 and four steps, under an engine; `options` are of its config."""
    size = {"per_device_train_batch_size": 16 // engines.world_size(engine)}
    arguments = {"pass_at_k": 4, "max_steps": 4, **engines.arguments(engine), **size, **options}
    return PassKGRPOTrainer(
        tiny.policy(),
        tiny.starts_low,
        tiny.training_args(output_dir, **arguments),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=list(callbacks),
    )


def weights(trainer: PassKGRPOTrainer) -> list:
    """This rank's values of each parameter."""
    return [engines.local_values(p) for p in trainer.model.parameters()]


def logged(trainer: PassKGRPOTrainer, name: str) -> list[float]:
    """The values that were logged under a name."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]
