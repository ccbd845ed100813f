"""The Gram matrix of the model that a trainer trains."""

from functools import partial
from typing import Any

from trl import GRPOTrainer

from passk_trl.distributed.engine import engine_reset_afterwards, reset_engine

from . import GramMatrix, ScoredRollouts, gram_matrix


def gram_of_trained(trainer: GRPOTrainer, rollouts: ScoredRollouts, **options: Any) -> GramMatrix:
    """
    [`~passk_trl.gradients.gram_matrix`] of the model in training, at the trainer's temperature and precision. The
    engine is ready for training afterwards, also after an exception.
    """
    with engine_reset_afterwards(trainer):
        return gram_matrix(
            trainer.accelerator.unwrap_model(trainer.model_wrapped),
            rollouts,
            pad_token_id=trainer._tokenizer.pad_token_id,
            temperature=trainer.temperature,
            autocast=trainer.accelerator.autocast,
            reset_engine=partial(reset_engine, trainer),
            **options,
        )
