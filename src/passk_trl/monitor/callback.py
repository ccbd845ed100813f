"""ConflictMonitor: measures, while a policy trains, from which k its pass@k gradient turns against pass@1's."""

import json
import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.ranks import failing_together, gather_list, num_ranks
from passk_trl.estimators import pass_at_k
from passk_trl.gradients import GramMatrix, ScoredRollouts
from passk_trl.gradients.of_trainer import gram_of_trained
from passk_trl.interference import InterferenceReport, ObjectiveReport, measure_interference, measure_objectives
from passk_trl.interference.forecasting import Forecast, forecast
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.objectives import Objective, objective_from
from passk_trl.private_names import check_private_names
from passk_trl.records import PROMPTS_SHOWN, cut, in_conflict_at, read_records, text_of, weighed_k
from passk_trl.reports.trackers import log_figures
from passk_trl.rollouts.checks import check_columns, check_probable, warn_if_truncated
from passk_trl.rollouts.outcomes import reported_ks
from passk_trl.rollouts.probe_sets import draw_stratified, overlap, stratum_weights
from passk_trl.rollouts.sampling import sample_rollouts
from passk_trl.rollouts.training_batch import TrainingBatch
from passk_trl.rollouts.undisturbed import undisturbed


logger = logging.getLogger(__name__)

# What the stores are called in the log.
_KEPT = {"exact": "whole (gram='exact')", "sketch": "as sketches of a fixed size (gram='sketch')"}


@dataclass(frozen=True)
class Probe:
    """
    What one probe found, the same on all ranks: the rows probed, the text of those that interfere most, the Gram
    matrix, the reports, the forecast.
    """

    rows: list[int]
    texts: list[tuple[int, str]]
    gram: GramMatrix
    report: InterferenceReport
    objectives: dict[str, ObjectiveReport]
    forecast: Forecast | None


class ConflictMonitor(TrainerCallback):
    """
    A callback that measures ⟨∇J_k, ∇J_1⟩, the pass@k gradient against the pass@1 gradient, on probe prompts.

    Each probe samples rollouts of probe prompts through the trainer's own generation, scores them with the trainer's
    own reward functions, and takes one forward and one backward pass over them, whatever the number of k. Nothing of
    it reaches training: weights, optimizer, random streams and TRL's metrics are bit for bit those of a run without.

    Give it to `PassKGRPOTrainer(..., callbacks=[ConflictMonitor(...)])`, or add it to any [`~trl.GRPOTrainer`] with
    [`ConflictMonitor.attach`]. Probes happen at the end of a step.

    Logged through the trainer, so in every tracker, for k = 1, 2, 4 … and the k trained for:

    - `conflict/inner_product@{k}`, `conflict/cosine@{k}`: negative means that a step along the pass@k gradient lowers
      pass@1.
    - `conflict/onset_k`: the k from which it is negative, where there is one.
    - `conflict/inner_product@{name}`, `conflict/cosine@{name}`: the same for each of the `objectives`.
    - `conflict/forecast_pass@{k}`: by how much the optimiser's step just taken raises pass@k, to first order:
      ⟨∇J_k, Δθ⟩, with Δθ as the measured parameters went, momentum, clipping and weight decay included. Below 0 at
      k = 1, the step costs pass@1. Not without a `probe_dataset`, whose absence leaves only rollouts that Δθ has seen.
    - `conflict/in_conflict`: 1 if, at the k or the objective trained for, the whole confidence interval is below 0.
    - `conflict/negative_fraction`: share of the probe prompts whose gradient opposes pass@1's.
    - `conflict/pass@{k}`: unbiased pass@k on the probe prompts.
    - `conflict/coverage`: the share of the trainable parameters whose gradients are taken in.
    - `conflict/probe_seconds`, `conflict/overhead`: seconds this probe took, and the fraction of the time since
      training began that all probes took.

    Each report is appended to `<output_dir>/conflict.jsonl` as it is made, one JSON object a line, with the text of
    the prompts that interfere most; a run that is resumed continues the file. Trackers that take images get the cosine
    over k and step and the prompts' agreement as figures, at each probe.

    Args:
        probe_dataset ([`~datasets.Dataset`], *optional*):
            Prompts to probe, with the columns that the reward functions read. Hold them out of training to measure
            what generalises. With `None`, a probe takes groups of the latest training batch, with the completions and
            rewards they have, and generates nothing. It then measures the conflict on the training distribution, at
            the present weights but with rollouts of the weights they were generated with: on-policy to within the
            steps since.
        every (`int`, *optional*, defaults to `50`):
            Steps between probes.
        num_prompts (`int`, *optional*, defaults to `64`):
            Prompts in a probe, at least 8, drawn anew from `probe_dataset` for each. They carry the error bar.
        num_rollouts (`int`, *optional*, defaults to `16`):
            Rollouts per prompt, more than the k trained for. Without a `probe_dataset`, the `num_generations` that
            training has.
        ks (`Sequence[float]`, *optional*):
            The k measured, between 1 and `num_rollouts` − 1. If `None`, every whole number in that range.
        parameters (`str`, *optional*, defaults to `"all"`):
            Trainable parameters whose gradients are taken: `"all"`, or a regular expression searched in module names.
        gram (`str`, *optional*, defaults to `"auto"`):
            How gradients are kept until their inner products are taken: `"exact"`, whole, which takes prompts ×
            parameters numbers; `"sketch"`, as random projections of a fixed size, drawn anew for each probe, whose own
            error is part of the error bars; `"auto"`, the first where it fits into 1 GiB a process.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the confidence intervals.
        probe_batch_size (`int`, *optional*):
            Prompts in a forward pass. If `None`, as many as make 8,192 tokens. Halved when memory runs out.
        max_overhead (`float`, *optional*):
            Fraction of the wall time that probes may take, between 0 and 1. A probe that would take more is put off to
            a later multiple of `every`; the measurement stays what it is.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct. If `None`, that of the trainer's config; without one there,
            rewards must be 0 or 1.
        at_start (`bool`, *optional*, defaults to `False`):
            Whether to probe before the first step too, as step 0.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the choice of prompts and of the rollouts; together with the step it determines a probe's draws.
        forecast (`bool`, *optional*, defaults to `True`):
            Whether to forecast what the optimiser's step does. Over the step before a probe, each rank then remembers
            its share of the trainable parameters, in main memory.
        stratify_by (`str`, *optional*):
            Column of `probe_dataset` with the stratum of each prompt, such as a level of difficulty or
            [`~passk_trl.rollouts.probe_sets.bands`] of earlier success. Probes then draw every stratum as often, so
            that hard prompts are not missed, and weigh the prompts so that every estimate is of the dataset as it is.
        objectives (`Sequence[str]`, *optional*, defaults to `()`):
            Other objectives to measure against pass@1, from the same rollouts and gradients, such as `["maxrl",
            "majority@5"]`: names of [`~passk_trl.objectives.objective_from`], or
            [`~passk_trl.objectives.Objective`]s. The `objective` trained for is among them by itself. Their reports
            are in `objective_reports`, one dictionary by name for each probe.

    Raises:
        `ValueError`: if an argument is out of range or `probe_dataset` is too small or, once the trainer is known,
        lacks a column that a reward function needs, or the trainer generates in a way that cannot be probed.

    Source: Barakat et al. 2026 (arXiv 2602.21189), Prop. 4.1; estimators in [`passk_trl.interference`].
    """

    def __init__(
        self,
        probe_dataset: Dataset | None = None,
        every: int = 50,
        num_prompts: int = 64,
        num_rollouts: int = 16,
        ks: Sequence[float] | None = None,
        parameters: str = "all",
        gram: str = "auto",
        confidence: float = 0.95,
        probe_batch_size: int | None = None,
        max_overhead: float | None = None,
        success_threshold: float | None = None,
        at_start: bool = False,
        seed: int = 0,
        forecast: bool = True,
        stratify_by: str | None = None,
        objectives: Sequence[str | Objective] = (),
    ):
        if every < 1:
            raise ValueError(f"every={every} is no number of steps; set at least 1.")
        if num_prompts < FEWEST_PROMPTS:
            raise ValueError(
                f"num_prompts={num_prompts} is too few for an error bar; set at least {FEWEST_PROMPTS}, better 64."
            )
        if num_rollouts < 3:
            raise ValueError(
                f"num_rollouts={num_rollouts} shows no k above 1; set at least 3, better twice the k of training."
            )
        if gram not in ("auto", "exact", "sketch"):
            raise ValueError(f"gram={gram!r} is unknown; set 'auto', 'exact' or 'sketch'.")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence} is no level; set a number between 0 and 1, such as 0.95.")
        if ks is not None and min(ks) < 1:
            raise ValueError(f"ks={list(ks)} holds a k below 1; set numbers from 1 to num_rollouts - 1.")
        if probe_batch_size is not None and probe_batch_size < 1:
            raise ValueError(f"probe_batch_size={probe_batch_size} is no number of prompts; set at least 1.")
        try:
            re.compile(parameters)
        except re.error as error:
            raise ValueError(
                f"parameters={parameters!r} is no regular expression: {error}; set 'all' or one."
            ) from error
        if max_overhead is not None and not 0 < max_overhead < 1:
            raise ValueError(f"max_overhead={max_overhead} is no fraction of the time; set a number between 0 and 1.")
        if probe_dataset is None and at_start:
            raise ValueError("at_start=True finds no training batch before the first step; give a probe_dataset.")
        if probe_dataset is not None:
            _check_rows(probe_dataset, num_prompts)
        if stratify_by is not None and stratify_by not in getattr(probe_dataset, "column_names", ()):
            raise ValueError(f"stratify_by={stratify_by!r} is no column of the probe_dataset; name one, or none.")
        self.stratify_by = stratify_by
        self.probe_dataset = probe_dataset
        self.every = every
        self.num_prompts = num_prompts
        self.num_rollouts = num_rollouts
        self.ks = ks
        self.parameters = parameters
        self.gram = gram
        self.probe_batch_size = probe_batch_size
        self.max_overhead = max_overhead
        self.confidence = confidence
        self.success_threshold = success_threshold
        self.at_start = at_start
        self.seed = seed
        self.forecast = forecast and probe_dataset is not None
        self.objectives = [each if isinstance(each, Objective) else objective_from(each) for each in objectives]
        self.reports: list[InterferenceReport] = []
        self.objective_reports: list[dict[str, ObjectiveReport]] = []  # beside each report, by name
        self.forecasts: list[Forecast | None] = []  # beside each report
        self.steps: list[int] = []  # the step of each report
        self._trainer: GRPOTrainer | None = None
        self._batch: TrainingBatch | None = None
        self._due = False  # whether this step ends with a probe
        self._displacement: Displacement | None = None  # since the beginning of this step
        self._was_in_conflict = False
        self._failures: set[str] = set()  # kinds of failure that were logged
        self._probe_seconds = self._last_seconds = 0.0
        self._began = time.perf_counter()

    @property
    def report(self) -> InterferenceReport | None:
        """The latest report."""
        return self.reports[-1] if self.reports else None

    @property
    def trainer(self) -> GRPOTrainer:
        """The trainer probed."""
        if self._trainer is None:
            raise ValueError(
                "the ConflictMonitor does not know its trainer; call ConflictMonitor(...).attach(trainer) instead of "
                "passing it to a plain GRPOTrainer's callbacks."
            )
        return self._trainer

    @property
    def training_k(self) -> int:
        """The k trained for; 1 under a trainer that knows nothing of pass@k."""
        return getattr(self.trainer.args, "pass_at_k", 1)

    @property
    def training_objective(self) -> str | None:
        """The name of the objective trained for; `None` where that is pass@k."""
        return getattr(self.trainer.args, "objective", None)

    def attach(self, trainer: GRPOTrainer) -> "ConflictMonitor":
        """Adds the monitor to a trainer, a plain [`~trl.GRPOTrainer`] included."""
        self.bind(trainer)
        trainer.add_callback(self)
        return self

    def bind(self, trainer: GRPOTrainer) -> None:
        """Tells the monitor its trainer, which transformers does not hand to callbacks."""
        if trainer is self._trainer:
            return
        check_private_names(trainer)
        check_probable(trainer)
        rollouts = "num_rollouts"
        if self.probe_dataset is None:
            rollouts, self.num_rollouts = "num_generations", trainer.num_generations
            check_batch(trainer.args, self.num_prompts)
        else:
            check_columns(trainer, self.probe_dataset)
            _warn_if_trained_on(self.probe_dataset, trainer)
        measured = range(1, self.num_rollouts) if self.ks is None else self.ks
        self.ks = sorted({*measured, getattr(trainer.args, "pass_at_k", 1)})
        if self.ks[-1] > self.num_rollouts - 1:
            raise ValueError(
                f"{rollouts}={self.num_rollouts} shows k up to {self.num_rollouts - 1} only, not k={self.ks[-1]:g}; "
                f"set {rollouts} to {int(self.ks[-1]) + 1} or more."
            )
        trained_for = getattr(trainer.args, "objective", None)
        if trained_for is not None and trained_for not in [objective.name for objective in self.objectives]:
            self.objectives.append(objective_from(trained_for))
        for objective in self.objectives:
            if objective.attempts > self.num_rollouts - 1:
                raise ValueError(
                    f"{rollouts}={self.num_rollouts} does not show {objective.name}; set {rollouts} to "
                    f"{objective.attempts + 1} or more."
                )
        warn_if_truncated(trainer)
        self._trainer = trainer
        self._batch = TrainingBatch(trainer) if self.probe_dataset is None else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began = time.perf_counter()
        self._resume(state.global_step)
        if self.at_start and state.global_step == 0:
            self._probe(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._due = (state.global_step + 1) % self.every == 0 and self._affordable()
        if self.forecast and self._due:
            began = time.perf_counter()
            try:
                with failing_together():
                    model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
                    self._displacement = Displacement(model)
            except Exception as error:
                self._displacement = None
                self._tell(error, "step %d: its forecast is skipped; training goes on.", state.global_step + 1)
            self._probe_seconds += time.perf_counter() - began

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._due:
            self._probe(state)
        self._displacement = None

    def _affordable(self) -> bool:
        """Whether another probe like the last keeps to `max_overhead`, by the main process's clock."""
        if self.max_overhead is None or not self._last_seconds:
            return True
        elapsed = time.perf_counter() - self._began
        after = (self._probe_seconds + self._last_seconds) / (elapsed + self._last_seconds)
        return gather_list([after <= self.max_overhead])[0]

    # One probe: choose prompts → roll out and score → Gram matrix → interference → metrics, log, file.

    def _probe(self, state: TrainerState) -> None:
        began = time.perf_counter()
        seed = (self.seed * 1_000_003 + state.global_step) % 2**31
        try:
            with undisturbed(self.trainer, seed):
                probe = self._measure(seed)
        except Exception as error:  # must not end the training it watches; all ranks come here together
            self._tell(error, "step %d: the probe failed and is skipped; training goes on.", state.global_step)
            return
        finally:
            clear_device_cache()  # what the probe took is training's again
            self._last_seconds = seconds = time.perf_counter() - began
            self._probe_seconds += seconds
        if not self.reports:
            self._say_what_is_measured(probe.gram)
        self.reports.append(probe.report)
        self.objective_reports.append(probe.objectives)
        self.forecasts.append(probe.forecast)
        self.steps.append(state.global_step)
        self._append(
            {
                "step": state.global_step,
                "training_k": self.training_k,
                "probe_seconds": seconds,
                "covered_parameters": probe.gram.coverage.covered,
                "trainable_parameters": probe.gram.coverage.total,
                "left_out_parameters": list(probe.gram.coverage.left_out),
                "gram": probe.gram.store,
                "rows": probe.rows,
                "report": probe.report.to_dict(),
            }
            | ({"objectives": [each.to_dict() for each in probe.objectives.values()]} if self.objectives else {})
            | ({"forecast": probe.forecast.to_dict()} if probe.forecast else {})
            | ({"texts": probe.texts} if probe.texts else {})
        )
        self._log(probe, seconds)
        self._log_figures(state.global_step)
        self._announce(probe.report, state.global_step, self._of_training_objective(probe.objectives))

    def _tell(self, error: Exception, message: str, step: int) -> None:
        """A failure in the log, with its traceback, once for each kind."""
        if type(error).__name__ not in self._failures and self.trainer.accelerator.is_main_process:
            logger.exception(message, step)
        self._failures.add(type(error).__name__)

    def _measure(self, seed: int) -> "Probe":
        rollouts, rows = self._rollouts(seed)
        gram = self._gram(rollouts, seed)
        num_correct = gather_list(rollouts.num_correct_N.tolist())
        rows = gather_list(rows)
        kept = gram.gram_NN.diagonal().isfinite().nonzero().flatten()
        if len(kept) < len(rows) and self.trainer.accelerator.is_main_process:
            dropped = [row for i, row in enumerate(rows) if i not in kept.tolist()]
            logger.warning("the gradients of probe prompts %s are not finite; they are left out.", dropped)
        counts = ([num_correct[i] for i in kept], self.num_rollouts)
        rows = [rows[i] for i in kept]
        weights = self._sampling_weights(rows)
        gram_MNN = gram.gram_MNN[:, kept][:, :, kept]
        report = measure_interference(gram_MNN, *counts, self.ks, self.confidence, sampling_weights=weights)
        objectives = measure_objectives(gram_MNN, *counts, self.objectives, self.confidence, weights)
        step_forecast = None
        if gram.step_MN is not None:
            step_forecast = forecast(gram.step_MN[:, kept], *counts, report.ks, self.confidence, weights)
        by_name = {each.name: each for each in objectives}
        return Probe(rows, self._texts(rows, report), gram, report, by_name, step_forecast)

    def _texts(self, rows: list[int], report: InterferenceReport) -> list[tuple[int, str]]:
        """The prompts that interfere most, for the reader of the report, who may not have the dataset."""
        if self.probe_dataset is None:
            return []
        worst = [rows[i] for i in report.most_negative(weighed_k(report, self.training_k), PROMPTS_SHOWN)]
        return [(row, cut(text_of(self.probe_dataset[row]["prompt"]))) for row in worst]

    def _rollouts(self, seed: int) -> tuple[ScoredRollouts, list[int]]:
        if self._batch is not None:
            with failing_together():
                return self._batch.rollouts(self.num_prompts, seed, self.success_threshold)
        assert self.probe_dataset is not None  # or there would be a batch
        generator = torch.Generator().manual_seed(seed)
        if self.stratify_by is not None:
            rows, _ = draw_stratified(self.probe_dataset[self.stratify_by], self.num_prompts, generator)
        else:
            rows = torch.randperm(len(self.probe_dataset), generator=generator)[: self.num_prompts].tolist()
        share = -(-len(rows) // num_ranks())
        with self._progress(share, "probe: rollouts") as progress:
            return sample_rollouts(
                self.trainer, self.probe_dataset, rows, self.num_rollouts, self.success_threshold, progress.update
            )

    def _sampling_weights(self, rows: list[int]) -> Tensor | None:
        if self.probe_dataset is None or self.stratify_by is None:
            return None
        return stratum_weights(self.probe_dataset[self.stratify_by])[rows]

    def _gram(self, rollouts: ScoredRollouts, seed: int) -> GramMatrix:
        with self._progress(rollouts.num_prompts, "probe: gradients") as progress:
            return gram_of_trained(
                self.trainer,
                rollouts,
                store=self.gram,
                parameters=self.parameters,
                seed=seed,
                batch_size=self.probe_batch_size,
                on_batch=progress.update,
                step=self._displacement.of if self._displacement else None,
            )

    def _progress(self, prompts: int, description: str) -> tqdm:
        quiet = self.trainer.args.disable_tqdm or not self.trainer.accelerator.is_main_process
        return tqdm(desc=description, total=prompts, unit="prompt", disable=quiet, leave=False, delay=3)

    # What becomes of a report.

    def _say_what_is_measured(self, gram: GramMatrix) -> None:
        if not self.trainer.accelerator.is_main_process:
            return
        coverage = gram.coverage
        logger.info(
            "probes take in %d of %d trainable parameters, %s.", *(coverage.covered, coverage.total), _KEPT[gram.store]
        )
        if coverage.left_out:
            logger.warning(
                "probes leave out %.1f%% of the trainable parameters, of layer kinds that are not covered: %s.",
                *(100 * (1 - coverage.fraction), ", ".join(coverage.left_out)),
            )

    def _log(self, probe: "Probe", seconds: float) -> None:
        k, report = self.training_k, probe.report
        trained_for = self._of_training_objective(probe.objectives)
        metrics = {
            "conflict/in_conflict": float(trained_for.conflict if trained_for else report.in_conflict(k)),
            "conflict/negative_fraction": report.negative_fraction,
            "conflict/coverage": probe.gram.coverage.fraction,
            "conflict/probe_seconds": seconds,
            "conflict/overhead": self._probe_seconds / (time.perf_counter() - self._began),
        }
        self.trainer._metrics["train"].pop("conflict/onset_k", None)
        if report.onset is not None:
            metrics["conflict/onset_k"] = report.onset
        logged = {float(k) for k in reported_ks(self.num_rollouts, k)}
        for k_, inner, cosine in zip(report.ks.tolist(), report.inner_product, report.cosine, strict=True):
            if k_ in logged:
                metrics[f"conflict/inner_product@{k_:g}"] = float(inner)
                metrics[f"conflict/cosine@{k_:g}"] = float(cosine)
        if probe.forecast is not None:
            for k_, change in zip(probe.forecast.ks.tolist(), probe.forecast.change.tolist(), strict=True):
                if k_ in logged:
                    metrics[f"conflict/forecast_pass@{k_:g}"] = change
        for name, measured in probe.objectives.items():
            metrics[f"conflict/inner_product@{name}"] = measured.inner_product
            metrics[f"conflict/cosine@{name}"] = measured.cosine
        for k_ in reported_ks(self.num_rollouts, k):
            values = torch.as_tensor(pass_at_k(report.num_samples, report.num_correct, k_))
            metrics[f"conflict/pass@{k_}"] = (report.sampling_weights * values).mean().item()
        for name, value in metrics.items():
            # Into TRL's buffer, not through trainer.log, which would flush a half-filled one. In the place of those of
            # an earlier probe since the last log: TRL would average the two.
            self.trainer._metrics["train"][name] = [value]

    def _log_figures(self, step: int) -> None:
        if not self.trainer.accelerator.is_main_process:
            return
        began = time.perf_counter()
        try:
            log_figures(self.trainer, step)
        except Exception:  # a tracker that fails must not end the training
            if "figures" not in self._failures:
                logger.exception("step %d: the figures could not be logged; training goes on.", step)
            self._failures.add("figures")
        self._probe_seconds += time.perf_counter() - began

    def _of_training_objective(self, objectives: dict[str, ObjectiveReport]) -> ObjectiveReport | None:
        return objectives.get(self.training_objective) if self.training_objective else None

    def _announce(self, report: InterferenceReport, step: int, trained_for: ObjectiveReport | None = None) -> None:
        """Says so when training enters conflict and when it leaves it, once for each crossing."""
        k = self.training_k
        in_conflict = trained_for.conflict if trained_for else report.in_conflict(k)
        if in_conflict != self._was_in_conflict and self.trainer.accelerator.is_main_process:
            at_k = report.ks == k
            low, high = report.inner_product_low[at_k].item(), report.inner_product_high[at_k].item()
            if not in_conflict:
                objective = trained_for.name if trained_for else f"pass@{k}"
                logger.warning("step %d: training for %s no longer works against pass@1.", step, objective)
            elif trained_for:
                logger.warning(
                    "step %d: training for %s now works against pass@1: <grad J_f, grad J_1> is %.3g, %g%% interval "
                    "%.3g to %.3g.",
                    *(step, trained_for.name, trained_for.inner_product, 100 * self.confidence),
                    *(trained_for.inner_product_low, trained_for.inner_product_high),
                )
            else:
                logger.warning(
                    "step %d: training for pass@%d now works against pass@1: <grad J_%d, grad J_1> is %.3g, %g%% "
                    "interval %.3g to %.3g. The conflict begins at k = %.1f.",
                    *(step, k, k, report.inner_product[at_k].item(), 100 * self.confidence, low, high, report.onset),
                )
        self._was_in_conflict = in_conflict

    @property
    def _path(self) -> Path:
        return Path(self.trainer.args.output_dir) / "conflict.jsonl"

    def _append(self, record: dict[str, Any]) -> None:
        if self.trainer.accelerator.is_main_process:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _resume(self, step: int) -> None:
        """Takes up an interrupted run's file: reports up to the checkpoint are kept, later ones will be made again."""
        # The main process reads for all: another node may not see its disk.
        is_main = self.trainer.accelerator.is_main_process
        earlier_run = gather_list([read_records(self._path) if is_main and self._path.exists() else []])[0]
        records = [record for record in earlier_run if step > 0 and record["step"] <= step]
        if earlier_run and is_main:
            if step == 0:
                earlier = self._path.with_suffix(f".{int(self._path.stat().st_mtime)}.jsonl")
                self._path.replace(earlier)
                logger.warning("%s is of an earlier run; kept as %s.", self._path, earlier.name)
            else:
                rewritten = self._path.with_suffix(".tmp")
                rewritten.write_text("".join(json.dumps(record) + "\n" for record in records))
                rewritten.replace(self._path)
        self.steps = [record["step"] for record in records]
        self.reports = [InterferenceReport.from_dict(record["report"]) for record in records]
        self.objective_reports = [
            {each["name"]: ObjectiveReport.from_dict(each) for each in record.get("objectives", [])}
            for record in records
        ]
        self.forecasts = [
            Forecast.from_dict(record["forecast"]) if "forecast" in record else None for record in records
        ]
        trained_for = self._of_training_objective(self.objective_reports[-1]) if records else None
        self._was_in_conflict = bool(records) and (
            trained_for.conflict if trained_for else in_conflict_at(self.reports[-1], self.training_k)
        )


def _check_rows(probe_dataset: Dataset, num_prompts: int) -> None:
    if len(probe_dataset) < num_prompts:
        raise ValueError(
            f"probe_dataset has {len(probe_dataset)} rows, fewer than num_prompts={num_prompts}; give more rows "
            "or lower num_prompts."
        )
    if "prompt" not in probe_dataset.column_names:
        raise ValueError(f"probe_dataset has no column 'prompt', only {probe_dataset.column_names}; rename a column.")


def _warn_if_trained_on(probe_dataset: Dataset, trainer: GRPOTrainer) -> None:
    if not isinstance(trainer.train_dataset, Dataset) or not trainer.accelerator.is_main_process:
        return
    if trained_on := overlap(probe_dataset, trainer.train_dataset):
        logger.warning(
            "%d of the %d probe prompts are trained on too, row %d for one, so probes measure in part what training "
            "has seen; hold them out of training, with passk_trl.rollouts.probe_sets.hold_out.",
            *(len(trained_on), len(probe_dataset), trained_on[0]),
        )


def check_batch(args: GRPOConfig, num_prompts: int) -> None:
    """
    Raises:
        `ValueError`: if a batch of training has too few prompts for a probe, or not all that was sampled.
    """
    prompts = args.generation_batch_size // args.num_generations
    if prompts < num_prompts:
        raise ValueError(
            f"num_prompts={num_prompts} is more than the {prompts} prompts of a training batch, which is probed "
            "without a probe_dataset; lower num_prompts or raise generation_batch_size."
        )
    if args.mask_truncated_completions:
        raise ValueError(
            "mask_truncated_completions=True leaves nothing of truncated completions in the training batch, which is "
            "probed without a probe_dataset; give one, or set it to False."
        )
