"""The engine that holds the model for training, given back as it was found, also by a probe that was broken off."""

from functools import partial
from typing import Any

from trl import GRPOTrainer

from passk_trl.distributed.engine import at_rest_afterwards, put_to_rest

from . import GramMatrix, ScoredRollouts, gram_matrix


def gram_of_trained(trainer: GRPOTrainer, rollouts: ScoredRollouts, **options: Any) -> GramMatrix:
    """[`~passk_trl.gradients.gram_matrix`] of the model in training, as the trainer samples and computes with it."""
    with at_rest_afterwards(trainer):
        return gram_matrix(
            trainer.accelerator.unwrap_model(trainer.model_wrapped),
            rollouts,
            pad_token_id=trainer._tokenizer.pad_token_id,
            temperature=trainer.temperature,
            autocast=trainer.accelerator.autocast,
            put_to_rest=partial(put_to_rest, trainer),
            **options,
        )
