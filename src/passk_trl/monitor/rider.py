"""The monitor on the training step's own backward pass: no rollouts and hardly any passes of its own."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from passk_trl.distributed.ranks import failing_together
from passk_trl.gradients.of_trainer import TrainedGradients, rehearse_on_trained
from passk_trl.gradients.projections import Projections
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.interference.measuring import against_pass1, report_of_pairs, reports_on_objectives
from passk_trl.interference.pair_sums import PairSums, joined
from passk_trl.interference.pairs import weights_at
from passk_trl.private_names import check_private_names, look_up
from passk_trl.records import ProbeRecord
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.training_batch import TrainingBatch

from .failures import Failures
from .monitor_settings import MonitorSettings, measured_ks, measured_objectives
from .ridden_batch import BatchPrompts, RiddenBatch, RiddenRows, carries_gradient
from .ride_checks import check_can_ride
from .sketches import Sketches
from .window import Window, first_block


logger = logging.getLogger(__name__)


class Rider:
    """
    Takes the gradient of each prompt of training from the training step's own backward pass.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]): the trainer. Its methods for generation, scoring, loss
            and step are wrapped.
        settings ([`MonitorSettings`]): what to measure.

    Raises:
        `ValueError`: if the trainer's loss is not one whose gradients can be told apart.
    """

    def __init__(self, trainer: RolloutTrainer, settings: MonitorSettings):
        check_can_ride(trainer)
        check_private_names(trainer)
        look_up("riding")
        self.trainer = trainer
        self.settings = settings
        self.training_k: int = getattr(trainer.args, "pass_at_k", 1)
        self.training_objective: str | None = getattr(trainer.args, "objective", None)
        self.ks = measured_ks(settings, self.training_k, trainer.num_generations)
        self.objectives = measured_objectives(settings, trainer, trainer.num_generations)
        self.window = self._new_window()
        self._sketches: Sketches | None = None
        self._generations = 0
        self._gradients: TrainedGradients | None = None
        self._latest = TrainingBatch(trainer)
        self._batch: RiddenBatch | None = None
        self._in_loss: RiddenRows | None = None
        self.is_exact = False
        self._projections: Projections | None = None
        self._failures = Failures()
        self._wrap()

    def prepare(self) -> None:
        """
        Finds out how each parameter is measured. All ranks call this together, once training has prepared the model.

        Raises:
            `ValueError`: if nothing can be measured.
        """
        rehearse_on_trained(self.trainer, parameters=self.settings.parameters)
        if self.trainer.state.global_step > 0 and self.trainer.accelerator.is_main_process:
            logger.warning(
                "step %d: the window of the monitor starts anew; the prompts before this step are not in its reports.",
                self.trainer.state.global_step,
            )
        self._gradients = TrainedGradients(self.trainer, self.settings.parameters)
        self.is_exact = self.settings.rides_exactly(self._gradients.num_measured)
        window, device = self.settings.window, self.trainer.accelerator.device
        self.window, self._batch = self._new_window(None if self.is_exact else first_block(window)), None
        if self.is_exact:
            return
        self._sketches = Sketches(self._gradients, self._trained_weights, window, device)
        self._projections = self._sketches.projections(self._seed_of_block())

    def stop(self) -> None:
        """Measures nothing more, unless it is prepared again."""
        self._abandon()
        self._gradients = None

    def _new_window(self, first_size: int | None = None) -> Window:
        trainer = self.trainer
        batch = trainer.args.generation_batch_size // trainer.num_generations
        return Window(self.settings.window, trainer.accelerator.device, first_size, batch)

    def record(self, step: int) -> ProbeRecord | None:
        """The report on the window; `None` while it has too few prompts. All ranks must call this together."""
        blocks = self.window.blocks(FEWEST_PROMPTS)
        if not blocks:
            return None
        with failing_together():
            record = self._report(blocks, step)
        self.window.forget_looks()
        return record

    def _report(self, blocks: list[PairSums], step: int) -> ProbeRecord:
        assert self._gradients is not None  # or there would be no blocks
        newer, older = (self._against_pass1([each] if each else []) for each in self.window.latest_full())
        pairs, coverage, confidence = joined(blocks), self._gradients.coverage, self.settings.confidence
        objectives = reports_on_objectives(pairs, self.objectives, confidence)
        return ProbeRecord(
            step=step,
            training_k=self.training_k,
            report=report_of_pairs(pairs, torch.tensor(self.ks, dtype=torch.float64), confidence),
            rows=[],
            texts={},
            objectives={each.name: each for each in objectives},
            forecast=None,
            covered_parameters=coverage.covered,
            trainable_parameters=coverage.total,
            left_out_parameters=list(coverage.left_out),
            in_graph_parameters=0,
            gram="exact" if self.is_exact else "sketch",
            first_step=self.window.first_step,
            looks={size: self._against_pass1(some) for size, some in self.window.looks.items()},
            drift=(newer[0] - older[0], math.hypot(newer[1], older[1])),
        )

    def _against_pass1(self, blocks: list[PairSums]) -> tuple[float, float]:
        """Of the gradient trained for, as [`ProbeRecord.against_pass1`]. NaN if there are no blocks."""
        trains_pass1 = self.training_k == 1 and self.training_objective is None  # not in conflict with itself
        if trains_pass1 or not blocks:
            return math.nan, math.nan
        pairs = joined(blocks)
        return against_pass1(pairs, self._trained_weights(pairs)[1], self.settings.confidence)

    def _trained_weights(self, pairs: PairSums) -> Tensor:
        """The weights of the classes of prompts in ∇J_1 and in the gradient trained for, `(2, C)`."""
        counts = pairs.num_samples, pairs.num_correct
        weights_2C = weights_at(torch.tensor([1.0, self.training_k], dtype=torch.float64), *counts, "unbiased")
        if (name := self.training_objective) is not None:
            weights_2C[1] = next(each for each in self.objectives if each.name == name).gradient_weight(*counts)
        return weights_2C

    def _seed_of_block(self) -> int:
        """Of a block that begins now; several may begin in one step."""
        return self._seed() + 1_000_003 * self._generations

    def _seed(self) -> int:
        """Of this step, also in a run that is resumed."""
        return (self.settings.seed * 1_000_003 + self.trainer.state.global_step) % 2**31

    # How it joins the trainer.

    def _wrap(self) -> None:
        trainer = self.trainer
        generate, log_probs = trainer._generate_and_score_completions, trainer._get_per_token_logps_and_entropies
        loss, step = trainer._compute_loss, trainer.training_step

        @wraps(generate)
        def generate_and_tag(inputs: list[dict[str, Any]]) -> dict[str, Any]:
            batch = generate(inputs)
            if trainer.model.training and self._gradients is not None:
                self._batch = None
                with self._going_on("its prompts are not measured"):
                    self._batch = self._begin(batch, len(inputs))
            return batch

        @wraps(loss)
        def loss_with_taps(model: Any, inputs: dict[str, Any]) -> Tensor:
            if trainer.model.training and self._batch is not None and self._batch.is_in_first_pass:
                self._in_loss = RiddenRows(self._batch, inputs)
            try:
                result = loss(model, inputs)
            except BaseException:  # which ends the step
                self._abandon()
                raise
            if self._in_loss is not None:
                self._in_loss.add_head()  # now, since an engine may step at the end of the backward pass
            return result

        @wraps(log_probs)
        def log_probs_with_hook(*args: Any, **kwargs: Any) -> tuple:
            result = log_probs(*args, **kwargs)
            if self._in_loss is not None and result[0].requires_grad:
                result[0].register_hook(self._in_loss.see)
            return result

        @wraps(step)
        def step_and_take(*args: Any, **kwargs: Any) -> Tensor:
            try:
                result = step(*args, **kwargs)
            except BaseException:  # which ends the training
                self._abandon()
                raise
            self._end_of_micro_batch()
            return result

        trainer._generate_and_score_completions = generate_and_tag
        trainer._compute_loss = loss_with_taps
        trainer._get_per_token_logps_and_entropies = log_probs_with_hook
        trainer.training_step = step_and_take

    def _abandon(self) -> None:
        """Leaves nothing of a batch behind."""
        if self._batch is not None:
            self._batch.taps.abandon()
        self._batch = self._in_loss = None

    @contextmanager
    def _going_on(self, loss: str) -> Iterator[None]:
        """What fails inside must not end training. It fails on all ranks, and the log says what is lost."""
        try:
            yield
        except Exception as error:
            self._log(error, loss)

    def _log(self, error: Exception, loss: str) -> None:
        step = self.trainer.state.global_step + 1
        self._failures.log(self.trainer, error, f"step %d: {loss}; training goes on.", step)

    def _begin(self, batch: dict[str, Any], num_rows: int) -> RiddenBatch:
        """Tags the rows of a generated batch with their prompts and weights, and measures what training leaves out."""
        trainer, G = self.trainer, self.trainer.num_generations
        assert self._gradients is not None
        self._generations += 1
        device, first = batch["prompt_ids"].device, trainer.accelerator.process_index * num_rows
        with failing_together():
            success_PG = self._latest.success(self.settings.success_threshold).double()
            carries_B = carries_gradient(batch)
            batch["ride_row"] = torch.arange(first, first + num_rows, device=device)  # TRL shuffles it with the others
            taps = self._gradients.training_pass(self._projections)
            rows_PMD = torch.zeros(len(success_PG), *self._gradients.row_shape(self._projections), device=device)
        carries_PG = trainer.accelerator.gather(carries_B).view(-1, G).cpu()
        generator = torch.Generator().manual_seed(self._seed() + 1_000_003 * self._generations)
        prompts = BatchPrompts.of(success_PG, carries_PG, generator)
        step = trainer.state.global_step + 1
        started = RiddenBatch(step, prompts, taps, rows_PMD, trainer.args.steps_per_generation)
        if prompts.own_weights_PG.any():

            def add(rows: list[int], rows_BMD: Tensor) -> None:
                started.add([(first + row) // G for row in rows], rows_BMD)

            own_weights_B = prompts.own_weights_PG.flatten()[first : first + num_rows]
            self._gradients.take_rows(batch, own_weights_B, self._projections, add)
        return started

    def _end_of_micro_batch(self) -> None:
        micro_batch, self._in_loss = self._in_loss, None
        if micro_batch is None or self._batch is None:
            return
        micro_batch.end()
        if not self._batch.is_in_first_pass:
            batch, self._batch = self._batch, None
            with self._going_on("its prompts are not measured"):
                self._take_up(batch)

    def _take_up(self, batch: RiddenBatch) -> None:
        """Adds a batch that was trained on to the window. All ranks call this together."""
        assert self._gradients is not None
        rows_PMD, missed_P = batch.summed()
        with failing_together():
            self._gradients.note_formed(rows_PMD, self._projections)
            prompts, num_prompts = batch.share(rows_PMD, missed_P)
        completed = None
        try:
            completed = self.window.add(prompts, num_prompts)
        except Exception as error:
            is_lost, block = self.window.begins_block, "the block of prompts that it adds to"
            self._log(error, f"{block} is not measured" if is_lost else f"the alarm does not look at {block}")
        if self._sketches is None or not self.window.begins_block:
            return
        if completed is not None:
            with self._going_on("sketches keep their sizes"):
                self._sketches.fit(*completed, batch.step)
        self._projections = self._sketches.projections(self._seed_of_block())
