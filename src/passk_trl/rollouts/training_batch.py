"""Scored rollouts from a trainer: sampled for probe prompts, or those its training batch has already.

Everything goes through the trainer's own generation and reward functions, and nothing of it is left behind in them.
"""

from functools import wraps
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from passk_trl.distributed.ranks import gather_list, num_ranks
from passk_trl.gradients import ScoredRollouts

from .scoring import success_of


class TrainingBatch:
    """
    Remembers the latest rollouts that a trainer generated for training, with their rewards, before they are shuffled.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            The trainer, whose generation is listened to from now on.
    """

    def __init__(self, trainer: GRPOTrainer):
        self._trainer = trainer
        self._batch: dict[str, Any] | None = None
        self._rewards: Tensor | None = None
        self._scored: Tensor | None = None  # by whoever scored last, another monitor's probe maybe
        generate, score = trainer._generate_and_score_completions, trainer._calculate_rewards

        @wraps(score)
        def heard_score(*args: Any, **kwargs: Any) -> Tensor:
            self._scored = score(*args, **kwargs)
            return self._scored

        @wraps(generate)
        def heard_generate(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = generate(inputs)
            if trainer.model.training:
                self._batch, self._rewards = batch, self._scored
            return batch

        trainer._calculate_rewards = heard_score
        trainer._generate_and_score_completions = heard_generate

    def rollouts(
        self, num_prompts: int, seed: int, success_threshold: float | None
    ) -> tuple[ScoredRollouts, list[int]]:
        """
        This rank's share of `num_prompts` of its groups, chosen by the seed, and the groups they are.

        Raises:
            `ValueError`: if nothing was generated yet, or rewards are neither 0 nor 1 and no threshold is set.
        """
        if self._batch is None or self._rewards is None:
            raise ValueError(
                "no training batch was generated yet; give a probe_dataset to probe before the first step."
            )
        rewards_PGF = self._rewards.view(-1, self._trainer.num_generations, self._rewards.size(1)).cpu()
        success_PG = success_of(self._trainer, rewards_PGF, success_threshold)
        scored = (~success_PG.isnan().any(dim=1)).nonzero().flatten().tolist()
        order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(seed)).tolist()
        return batch_rollouts(self._trainer, self._batch, success_PG, [scored[i] for i in order[:num_prompts]])


def batch_rollouts(
    trainer: GRPOTrainer, batch: dict[str, Any], success_PG: Tensor, groups: list[int]
) -> tuple[ScoredRollouts, list[int]]:
    """This rank's share of these groups of a training batch, whose rows the ranks have between them; and which."""
    n = success_PG.size(1)
    prompts = gather_list(_unpadded(batch["prompt_ids"], batch["prompt_mask"]))[::n]
    completions = gather_list(_unpadded(batch["completion_ids"], batch["completion_mask"]))
    mine = groups[trainer.accelerator.process_index :: num_ranks()]
    completions_of = [completions[i * n : (i + 1) * n] for i in mine]
    return ScoredRollouts([prompts[i] for i in mine], completions_of, success_PG[mine]), mine


def _unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [row[kept.bool()].tolist() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]
