"""The Gram matrix of the model that a trainer trains, and its rehearsal."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.engine import engine_reset_afterwards, reset_engine
from passk_trl.distributed.ranks import failing_together
from passk_trl.distributed.sharded_parameters import size_of
from passk_trl.random_streams import random_streams_kept
from passk_trl.rollout_trainer import RolloutTrainer

from . import GramMatrix, ScoredRollouts, gram_matrix
from .causal_lm import CausalLM
from .gram import ready_for_gradients
from .head_gradients import HeadOfTraining
from .own_pass import AddRows, OwnPasses
from .projections import Projections
from .rehearsal import depends_on_padding, rehearse
from .rows import modules_out_of_place
from .rules import Layer
from .selection import Coverage, select
from .sketch_size import arithmetic_of_a_pass
from .store import ExactStore, SketchStore, Store
from .survey import survey
from .training_pass import TrainingPass, measurable_in_training


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
    with _own_random_streams(trainer), engine_reset_afterwards(trainer):
        rehearse(_model(trainer), **_settings(trainer), **options)


def is_trained_with_other_positions(trainer: RolloutTrainer) -> bool:
    """Whether the trainer's own pass shifts the positions of the shorter prompts of a batch, unlike generation."""
    with engine_reset_afterwards(trainer):
        return depends_on_padding(_model(trainer), trainer.accelerator.autocast)


class TrainedGradients:
    """
    The gradients of a model in training that its own training step can give, and, by a pass of their own, of rollouts
    that training leaves out. Both are kept alike.

    Left out is what [`measurable_in_training`] leaves out, what a pass over text does not reach, such as a vision
    tower, and layers that mix the rollouts of a batch.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            The trainer. All ranks make this together, once training has prepared the model.
        parameters (`str`):
            `"all"`, or a regular expression that selects the trainable parameters to measure.

    Raises:
        `ValueError`: if none of the parameters can be measured in a training step.
    """

    def __init__(self, trainer: RolloutTrainer, parameters: str):
        self._trainer = trainer
        self._model = _model(trainer)
        self._causal_lm = CausalLM(self._model, trainer.temperature, trainer.accelerator.autocast)
        selected = select(self._model, parameters)
        with ExitStack() as undo:
            undo.enter_context(_own_random_streams(trainer))
            undo.enter_context(engine_reset_afterwards(trainer))
            undo.enter_context(ready_for_gradients(self._model))
            undo.enter_context(failing_together())
            plan = survey(self._causal_lm, selected, trainer.accelerator.device)
            modules_of_head = self._causal_lm.modules_of_head()
            # TRL takes the weight of the output embeddings. A linear layer inside them, as an adapter has, is another.
            is_whole_head = self._causal_lm.head_module in modules_of_head[:1]
            asked = {each.name for each in plan.in_graph}
            head = {own: name for own, name in plan.head.items() if is_whole_head and name not in asked}
            of_head = {each.name for each in selected if any(owner in modules_of_head for owner, _ in each.owners)}
            self._layers = self._not_mixing(measurable_in_training(plan, of_head - set(head.values())))
        self._head = HeadOfTraining(self._causal_lm, head) if head else None
        self._own_passes = OwnPasses(trainer, self._causal_lm, self._layers, self._head)
        covered = {name for layer in self._layers for name in layer.parameters.values()} | set(head.values())
        if not covered:
            raise ValueError(
                f"none of the {len(selected)} trainable parameters can be measured in a training step; set ride to "
                "False, and give a probe_dataset."
            )
        self._selected = selected
        self._measured = [each for each in selected if each.name in covered]
        self._formed: set[str] = set()

    def _not_mixing(self, layers: list[Layer]) -> list[Layer]:
        """Those whose parameters are used only where each rollout has a place of its own."""
        device = self._trainer.accelerator.device
        with torch.no_grad(), self._causal_lm.roll_call.taken():
            modules = [layer.module for layer in layers]
            mixing, _ = modules_out_of_place(self._causal_lm, modules, device, with_positions=False)  # as TRL does
        mixed = {name for layer in layers if layer.module in mixing for name in layer.parameters.values()}
        kept = [{own: name for own, name in layer.parameters.items() if name not in mixed} for layer in layers]
        return [replace(layer, parameters=own) for layer, own in zip(layers, kept, strict=True) if own]

    @property
    def num_measured(self) -> int:
        """Numbers of a prompt's gradient that are measured."""
        return sum(each.size for each in self._measured)

    @property
    def multiplications(self) -> float:
        """Of a training pass through the whole model, for each token, about."""
        frozen = sum(size_of(each) for each in self._model.parameters() if not each.requires_grad)
        return arithmetic_of_a_pass(sum(each.size for each in self._selected), frozen)

    @property
    def matrices(self) -> dict[str, torch.Size]:
        """The shape of each parameter that is measured, as its sketch takes it: a matrix or a vector."""
        return ExactStore(0, self._shapes).shapes

    @property
    def coverage(self) -> Coverage:
        """What was formed so far. A parameter that no gradient has reached is not covered."""
        left_out = [each for each in self._selected if each.name not in self._formed]
        total, missing = (sum(each.size for each in some) for some in (self._selected, left_out))
        return Coverage(total - missing, total, tuple(each.name for each in left_out))

    def note_formed(self, rows_PMD: Tensor, projections: Projections | None) -> None:
        """Notes which parameters have a gradient other than 0 in the rows of a batch, which all ranks have."""
        if len(self._formed) == len(self._measured):
            return
        parts = rows_PMD.flatten(0, 1).split(self._sizes(projections), dim=1)
        reached = torch.stack([part.any() for part in parts]).tolist()
        self._formed.update(each.name for each, is_reached in zip(self._measured, reached, strict=True) if is_reached)

    def training_pass(self, projections: Projections | None) -> TrainingPass:
        is_exact = projections is None  # with sketches, nobody has measured yet what sharing saves
        new_store = partial(self._new_store, projections)
        return TrainingPass(self._layers, new_store, self._head, shares_prompts=is_exact)

    def take_rows(
        self, batch: dict[str, Any], weights_B: Tensor, projections: Projections | None, add: AddRows
    ) -> None:
        """
        Takes some of this rank's rows of a training batch through the model once more, as TRL takes them. All ranks
        must call this together.

        Args:
            batch (`dict`):
                The rows, as TRL's generation returned them.
            weights_B (`torch.Tensor`):
                w, the weight of each row's score; rows of weight 0 are not taken.
            projections ([`Projections`], *optional*):
                With which gradients are sketched. If `None`, they are whole.
            add (`Callable`):
                Called with the places of some rows, and their w ∇log π(y), `(n, M, D)`.
        """
        self._own_passes.take(partial(self._new_store, projections), batch, weights_B, add)

    def row_shape(self, projections: Projections | None) -> tuple[int, int]:
        """`(M, D)`: what is kept of each prompt."""
        if projections is None:
            return 1, self.num_measured
        return projections.num_sketches, sum(self._sizes(projections))

    def _sizes(self, projections: Projections | None) -> list[int]:
        """How many numbers each parameter has in a row."""
        if projections is None:
            return [each.size for each in self._measured]
        return [projections.numbers_of(each.name) for each in self._measured]

    def _new_store(self, projections: Projections | None, num_prompts: int) -> Store:
        if projections is None:
            return ExactStore(num_prompts, self._shapes)
        return SketchStore(num_prompts, self._shapes, projections)

    @property
    def _shapes(self) -> dict[str, torch.Size]:
        return {each.name: each.shape for each in self._measured}


def _own_random_streams(trainer: RolloutTrainer) -> AbstractContextManager:
    return random_streams_kept(trainer.accelerator.device)


def _model(trainer: RolloutTrainer) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_torch_compile=False)


def _settings(trainer: RolloutTrainer) -> dict[str, Any]:
    return {
        "pad_token_id": trainer._tokenizer.pad_token_id,
        "temperature": trainer.temperature,
        "autocast": trainer.accelerator.autocast,
        "reset_engine": partial(reset_engine, trainer),
    }
