"""The Gram matrix of a training batch, from the rollouts it already has."""

from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from passk_trl.distributed.ranks import gather_list
from passk_trl.gradients.of_trainer import gram_of_trained
from passk_trl.rollouts.checks import check_can_probe
from passk_trl.rollouts.training_batch import batch_rollouts

from .mixed_advantages import check_binary


def batch_gram(trainer: GRPOTrainer, batch: dict[str, Any], rewards_PG: Tensor) -> Tensor:
    """
    Inner products of the prompts' pass@1 gradients, float64 `(P, P)`, the same on all ranks.

    The row of a prompt is 0 if all its rollouts have the same reward (its gradient is 0 then), if one of them could
    not be scored, or if its gradient is not finite.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            The trainer, which has generated the batch and not yet trained on it.
        batch (`dict`):
            What the generation of this rank returned.
        rewards_PG (`torch.Tensor`):
            Rewards of all ranks' rollouts, 0 or 1.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1, or if the way in which the trainer generates cannot be measured.
        `torch.OutOfMemoryError`: on all ranks, if a single rollout does not fit into one rank's memory.
    """
    check_can_probe(trainer)
    check_binary(rewards_PG)
    gram_PP = torch.zeros(len(rewards_PG), len(rewards_PG), dtype=torch.float64)
    partly_solved_P = rewards_PG.min(dim=1).values < rewards_PG.max(dim=1).values  # false for a prompt with a NaN
    with_gradient = partly_solved_P.nonzero().flatten().tolist()
    if not with_gradient:
        return gram_PP
    rollouts, own_prompts = batch_rollouts(trainer, batch, rewards_PG, with_gradient)
    measured = gram_of_trained(trainer, rollouts, store="auto", seed=trainer.state.global_step)
    rows, finite = torch.tensor(gather_list(own_prompts)), measured.gram_NN.diagonal().isfinite()
    kept = rows[finite]
    gram_PP[kept.unsqueeze(1), kept] = measured.gram_NN[finite][:, finite]
    return gram_PP
