"""ConflictMonitor: what is measured, and when."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.engine import may_shard
from passk_trl.distributed.ranks import failing_together, gather_list, on_first_rank
from passk_trl.interference import InterferenceReport, ObjectiveReport
from passk_trl.interference.forecasting import Forecast
from passk_trl.objectives import Objective, objective_from
from passk_trl.records import ProbeRecord
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.checks import warn_if_truncated
from passk_trl.rollouts.undisturbed import undisturbed

from .failures import Failures
from .monitor_settings import NUM_PROMPTS, NUM_ROLLOUTS, WINDOW, MonitorSettings
from .overhead import ProbeClock
from .prober import Prober
from .publishing import path_of_records, publish
from .record_file import append_record, take_up_records
from .rider import Rider
from .run_length import warn_of_alarm
from .trackers import TrackerFigures, add_tracker_figures


logger = logging.getLogger(__name__)


class ConflictMonitor(TrainerCallback):
    """
    A callback that measures ⟨∇J_k, ∇J_1⟩, the pass@k gradient against the pass@1 gradient, on probe prompts.

    Each probe samples rollouts of probe prompts with the trainer's own generation, scores them with the trainer's own
    reward functions, and takes one forward and one backward pass over them, whatever the number of k. It does not
    change training: weights, optimizer, random streams and TRL's metrics are bit for bit those of a run without it.

    Give it to `PassKGRPOTrainer(..., callbacks=[ConflictMonitor(...)])`, or add it to any [`~trl.GRPOTrainer`] or
    [`~trl.RLOOTrainer`] with [`ConflictMonitor.attach`]. Probes are made at the end of a step.

    Logged through the trainer, so in every tracker, for k = 1, 2, 4 … and the k trained for:

    - `conflict/inner_product@{k}`, `conflict/cosine@{k}`: if negative, a step along the pass@k gradient lowers pass@1.
    - `conflict/onset_k`: the k from which on it is negative, if there is one. What a probe cannot tell is not logged:
      no onset without an upper end of its interval, no cosine whose interval has no end or excludes nothing.
    - `conflict/inner_product@{name}`, `conflict/cosine@{name}`: the same for each of the `objectives`.
    - `conflict/forecast_pass@{k}`: by how much the optimizer's step just taken raises pass@k, to first order:
      ⟨∇J_k, Δθ⟩, with Δθ the actual change of the measured parameters, so with momentum, clipping and weight decay. If
      it is below 0 at k = 1, the step costs pass@1. It is not logged without a `probe_dataset`: Δθ has then been
      trained on the probe's own rollouts.
    - `conflict/in_conflict`: 1 once the reports so far show, at the k or the objective trained for, that it is below
      0; 0 again once later ones show the opposite. Of runs without a conflict, at most 1 − `confidence` ever raise
      this alarm, however many probes of a `probe_dataset` they have ([`~passk_trl.interference.alarms`] has the
      theorem and its conditions). A ride's `window` must be 128 or more for that.
    - `conflict/evidence`: the evidence for the next change of `in_conflict`, which comes at 1/(1 − `confidence`), 20.
    - `conflict/negative_fraction`: share of the measured prompts whose gradient opposes the pass@1 gradient, among
      those with correct and incorrect rollouts.
    - `conflict/pass@{k}`: pass@k on the measured prompts.
    - `conflict/coverage`: the share of the trainable parameters whose gradients are taken in.
    - `conflict/window_age`, with `ride`: steps since the oldest prompt. `conflict/drift`: the inner product of a
      block of prompts just completed less that of the one before, at what is trained for, where it excludes 0.
    - `conflict/probe_seconds`, `conflict/overhead`: the seconds that this report took, and the fraction of the time
      since training began that all took.

    Each report is appended to `<output_dir>/conflict.jsonl` as soon as it is made, one JSON object a line, with the
    text of the prompts that interfere most. A resumed run continues the file. Trackers that take images get two
    figures with each report: the cosine over k and step, and the prompts' agreement.

    Args:
        probe_dataset ([`~datasets.Dataset`], *optional*):
            Prompts to probe, with the columns that the reward functions read. Hold them out of training to measure
            what generalizes. If `None`, a probe takes groups of the latest training batch, with their completions and
            rewards, and generates nothing. It then measures the conflict on the training distribution, with the
            present weights but with rollouts of the weights that generated them: on-policy except for the steps since.
        every (`int`, *optional*, defaults to `50`):
            Steps between reports.
        num_prompts (`int`, *optional*, defaults to `64`):
            Prompts in a probe, at least 8, drawn anew from `probe_dataset` for each probe. More prompts give smaller
            error bars.
        num_rollouts (`int`, *optional*, defaults to `16`):
            Rollouts per prompt, more than the k trained for. Without a `probe_dataset`, the `num_generations` of
            training are used instead.
        ks (`Sequence[float]`, *optional*):
            The k measured, between 1 and `num_rollouts` − 1. If `None`, every whole number in that range.
        parameters (`str`, *optional*, defaults to `"all"`):
            Trainable parameters whose gradients are taken: `"all"`, or a regular expression that is searched in the
            names of modules and parameters.
        gram (`str`, *optional*, defaults to `"auto"`):
            How gradients are kept until their inner products are taken. `"exact"`: whole, which takes prompts ×
            parameters numbers. `"sketch"`: as random projections of a fixed size, drawn anew for each probe, whose own
            error is part of the error bars. `"auto"`: `"exact"` if it fits into 1 GiB per process, else `"sketch"`.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the confidence intervals and of the alarm.
        probe_batch_size (`int`, *optional*):
            Prompts in a forward pass. If `None`, as many as make 8,192 tokens. 1 where autograd is asked, as for the
            router of a mixture of experts. Halved when memory runs out.
        max_overhead (`float`, *optional*):
            Fraction of the wall time that probes may take, between 0 and 1. A probe that would take more is postponed
            to a later multiple of `every`; what it measures does not change.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct. If `None`, that of the trainer's config. If that has none
            either, rewards must be 0 or 1.
        at_start (`bool`, *optional*, defaults to `False`):
            Whether to probe before the first step too, as step 0.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the choice of prompts and of the rollouts. Seed and step determine the random draws of a probe.
        forecast (`bool`, *optional*, defaults to `True`):
            Whether to forecast what the optimizer's step does. During the step before a probe, each rank then keeps a
            copy of its share of the trainable parameters in main memory.
        stratify_by (`str`, *optional*):
            Column of `probe_dataset` with the stratum of each prompt, such as a level of difficulty or
            [`~passk_trl.rollouts.probe_sets.bands`] of earlier success. Probes then draw all strata equally often, so
            that hard prompts are not missed, and weight the prompts so that every estimate is of the dataset as it is.
        objectives (`Sequence[str]`, *optional*, defaults to `()`):
            Other objectives to measure against pass@1, from the same rollouts and gradients, such as `["maxrl",
            "majority@5"]`: names of [`~passk_trl.objectives.objective_from`], or
            [`~passk_trl.objectives.Objective`]s. The `objective` trained for is added to them.
        ride (`bool`, *optional*, defaults to `False`):
            Whether to measure the prompts of training from the step's own backward pass, tools and images included.
        window (`int`, *optional*, defaults to `2048`):
            With `ride`, the prompts in a report: the latest, from so many up to twice as many and a batch. Below 128,
            false alarms are more frequent.

    Raises:
        `ValueError`: if an argument is out of range or `probe_dataset` is too small. Once the trainer is known: as
            for [`ConflictMonitor.attach`].

    Source: Barakat et al. 2026 (arXiv 2602.21189), Prop. 4.1; estimators in [`passk_trl.interference`].
    """

    def __init__(
        self,
        probe_dataset: Dataset | None = None,
        every: int = 50,
        num_prompts: int = NUM_PROMPTS,
        num_rollouts: int = NUM_ROLLOUTS,
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
        ride: bool = False,
        window: int = WINDOW,
    ):
        self.settings = MonitorSettings(
            probe_dataset=probe_dataset,
            every=every,
            num_prompts=num_prompts,
            num_rollouts=num_rollouts,
            ks=ks,
            parameters=parameters,
            gram=gram,
            confidence=confidence,
            probe_batch_size=probe_batch_size,
            max_overhead=max_overhead,
            success_threshold=success_threshold,
            at_start=at_start,
            seed=seed,
            forecast=forecast and probe_dataset is not None,
            stratify_by=stratify_by,
            objectives=[each if isinstance(each, Objective) else objective_from(each) for each in objectives],
            ride=ride,
            window=window,
        )
        self._trainer: RolloutTrainer | None = None
        self._prober: Prober | None = None
        self._rider: Rider | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Knows nothing of an earlier training."""
        self.records: list[ProbeRecord] = []
        self._clock = ProbeClock()
        self._figures_before = 0.0  # seconds that the trackers' figures took in earlier trainings
        self._due = False  # whether this step ends with a probe
        self._displacement: Displacement | None = None  # of the parameters, since the beginning of this step
        self._failures = Failures()

    # What was found.

    @property
    def report(self) -> InterferenceReport | None:
        """The latest report."""
        return self.records[-1].report if self.records else None

    @property
    def reports(self) -> list[InterferenceReport]:
        """All reports."""
        return [record.report for record in self.records]

    @property
    def objective_reports(self) -> list[dict[str, ObjectiveReport]]:
        """What each report says of other objectives than pass@k, by name."""
        return [record.objectives for record in self.records]

    @property
    def forecasts(self) -> list[Forecast | None]:
        """The forecast of each probe, `None` where there was none."""
        return [record.forecast for record in self.records]

    @property
    def steps(self) -> list[int]:
        """The step of each report."""
        return [record.step for record in self.records]

    # What is probed.

    @property
    def probe_dataset(self) -> Dataset | None:
        """The prompts to probe; `None` if the training batch is probed."""
        return self.settings.probe_dataset

    @property
    def every(self) -> int:
        """Steps between reports."""
        return self.settings.every

    @property
    def num_prompts(self) -> int:
        """Prompts in a probe."""
        return self.settings.num_prompts

    @property
    def num_rollouts(self) -> int:
        """Rollouts per prompt; those of training if its batch is probed, once the trainer is known."""
        return self._prober.num_rollouts if self._prober else self.settings.num_rollouts

    @property
    def gram(self) -> str:
        """How gradients are kept: `"auto"`, `"exact"` or `"sketch"`."""
        return self.settings.gram

    @property
    def trainer(self) -> RolloutTrainer:
        """The trainer probed."""
        if self._trainer is None:
            raise ValueError(
                "the ConflictMonitor does not know its trainer; call ConflictMonitor(...).attach(trainer) instead of "
                "passing it to the callbacks of a trainer of TRL."
            )
        return self._trainer

    @property
    def training_k(self) -> int:
        """The k trained for; 1 with a trainer that has no `pass_at_k`."""
        return getattr(self.trainer.args, "pass_at_k", 1)

    @property
    def training_objective(self) -> str | None:
        """The name of the objective trained for; `None` if that is pass@k."""
        return getattr(self.trainer.args, "objective", None)

    def attach(self, trainer: RolloutTrainer) -> "ConflictMonitor":
        """
        Adds the monitor to a trainer: a [`~trl.GRPOTrainer`], a [`~trl.RLOOTrainer`] or one of a subclass.

        Raises:
            `ValueError`: if a probe cannot work with the trainer: its class, how it generates, how its policy is
                divided over ranks, a column that a reward function needs, or a policy whose gradients a rehearsal
                cannot take. Under FSDP2 and DeepSpeed the rehearsal comes when training begins, before the first step.
        """
        self.bind(trainer)
        if self not in trainer.callback_handler.callbacks:  # a second time, it would make each report twice
            trainer.add_callback(self)
        add_tracker_figures(trainer)
        return self

    def bind(self, trainer: RolloutTrainer) -> None:
        """
        Tells the monitor its trainer, which transformers does not hand to callbacks. It has one at a time: an earlier
        trainer goes on without it.
        """
        if trainer is self._trainer:
            return
        joined = Rider(trainer, self.settings) if self.settings.ride else Prober(trainer, self.settings)
        if self._trainer is not None:  # only now: a trainer that is refused must not cost the earlier one its monitor
            self._leave(self._trainer)
        if isinstance(joined, Rider):
            self._rider = joined
        else:
            self._prober = joined
        warn_if_truncated(trainer)
        self._trainer = trainer

    def _leave(self, trainer: RolloutTrainer) -> None:
        if trainer.accelerator.is_main_process:
            logger.warning(
                "the ConflictMonitor now has another trainer and leaves its earlier one: make one for each."
            )
        trainer.remove_callback(self)
        if self._rider is not None:
            self._rider.stop()
        self._begin_anew()

    # When to probe.

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._rider is not None:
            self._rider.prepare()
        elif self._prober is not None and may_shard(self.trainer):
            self._prober.rehearse()
        warn_of_alarm(self.trainer, self.settings, state, self._rider is not None and self._rider.is_exact)
        self._begin_anew()
        self._figures_before = self._seconds_of_figures
        first_due = 0 if self.settings.at_start else self.settings.every
        self.records = take_up_records(path_of_records(self.trainer), state.global_step, first_due)
        if self.settings.at_start and state.global_step == 0:
            self._probe(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._due = (state.global_step + 1) % self.settings.every == 0 and self._is_affordable()
        if self._due and self.settings.forecast:
            with self._clock.counted():
                self._displacement = self._start_displacement(state.global_step + 1)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._due:
            self._probe(state)
        self._displacement = None

    def _is_affordable(self) -> bool:
        """Whether another probe like the last would keep to `max_overhead`, by the main process's clock."""
        if self.settings.max_overhead is None or not self._clock.last_probe:
            return True
        overhead = self._clock.overhead(self._figure_seconds, next_probe=self._clock.last_probe)
        return gather_list([overhead <= self.settings.max_overhead])[0]

    def _start_displacement(self, step: int) -> Displacement | None:
        try:
            with failing_together():
                return Displacement(self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped))
        except Exception as error:
            self._failures.log(self.trainer, error, "step %d: its forecast is skipped; training goes on.", step)
            return None

    # One probe.

    def _probe(self, state: TrainerState) -> None:
        with self._clock.probe():
            measured = self._measure(state.global_step)
        if measured is None:
            return
        record = replace(measured, probe_seconds=self._clock.last_probe)
        self.records.append(record)
        self._write(record)
        publish(self.trainer, self.records, self.training_objective, self._clock.overhead(self._figure_seconds))

    def _write(self, record: ProbeRecord) -> None:
        try:
            on_first_rank(partial(append_record, path_of_records(self.trainer), record))
        except OSError as error:
            message = "step %d: its report could not be written to conflict.jsonl; training goes on."
            self._failures.log(self.trainer, error, message, record.step)

    def _measure(self, step: int) -> ProbeRecord | None:
        """Takes a probe that leaves no trace in training; `None` if it failed."""
        seed = (self.settings.seed * 1_000_003 + step) % 2**31
        try:
            if self._rider is not None:
                return self._rider.record(step)
            assert self._prober is not None  # or there would be no trainer
            with undisturbed(self.trainer, seed):
                return self._prober.probe(step, seed, self._displacement)
        except Exception as error:  # must not end the training; all ranks come here together
            self._failures.log(self.trainer, error, "step %d: its report failed; training goes on.", step)
            return None
        finally:
            clear_device_cache()  # gives training the memory of the probe back

    @property
    def _figure_seconds(self) -> float:
        """Seconds that the trackers' figures took in this training, which count as the probes' own."""
        return self._seconds_of_figures - self._figures_before

    @property
    def _seconds_of_figures(self) -> float:
        callbacks = self.trainer.callback_handler.callbacks
        return sum(each.seconds for each in callbacks if isinstance(each, TrackerFigures))
