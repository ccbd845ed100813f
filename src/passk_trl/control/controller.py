"""What a controller sees before each batch of training, and what it decides."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from passk_trl.estimators import passk_advantages, unbiased_prompt_weight
from passk_trl.interference import InterferenceReport


@dataclass(frozen=True)
class Situation:
    """
    What is known when the rollouts of a batch of training have been scored: the same on all ranks.

    Attributes:
        k (`int`): the k trained for.
        progress (`float`): how much of training is over, from 0 to 1.
        rewards_PG (`torch.Tensor`): one reward for each rollout of the batch; NaN where unscorable.
        reports (`Sequence[InterferenceReport]`): what a [`~passk_trl.ConflictMonitor`] has found so far, the latest
            last; none without one.
        gram (`Callable[[], torch.Tensor]`): takes a backward pass over the batch, and tells the inner products of its
            prompts' pass@1 gradients, float64 `(P, P)`.
    """

    k: int
    progress: float
    rewards_PG: Tensor
    reports: Sequence[InterferenceReport]
    gram: Callable[[], Tensor]


@dataclass(frozen=True)
class Decision:
    """
    What is trained next.

    Attributes:
        advantages_PG (`torch.Tensor`): of the batch's rollouts, float64.
        figures (`dict[str, float]`): what was decided, logged as `control/{name}`.
    """

    advantages_PG: Tensor
    figures: dict[str, float] = field(default_factory=dict)


class Controller(TrainerCallback, ExportableState):
    """
    Decides, batch by batch, the advantages of [`~passk_trl.PassKGRPOTrainer`], among whose callbacks it is.

    A subclass has `decide`. What it remembers from batch to batch goes by name into `remembered`: plain numbers, which
    checkpoints keep and a resumed run takes up. A decision must follow from the situation and these alone, so that all
    ranks make the same.
    """

    needs_reports = False
    remembered: tuple[str, ...] = ()

    def decide(self, now: Situation) -> Decision:
        """The advantages of a batch."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {name: getattr(self, name) for name in self.remembered}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes up what the checkpoint has that training resumes from."""
        if state.global_step > 0 and (kept := state.stateful_callbacks.get(type(self).__name__)):
            for name, value in kept["attributes"].items():
                setattr(self, name, value)


def mixed_advantages(rewards_PG: Tensor, k: int, share: float, mean_weight: float | None = None) -> Tensor:
    r"""
    (1 − λ) A^(k)/ω̄ + λ A^(1): the pass@k advantages, by their mean prompt weight, mixed with those of pass@1.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts.
        k (`int`):
            Attempts.
        share (`float`):
            λ, from 0 (pass@k) to 1 (pass@1).
        mean_weight (`float`, *optional*):
            ω̄, the mean of the prompts' pass@k weights, by which λ compares like with like; the batch's own if `None`.

    Returns:
        `torch.Tensor` `(P, G)`.
    """
    if mean_weight is None:
        mean_weight = batch_weights(rewards_PG, k).mean().item()
    passk = passk_advantages(rewards_PG, k) / max(mean_weight, 1e-6)
    return (1 - share) * passk + share * passk_advantages(rewards_PG, 1)


def batch_weights(rewards_PG: Tensor, k: int) -> Tensor:
    """ω_k(n, c) of each prompt of a batch, `(P,)`; k above n − 1 is taken as n − 1."""
    scored_P = (~rewards_PG.isnan()).sum(dim=1).clamp(min=2)
    weights = unbiased_prompt_weight(scored_P, rewards_PG.nansum(dim=1).round(), min(k, int(scored_P.min()) - 1))
    return torch.as_tensor(weights)


def check_controllable(args: Any, controller: Controller, other: Controller | None = None) -> None:
    """
    Raises:
        `ValueError`: if there is another controller already, or the config asks for advantages of its own.
    """
    name = type(controller).__name__
    if other is not None:
        raise ValueError(f"{type(other).__name__} and {name} would both decide; give one controller.")
    if args.objective is not None or args.advantage_estimator != "weighted_loo":
        setting = "advantage_estimator" if args.objective is None else "objective"
        raise ValueError(f"{setting}={getattr(args, setting)!r} leaves {name} nothing to decide; leave it unset.")
    if args.multi_objective_aggregation == "normalize_then_sum":
        raise ValueError(
            f"multi_objective_aggregation='normalize_then_sum' never forms the reward that {name} decides by; set "
            "'sum_then_normalize'."
        )
