"""The Gram matrix of the model that a trainer trains, and its rehearsal."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.engine import engine_reset_afterwards, reset_engine
from passk_trl.distributed.ranks import failing_together
from passk_trl.rollout_trainer import RolloutTrainer

from . import GramMatrix, ScoredRollouts, gram_matrix
from .causal_lm import CausalLM
from .gram import ready_for_gradients
from .head_gradients import HeadOfTraining
from .options import GradientOptions
from .passes import take_passes
from .projections import Projections
from .rehearsal import depends_on_padding, rehearse
from .selection import Coverage, select
from .store import ExactStore, SketchStore, Store
from .survey import survey
from .through_activations import add_through_activations
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
        settings = _settings(trainer)
        self._options = GradientOptions(**settings, parameters=parameters)
        self._causal_lm = CausalLM(self._model, self._options.temperature, self._options.autocast)
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
        self._head = HeadOfTraining(self._causal_lm, head) if head else None
        self._layers = measurable_in_training(plan, of_head - set(head.values()))
        covered = {name for layer in self._layers for name in layer.parameters.values()} | set(head.values())
        if not covered:
            raise ValueError(
                f"none of the {len(selected)} trainable parameters can be measured in a training step; set ride to "
                "False, and give a probe_dataset."
            )
        self._plan = replace(
            plan,
            layers=self._layers,
            experts=[],
            head=head,
            in_graph=[],
            selected=[each for each in selected if each.name in covered],
        )
        self._selected = selected
        self._formed: set[str] = set()

    @property
    def num_measured(self) -> int:
        """Numbers of a prompt's gradient that are measured."""
        return sum(each.size for each in self._plan.selected)

    @property
    def coverage(self) -> Coverage:
        """What was formed so far. A parameter that no gradient has reached is not covered."""
        left_out = [each for each in self._selected if each.name not in self._formed]
        total, missing = (sum(each.size for each in some) for some in (self._selected, left_out))
        return Coverage(total - missing, total, tuple(each.name for each in left_out))

    def note_formed(self, rows_PMD: Tensor, projections: Projections | None) -> None:
        """Notes which parameters have a gradient other than 0 in the rows of a batch, which all ranks have."""
        names = list(self._plan.shapes)
        if len(self._formed) == len(names):
            return
        sizes = [each.size if projections is None else projections.rank**2 for each in self._plan.selected]
        reached = [part.any() for part in rows_PMD.flatten(0, 1).split(sizes, dim=1)]
        self._formed.update(
            name for name, is_reached in zip(names, torch.stack(reached).tolist(), strict=True) if is_reached
        )

    def training_pass(self, projections: Projections | None) -> TrainingPass:
        return TrainingPass(self._layers, partial(self._new_store, projections), self._head)

    def of_rollouts(self, rollouts: ScoredRollouts, projections: Projections | None) -> Tensor:
        """
        The gradients of this rank's prompts, `(n, M, D)`: sketched, or whole without projections. All ranks must call
        this together.
        """
        store = self._new_store(projections, rollouts.num_prompts)
        add = partial(add_through_activations, self._causal_lm, self._plan, store)
        device, one_prompt = self._trainer.accelerator.device, self._plan.one_prompt_a_pass
        with engine_reset_afterwards(self._trainer), ready_for_gradients(self._model):
            take_passes(add, store.forget, rollouts, self._causal_lm.roll_call, device, self._options, one_prompt)
        return torch.cat(list(store.rows().values()), dim=2)

    def row_shape(self, projections: Projections | None) -> tuple[int, int]:
        """`(M, D)`: what is kept of each prompt."""
        if projections is None:
            return 1, self.num_measured
        return projections.num_sketches, len(self._plan.shapes) * projections.rank**2

    def _new_store(self, projections: Projections | None, num_prompts: int) -> Store:
        if projections is None:
            return ExactStore(num_prompts, self._plan.shapes)
        return SketchStore(num_prompts, self._plan.shapes, projections)


def _own_random_streams(trainer: RolloutTrainer) -> AbstractContextManager:
    device = trainer.accelerator.device
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _model(trainer: RolloutTrainer) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_torch_compile=False)


def _settings(trainer: RolloutTrainer) -> dict[str, Any]:
    return {
        "pad_token_id": trainer._tokenizer.pad_token_id,
        "temperature": trainer.temperature,
        "autocast": trainer.accelerator.autocast,
        "reset_engine": partial(reset_engine, trainer),
    }
