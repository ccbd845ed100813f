"""Trainers that run under every engine, and the state of training that two runs are compared by."""

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

import engines
import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.gradients import ScoredRollouts
from passk_trl.rollout_trainer import RolloutTrainer
from ranks import run_ranks


PROBE = {"every": 2, "num_prompts": 11, "num_rollouts": 8, "at_start": True}  # 11: one rank has one prompt less
VOCABULARY = 3 + len(tiny.CHARACTERS)


# Policies by name: a family of transformers, and the adapter that is trained, if any.
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
ADAPTERS = {
    "lora": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "dora": {"target_modules": ["q_proj", "v_proj", "down_proj"], "use_dora": True},
    "experts": {"target_modules": ["q_proj", "v_proj"], "target_parameters": EXPERTS},
}


def build(
    engine: str, lora: bool, output_dir, *callbacks, rloo: bool = False, policy: Any = None, **options
) -> RolloutTrainer:
    """
    A trainer of a tiny policy: ours, or TRL's for RLOO. To be called on each rank, inside `everywhere`.

    `policy` is a model, or a name such as "jamba" or "llama dora". Without it, it is a Qwen2, with both kinds of head.
    """
    arguments = engines.arguments(engine)
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine)}
    adapter = ["lora"] if lora else []
    if policy is None:
        policy = tiny.policy(tie_word_embeddings=not lora)
    elif isinstance(policy, str):
        family, *adapter = policy.split()
        policy = tiny.policy_of(family)
    parts = {
        "train_dataset": tiny.questions(),
        "processing_class": tiny.tokenizer(),
        "peft_config": LoraConfig(r=4, init_lora_weights=False, **ADAPTERS[adapter[0]]) if adapter else None,
    }
    settings = {"max_steps": 4, **arguments, **size, **options}
    if not rloo:
        args = tiny.training_args(output_dir, **{"pass_at_k": 4, **settings})
        return PassKGRPOTrainer(policy, tiny.starts_low, args, **parts, callbacks=list(callbacks))
    args = tiny.training_args(output_dir, RLOOConfig, beta=0.0, **settings)  # a reference is loaded from a directory
    trainer = RLOOTrainer(policy, tiny.starts_low, args, **parts)
    for callback in callbacks:
        callback.attach(trainer) if isinstance(callback, ConflictMonitor) else trainer.add_callback(callback)
    return trainer


def everywhere(function, engine: str, directory, *args) -> list:
    """Calls `function(engine, *args)` on all ranks of an engine, and returns their results."""
    return run_ranks(
        function,
        engine,
        *args,
        world_size=engines.world_size(engine),
        environment=engines.environment(engine, directory),
    )


def every_engine(test):
    """Runs a test under every engine, with full training and with LoRA."""
    parametrized = pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])(test)
    return pytest.mark.parametrize("engine", engines.ENGINES)(parametrized)


def rollouts(prompts: int, per_prompt: int, longest: int, seed: int) -> ScoredRollouts:
    """Random prompts and completions of different lengths."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(least: int, most: int) -> list[int]:
        length = int(torch.randint(least, most + 1, (1,), generator=generator))
        return torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()

    success_NG = torch.randint(0, 2, (prompts, per_prompt), generator=generator)
    completions = [[tokens(1, longest) for _ in range(per_prompt)] for _ in range(prompts)]
    return ScoredRollouts([tokens(2, 6) for _ in range(prompts)], completions, success_NG)


# Ranks hold different numbers of prompts, of rollouts, and of tokens.
SHARES = [rollouts(prompts=5, per_prompt=4, longest=9, seed=0), rollouts(prompts=2, per_prompt=6, longest=4, seed=1)]


def reference_rows(model, rollouts: ScoredRollouts, temperature: float = 1.0) -> torch.Tensor:
    """The gradients of all trained parameters that autograd forms, one prompt and one rollout at a time, `(N, P)`."""
    trained = [p for p in model.parameters() if p.requires_grad]
    mode, rows = model.training, []
    model.eval()  # GPT-2 has dropout
    for i in range(rollouts.num_prompts):
        total = 0
        for completion, weight in zip(rollouts.completion_ids[i], rollouts.score_weights_NG[i], strict=True):
            ids = torch.tensor([rollouts.prompt_ids[i] + completion])
            log_probs = (model(ids).logits[0, -len(completion) - 1 : -1] / temperature).log_softmax(-1)
            total = total + weight * log_probs.gather(-1, torch.tensor(completion)[:, None]).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten().double() for gradient in gradients]))
    model.train(mode)
    return torch.stack(rows)


class CheckReset(TrainerCallback):
    """Checks the engine after each step, and the probe at its end."""

    def on_step_end(self, args, state, control, **kwargs):
        engines.check_reset(self.trainer)


def train_with(monitors: list[ConflictMonitor], engine: str, lora: bool, output_dir, **options) -> tuple:
    """The steps that each monitor reported on, and the state that training ends in."""
    check = CheckReset()
    trainer = check.trainer = build(engine, lora, output_dir, *monitors, check, **options)
    trainer.train()
    engines.check_running(engine, trainer)
    ours_or_clock = re.compile(r"conflict/|passk/|.*(time|per_second)")
    history = [{k: v for k, v in e.items() if not ours_or_clock.match(k)} for e in trainer.state.log_history]
    weights = [engines.local_values(p) for p in trainer.model.parameters()]
    optimizer = engines.optimizer_state(engine, trainer)
    streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    return [monitor.steps for monitor in monitors], (weights, optimizer, streams, history)
