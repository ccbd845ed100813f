"""The rollouts that training has just generated, taken as those of a probe: nothing is generated for it."""

from functools import wraps
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.ranks import gather_list, num_ranks
from passk_trl.gradients import ScoredRollouts
from passk_trl.rollout_trainer import RolloutTrainer

from .scoring import trainer_success


class TrainingBatch:
    """
    Remembers the latest rollouts that a trainer generated for training, with their rewards, before TRL shuffles them.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            The trainer. Its methods for generation and scoring are wrapped.
    """

    def __init__(self, trainer: RolloutTrainer):
        self._trainer = trainer
        self._batch: dict[str, Any] | None = None
        self._rewards: Tensor | None = None
        self._latest_rewards: Tensor | None = None  # of the latest scoring, which may be that of another probe
        generate, score = trainer._generate_and_score_completions, trainer._calculate_rewards

        @wraps(score)
        def score_and_remember(*args: Any, **kwargs: Any) -> Tensor:
            self._latest_rewards = score(*args, **kwargs)
            return self._latest_rewards

        @wraps(generate)
        def generate_and_remember(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = generate(inputs)
            if trainer.model.training:
                self._batch, self._rewards = batch, self._latest_rewards
            return batch

        trainer._calculate_rewards = score_and_remember
        trainer._generate_and_score_completions = generate_and_remember

    def rollouts(
        self, num_prompts: int, seed: int, success_threshold: float | None
    ) -> tuple[ScoredRollouts, list[int]]:
        """
        Rollouts of `num_prompts` groups of the batch, drawn with the seed.

        Returns:
            [`ScoredRollouts`] and `list[int]`: this rank's rollouts, and the numbers of their groups in the batch.

        Raises:
            `ValueError`: if nothing was generated yet, or rewards are neither 0 nor 1 and no threshold is set.
        """
        success_PG = self.success(success_threshold)
        assert self._batch is not None  # or it would have no rewards
        scored = (~success_PG.isnan().any(dim=1)).nonzero().flatten().tolist()
        order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(seed)).tolist()
        return batch_rollouts(self._trainer, self._batch, success_PG, [scored[i] for i in order[:num_prompts]])

    def success(self, success_threshold: float | None) -> Tensor:
        """
        Success of all ranks' rollouts of the batch, `(P, G)`: 0, 1, or NaN where unscorable.

        Raises:
            `ValueError`: as for `rollouts`.
        """
        if self._rewards is None:
            raise ValueError(
                "no training batch was generated yet; give a probe_dataset to probe before the first step."
            )
        rewards_PGF = self._rewards.view(-1, self._trainer.num_generations, self._rewards.size(1)).cpu()
        return trainer_success(self._trainer, rewards_PGF, success_threshold)


def batch_rollouts(
    trainer: RolloutTrainer, batch: dict[str, Any], success_PG: Tensor, groups: list[int]
) -> tuple[ScoredRollouts, list[int]]:
    """
    Rollouts of some groups of a training batch.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            The trainer.
        batch (`dict`):
            This rank's rows of the batch, as TRL's generation returned them.
        success_PG (`torch.Tensor`):
            Success of all ranks' rollouts.
        groups (`list[int]`):
            Numbers of the groups, the same on all ranks.

    Returns:
        [`ScoredRollouts`] and `list[int]`: this rank's share of the groups, and their numbers.

    Raises:
        `ValueError`: if the batch has images.
    """
    if "num_images" in batch:
        raise ValueError("the training batch has images, whose gradients cannot be taken; give prompts of text alone.")
    num_rollouts = success_PG.size(1)
    prompts = gather_list(_unpadded(batch["prompt_ids"], batch["prompt_mask"]))[::num_rollouts]
    completions = gather_list(_unpadded(batch["completion_ids"], batch["completion_mask"]))
    mine = groups[trainer.accelerator.process_index :: num_ranks()]
    completions_NG = [completions[i * num_rollouts : (i + 1) * num_rollouts] for i in mine]
    return ScoredRollouts([prompts[i] for i in mine], completions_NG, success_PG[mine]), mine


def _unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [row[kept.bool()].tolist() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]
