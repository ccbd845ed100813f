"""What a controller sees before each batch of training, and what it decides."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

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
        advantages_PG (`torch.Tensor`): of the batch's rollouts, in any floating dtype.
        figures (`dict[str, float]`): what was decided, logged as `control/{name}`.
    """

    advantages_PG: Tensor
    figures: dict[str, float] = field(default_factory=dict)


class Controller(TrainerCallback, ExportableState, ABC):
    """
    Decides, batch by batch, the advantages of [`~passk_trl.PassKGRPOTrainer`], among whose callbacks it is.

    A subclass has `decide`. What it remembers from batch to batch goes by name into `remembered`: plain numbers, which
    checkpoints keep and a resumed run takes up. A decision must follow from the situation and these alone, so that all
    ranks make the same.
    """

    needs_reports = False
    remembered: tuple[str, ...] = ()

    @abstractmethod
    def decide(self, now: Situation) -> Decision:
        """The advantages of a batch."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {name: getattr(self, name) for name in self.remembered}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """
        Takes up what the checkpoint has that training resumes from.

        Raises:
            `ValueError`: if it is of a controller of this name that remembered something else.
        """
        # A checkpoint of a run without this controller knows nothing of it; the next will ask for its place.
        kept = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        if set(kept["attributes"]) != set(self.remembered):
            raise ValueError(
                f"the checkpoint's {type(self).__name__} remembers {', '.join(kept['attributes'])}, not "
                f"{', '.join(self.remembered)}: it is of another version; resume with that one, or start anew."
            )
        if state.global_step > 0:
            for name, value in kept["attributes"].items():
                setattr(self, name, value)


def check_controllable(args: Any, controllers: Sequence[Controller]) -> None:
    """
    Raises:
        `ValueError`: if there are several controllers, or the config asks for advantages of its own, or to make
            callbacks anew from a checkpoint.
    """
    name = type(controllers[-1]).__name__
    if len(controllers) > 1:
        raise ValueError(f"{type(controllers[0]).__name__} and {name} would both decide; give one controller.")
    if args.objective is not None or args.advantage_estimator != "weighted_loo":
        setting = "advantage_estimator" if args.objective is None else "objective"
        raise ValueError(f"{setting}={getattr(args, setting)!r} leaves {name} nothing to decide; leave it unset.")
    if args.restore_callback_states_from_checkpoint:
        raise ValueError(
            f"restore_callback_states_from_checkpoint=True would make another {name} with arguments by default; leave "
            "it off: a controller takes up by itself what the checkpoint has."
        )
    if args.multi_objective_aggregation == "normalize_then_sum":
        raise ValueError(
            f"multi_objective_aggregation='normalize_then_sum' never forms the reward that {name} decides by; set "
            "'sum_then_normalize'."
        )
