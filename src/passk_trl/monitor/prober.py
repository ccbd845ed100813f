"""One probe: choose prompts, sample and score rollouts, take gradients, measure the conflict, make a record of it."""

import logging
from dataclasses import replace

import torch
from datasets import Dataset
from torch import Tensor

from passk_trl.distributed.displacement import Displacement
from passk_trl.distributed.engine import may_shard
from passk_trl.distributed.ranks import failing_together, gather_list, num_ranks
from passk_trl.gradients import GramMatrix, ScoredRollouts
from passk_trl.gradients.of_trainer import gram_of_trained, is_trained_with_other_positions, rehearse_on_trained
from passk_trl.interference import InterferenceReport, ProbeSample, measure_interference, measure_objectives
from passk_trl.interference.forecasting import forecast
from passk_trl.private_names import check_private_names
from passk_trl.records import PROMPTS_SHOWN, ProbeRecord, weighed_k
from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.checks import check_can_probe, check_columns
from passk_trl.rollouts.probe_sets import draw_stratified, overlap, stratum_weights, weights_of_kept
from passk_trl.rollouts.progress import progress_bar
from passk_trl.rollouts.prompt_text import cut, text_of
from passk_trl.rollouts.sampling import sample_rollouts
from passk_trl.rollouts.training_batch import TrainingBatch
from passk_trl.rollouts.vision import check_text_parameters, check_text_prompts

from .monitor_settings import MonitorSettings, check_batch, measured_ks, measured_objectives


logger = logging.getLogger(__name__)


class Prober:
    """
    Takes probes of the policy that a trainer trains.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]): the trainer.
        settings ([`MonitorSettings`]): what to measure, and how.

    Raises:
        `ValueError`: if the trainer or its policy cannot be probed, or a reward function needs a column that the probe
        prompts do not have, or there are too few rollouts for the k or the objectives.
    """

    def __init__(self, trainer: RolloutTrainer, settings: MonitorSettings):
        check_can_probe(trainer)
        check_private_names(trainer)
        probed = trainer.train_dataset if settings.probe_dataset is None else settings.probe_dataset
        check_text_prompts(trainer, probed)
        check_text_parameters(trainer, settings.parameters)
        self.trainer = trainer
        self.settings = settings
        if settings.probe_dataset is None:
            self.num_rollouts = trainer.num_generations
            check_batch(trainer.args, settings.num_prompts)
        else:
            self.num_rollouts = settings.num_rollouts
            check_columns(trainer, settings.probe_dataset)
            _warn_if_trained_on(settings.probe_dataset, trainer)
        self.ks = measured_ks(settings, self.training_k, self.num_rollouts)
        self.objectives = measured_objectives(settings, trainer, self.num_rollouts)
        self._batch = TrainingBatch(trainer) if settings.probe_dataset is None else None
        if not may_shard(trainer):
            self.rehearse()

    def rehearse(self) -> None:
        """
        Takes gradients of a few made-up tokens. A model that an engine may shard can run only once training prepares
        it; any other has been rehearsed by the constructor. All ranks call this together.

        Raises:
            `ValueError`: if the gradients of the policy cannot be taken.
        """
        rehearse_on_trained(self.trainer, parameters=self.settings.parameters)
        if is_trained_with_other_positions(self.trainer) and self.trainer.accelerator.is_main_process:
            logger.warning(
                "%s counts the positions of tokens from the padding. So TRL trains the shorter prompts of a batch at "
                "other positions than it samples them. The monitor takes the gradients at the positions of sampling. "
                "The two agree where all prompts of a batch have one length.",
                type(self.trainer.model).__name__,
            )

    @property
    def training_k(self) -> int:
        """The k trained for, which a callback may change during training."""
        return getattr(self.trainer.args, "pass_at_k", 1)

    def probe(self, step: int, seed: int, displacement: Displacement | None) -> ProbeRecord:
        """
        Takes a probe. To be called by all ranks together.

        Args:
            step (`int`): the step after which it is taken.
            seed (`int`): seed of the choice of prompts, the rollouts and the sketches.
            displacement ([`Displacement`], *optional*): what the step has changed in the parameters, for the forecast.

        Returns:
            [`ProbeRecord`]: the same on all ranks, without its `probe_seconds`.
        """
        drawn = self._draw(seed)
        rollouts, mine = self._rollouts(drawn, seed)
        gram = self._gram(rollouts, seed, displacement)
        rows = gather_list(mine)
        sample = ProbeSample.of(gram.gram_MNN, gather_list(rollouts.num_correct_N.tolist()), self.num_rollouts)
        finite = sample.finite
        if not finite.all() and self.trainer.accelerator.is_main_process:
            dropped = [row for row, is_finite in zip(rows, finite, strict=True) if not is_finite]
            logger.warning("the gradients of probe prompts %s are not finite; they are left out.", dropped)
        rows = [row for row, is_finite in zip(rows, finite, strict=True) if is_finite]
        sample = replace(sample.keep(finite), sampling_weights=self._sampling_weights(drawn, rows))
        confidence = self.settings.confidence
        report = measure_interference(**sample.arguments, ks=self.ks, confidence=confidence)
        objectives = measure_objectives(**sample.arguments, objectives=self.objectives, confidence=confidence)
        step_forecast = None
        if gram.step_MN is not None:
            products_MN = gram.step_MN[:, finite]
            step_forecast = forecast(products_MN, **sample.counts, ks=report.ks, confidence=confidence)
        return ProbeRecord(
            step=step,
            training_k=self.training_k,
            report=report,
            rows=rows,
            texts=self._texts(rows, report),
            objectives={each.name: each for each in objectives},
            forecast=step_forecast,
            covered_parameters=gram.coverage.covered,
            trainable_parameters=gram.coverage.total,
            left_out_parameters=list(gram.coverage.left_out),
            in_graph_parameters=gram.coverage.in_graph,
            gram=gram.store,
        )

    def _draw(self, seed: int) -> list[int]:
        """The rows of the probe dataset to probe; none without a probe dataset."""
        settings = self.settings
        if settings.probe_dataset is None:
            return []
        generator = torch.Generator().manual_seed(seed)
        if settings.stratify_by is not None:
            return draw_stratified(settings.probe_dataset[settings.stratify_by], settings.num_prompts, generator)
        return torch.randperm(len(settings.probe_dataset), generator=generator)[: settings.num_prompts].tolist()

    def _rollouts(self, drawn: list[int], seed: int) -> tuple[ScoredRollouts, list[int]]:
        """This rank's rollouts, and the rows of their prompts in the probe dataset or in the training batch."""
        settings = self.settings
        if self._batch is not None:
            with failing_together():
                return self._batch.rollouts(settings.num_prompts, seed, settings.success_threshold)
        assert settings.probe_dataset is not None  # or there would be a batch
        share = -(-len(drawn) // num_ranks())
        with progress_bar(self.trainer, "probe: rollouts", share, leave=False, delay=3) as bar:
            return sample_rollouts(
                self.trainer,
                settings.probe_dataset,
                drawn,
                self.num_rollouts,
                settings.success_threshold,
                on_prompts=bar.update,
            )

    def _gram(self, rollouts: ScoredRollouts, seed: int, displacement: Displacement | None) -> GramMatrix:
        with progress_bar(self.trainer, "probe: gradients", rollouts.num_prompts, leave=False, delay=3) as bar:
            return gram_of_trained(
                self.trainer,
                rollouts,
                store=self.settings.gram,
                parameters=self.settings.parameters,
                seed=seed,
                batch_size=self.settings.probe_batch_size,
                on_batch=bar.update,
                step=displacement.of if displacement else None,
            )

    def _sampling_weights(self, drawn: list[int], measured: list[int]) -> Tensor:
        """The weights of the prompts measured: those drawn, less those that could not be measured."""
        if self.settings.probe_dataset is None or self.settings.stratify_by is None:
            return torch.ones(len(measured), dtype=torch.float64)
        weights = stratum_weights(self.settings.probe_dataset[self.settings.stratify_by])
        return weights_of_kept(weights[measured], weights[drawn])

    def _texts(self, rows: list[int], report: InterferenceReport) -> dict[int, str]:
        """The text of the prompts that interfere most, by row: a reader of the record may not have the dataset."""
        if self.settings.probe_dataset is None:
            return {}
        worst = [rows[i] for i in report.most_negative(weighed_k(report, self.training_k), PROMPTS_SHOWN)]
        return {row: cut(text_of(self.settings.probe_dataset[row]["prompt"])) for row in worst}


def _warn_if_trained_on(probe_dataset: Dataset, trainer: RolloutTrainer) -> None:
    if not isinstance(trainer.train_dataset, Dataset) or not trainer.accelerator.is_main_process:
        return
    if trained_on := overlap(probe_dataset, trainer.train_dataset):
        logger.warning(
            "%d of the %d probe prompts are trained on too, row %d for one, so probes measure in part what training "
            "has seen; hold them out of training, with passk_trl.rollouts.probe_sets.hold_out.",
            *(len(trained_on), len(probe_dataset), trained_on[0]),
        )
