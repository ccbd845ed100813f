"""The Gram matrix of a batch of training, from the rollouts it has."""

from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from passk_trl.distributed.ranks import gather_list
from passk_trl.gradients.of_trainer import gram_of_trained
from passk_trl.rollouts.checks import check_can_probe
from passk_trl.rollouts.training_batch import batch_rollouts

from .mixing import check_binary


def batch_gram(trainer: GRPOTrainer, batch: dict[str, Any], rewards_PG: Tensor) -> Tensor:
    """
    Inner products of the prompts' pass@1 gradients, float64 `(P, P)`, the same on all ranks.

    Rows are 0 where all rollouts of a prompt fared alike, as its gradient is, or one could not be scored, or its
    gradient is not finite.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            The trainer, which has generated the batch and not yet trained on it.
        batch (`dict`):
            What its generation returned, of this rank.
        rewards_PG (`torch.Tensor`):
            Rewards of all ranks' rollouts, 0 or 1.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1, or the trainer generates in a way that cannot be measured.
        `torch.OutOfMemoryError`: on all ranks, if a single rollout is too much for one.
    """
    check_can_probe(trainer)
    check_binary(rewards_PG)
    gram_PP = torch.zeros(len(rewards_PG), len(rewards_PG), dtype=torch.float64)
    mixed = (rewards_PG.min(dim=1).values < rewards_PG.max(dim=1).values).nonzero().flatten().tolist()  # not NaN
    if not mixed:
        return gram_PP
    rollouts, mine = batch_rollouts(trainer, batch, rewards_PG, mixed)
    measured = gram_of_trained(trainer, rollouts, store="auto", seed=trainer.state.global_step)
    rows, finite = torch.tensor(gather_list(mine)), measured.gram_NN.diagonal().isfinite()
    kept = rows[finite]
    gram_PP[kept.unsqueeze(1), kept] = measured.gram_NN[finite][:, finite]
    return gram_PP
