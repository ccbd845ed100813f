"""The Gram matrix of the model that a trainer trains, and its rehearsal."""

from functools import partial
from typing import Any

import torch

from passk_trl.distributed.engine import engine_reset_afterwards, reset_engine
from passk_trl.rollout_trainer import RolloutTrainer

from . import GramMatrix, ScoredRollouts, gram_matrix
from .rehearsal import depends_on_padding, rehearse


def gram_of_trained(trainer: RolloutTrainer, rollouts: ScoredRollouts, **options: Any) -> GramMatrix:
    """
    [`~passk_trl.gradients.gram_matrix`] of the model in training, at the trainer's temperature and precision. The
    engine is ready for training afterwards, also after an exception.
    """
    with engine_reset_afterwards(trainer):
        return gram_matrix(_model(trainer), rollouts, **_settings(trainer), **options)


def rehearse_on_trained(trainer: RolloutTrainer, **options: Any) -> None:
    """
    Takes gradients of a few made-up tokens, so that what cannot be measured is known before training starts.

    Raises:
        `ValueError`: if the gradients of the model cannot be taken; it tells why.
    """
    device = trainer.accelerator.device
    random_streams = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with random_streams, engine_reset_afterwards(trainer):
        rehearse(_model(trainer), **_settings(trainer), **options)


def is_trained_with_other_positions(trainer: RolloutTrainer) -> bool:
    """Whether the trainer's own pass shifts the positions of the shorter prompts of a batch, unlike generation."""
    with engine_reset_afterwards(trainer):
        return depends_on_padding(_model(trainer), trainer.accelerator.autocast)


def _model(trainer: RolloutTrainer) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_torch_compile=False)


def _settings(trainer: RolloutTrainer) -> dict[str, Any]:
    return {
        "pad_token_id": trainer._tokenizer.pad_token_id,
        "temperature": trainer.temperature,
        "autocast": trainer.accelerator.autocast,
        "reset_engine": partial(reset_engine, trainer),
    }
