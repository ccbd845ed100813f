"""Training watched by a monitor: small runs, and all that training consists of, to compare."""

import random

import numpy as np
import torch

import tiny
from passk_trl import PassKGRPOConfig, PassKGRPOTrainer


PROBE = {"every": 2, "num_prompts": 12, "num_rollouts": 8}


def noisy_reward(completions, log_metric, log_extra, **kwargs):
    """Draws from every random stream and logs, as reward functions in the field do."""
    draws = [random.random() + float(np.random.rand()) + torch.rand(()).item() for _ in completions]
    log_metric("mean_draw", sum(draws) / len(draws))
    log_extra("draw", draws)
    return [float(draw > 1.5) for draw in draws]


def trained(
    output_dir,
    monitor=None,
    trainer_class=PassKGRPOTrainer,
    config=PassKGRPOConfig,
    peft=None,
    policy=None,
    **overrides,
):
    if config is PassKGRPOConfig:
        overrides.setdefault("pass_at_k", 4)
    trainer = trainer_class(
        model=policy or tiny.policy(),
        reward_funcs=overrides.pop("reward_funcs", noisy_reward),
        args=tiny.training_args(output_dir, config, **overrides),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        peft_config=peft,
    )
    if monitor is not None:
        monitor.attach(trainer)
    trainer.train()
    return trainer


def training_state(trainer):
    """All that training consists of, and TRL's metrics without clock times."""
    optimizer = [value for state in trainer.optimizer.state.values() for value in state.values()]
    ours = ("conflict/", "passk/")
    clock = ("step_time", "runtime", "per_second")
    history = [
        {key: value for key, value in entry.items() if not key.startswith(ours) and not any(c in key for c in clock)}
        for entry in trainer.state.log_history
    ]
    streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    weights = [p.tolist() for p in trainer.model.state_dict().values()]
    return weights, [v.tolist() if isinstance(v, torch.Tensor) else v for v in optimizer], streams, history


def build(tmp_path, monitor, **overrides):
    arguments = {
        "model": tiny.policy(),
        "reward_funcs": tiny.starts_right,
        "train_dataset": tiny.questions(),
        "processing_class": tiny.tokenizer(),
    }
    args = tiny.training_args(tmp_path, **{"pass_at_k": 4, **overrides.pop("args", {})})
    return PassKGRPOTrainer(args=args, callbacks=[monitor], **{**arguments, **overrides})
