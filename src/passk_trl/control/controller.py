"""What a controller sees before each batch of training, and what it decides."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from passk_trl.interference import InterferenceReport


logger = logging.getLogger(__name__)

# A monitor probes every 50 steps by default: for so many batches it is normal that there is no report.
NORMALLY_BLIND = 50


@dataclass(frozen=True)
class Situation:
    """
    What is known once the rollouts of a training batch have rewards. It is the same on all ranks.

    Attributes:
        k (`int`): the k trained for.
        progress (`float`): how much of training is done, from 0 to 1.
        rewards_PG (`torch.Tensor`): one reward for each rollout of the batch; NaN where unscorable.
        reports (`Sequence[InterferenceReport]`): the reports of a [`~passk_trl.ConflictMonitor`] so far, the latest
            last; with `ride` the latest alone, since it is of the whole window; empty without a monitor.
        gram (`Callable[[], torch.Tensor]`): takes a backward pass over the batch and returns the inner products of
            its prompts' pass@1 gradients, float64 `(P, P)`.
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
        figures (`dict[str, float]`): numbers to log, each as `control/{name}`.
        blind (`str`, *optional*): why the controller could not see in this batch what it decides by, such as
            `"there is no report yet"`; `None` if it could. `control/blind` is 1 or 0 accordingly.
    """

    advantages_PG: Tensor
    figures: dict[str, float] = field(default_factory=dict)
    blind: str | None = None

    @property
    def logged(self) -> dict[str, float]:
        """The figures, and whether the controller was blind."""
        return {**self.figures, "blind": float(self.blind is not None)}


class Controller(TrainerCallback, ExportableState, ABC):
    """
    Decides, batch by batch, the advantages of [`~passk_trl.PassKGRPOTrainer`]. It is one of the trainer's callbacks.

    A subclass implements `decide`. It lists in `remembered` the names of the attributes that it keeps from batch to
    batch. These are plain numbers: checkpoints store them, and a resumed run restores them. A decision must follow
    from the situation and these attributes alone, so that all ranks decide the same.

    A controller that is blind in a batch says so in its [`Decision`]. After more than 50 such batches in a row, a
    warning gives the reason.
    """

    needs_reports = False
    remembered: tuple[str, ...] = ()
    # The key in a checkpoint of an attribute that has another name there.
    _key_of: ClassVar[Mapping[str, str]] = MappingProxyType({})
    # Attributes that checkpoints of earlier versions lack. A run resumed from one learns them anew.
    _new: ClassVar[frozenset[str]] = frozenset()
    _blind_in_a_row = 0

    @abstractmethod
    def decide(self, now: Situation) -> Decision:
        """The advantages of a batch."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        return {"args": {}, "attributes": {key: getattr(self, name) for key, name in self._attribute_of().items()}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """
        Restores the attributes from the checkpoint that training resumes from.

        Raises:
            `ValueError`: if the checkpoint is of a controller of this name that remembered other attributes.
        """
        # A checkpoint of a run without this controller has no entry for it. The next checkpoint needs one.
        stored = state.stateful_callbacks.setdefault(type(self).__name__, self.state())["attributes"]
        attribute_of = self._attribute_of()
        if not set(attribute_of) - self._new <= set(stored) <= set(attribute_of):
            raise ValueError(
                f"the checkpoint's {type(self).__name__} remembers {', '.join(stored)}, not "
                f"{', '.join(attribute_of)}: it is of another version; resume with that one, or start anew."
            )
        if state.global_step > 0:
            for key, value in stored.items():
                setattr(self, attribute_of[key], value)

    def warn_of_blindness(self, blind: str | None) -> None:
        """Counts the batches in a row in which the controller was blind, and warns when there are unusually many."""
        self._blind_in_a_row = 0 if blind is None else self._blind_in_a_row + 1
        if self._blind_in_a_row == NORMALLY_BLIND + 1:
            name = type(self).__name__
            logger.warning("%s was blind in more than %d batches in a row: %s.", name, NORMALLY_BLIND, blind)

    def _attribute_of(self) -> dict[str, str]:
        return {self._key_of.get(name, name): name for name in self.remembered}


def check_controllable(args: Any, controllers: Sequence[Controller]) -> None:
    """
    Raises:
        `ValueError`: if there are several controllers, if the config sets how advantages are computed, or if it asks
            for callbacks to be rebuilt from a checkpoint.
    """
    name = type(controllers[-1]).__name__
    if len(controllers) > 1:
        raise ValueError(f"{type(controllers[0]).__name__} and {name} would both decide; give one controller.")
    if args.objective is not None or args.advantage_estimator != "weighted_loo":
        setting = "advantage_estimator" if args.objective is None else "objective"
        raise ValueError(f"{setting}={getattr(args, setting)!r} leaves {name} nothing to decide; leave it unset.")
    if args.restore_callback_states_from_checkpoint:
        raise ValueError(
            f"restore_callback_states_from_checkpoint=True would make another {name} with default arguments; leave it "
            "off: a controller restores its own state from the checkpoint."
        )
    if args.multi_objective_aggregation == "normalize_then_sum":
        raise ValueError(
            f"multi_objective_aggregation='normalize_then_sum' never forms the reward that {name} decides by; set "
            "'sum_then_normalize'."
        )
